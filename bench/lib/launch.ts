/**
 * Starts an arm's server for a service, with what has to be there before: a free port for a server that can't
 * choose one itself, a folder for its files, and for a balancer the server behind it.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Arm } from './arms.js'
import type { Pinning } from './machine.js'
import { benchBuild } from './paths.js'
import type { Service } from './scenarios.js'
import { Skipped, startServer, type Server } from './server.js'

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject).listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  await new Promise((resolve) => server.close(resolve))
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** What a balancer forwards to: it answers, and costs what it can't cost less. */
const BACKEND = [join(benchBuild, 'c-epoll-echo'), '--host', '127.0.0.1', '--port', '0']

/**
 * @returns the server; `stop` ends all that was started, too
 * @throws Skipped if this machine lacks what it needs
 */
export async function startArm(arm: Arm, service: Service, pinning: Pinning): Promise<Server> {
  const runtime = await arm.runtime()
  if ('reason' in runtime) throw new Skipped(runtime.reason)
  const { program } = runtime
  const { environment = {}, optional = false } = arm
  const command = { environment, optional }
  const how = arm.servers[service] ?? []
  if (typeof how !== 'function') {
    return startServer({ ...command, command: [program, ...how] }, pinning.server)
  }
  const folder = mkdtempSync(join(tmpdir(), 'bench-'))
  let backend: Server | undefined
  const release = async (): Promise<void> => {
    await backend?.stop()
    rmSync(folder, { recursive: true, force: true })
  }
  try {
    // Beside the load generator: what it costs is no part of what is measured.
    if (service === 'balancer') backend = await startServer({ command: BACKEND }, pinning.client)
    const { args, port } = how({ port: await freePort(), folder, backend: backend?.port ?? 0, program })
    const started = { ...command, command: [program, ...args], ...(port !== undefined && { port }) }
    const server = await startServer(started, pinning.server)
    const version = server.version ?? runtime.version
    return {
      ...server,
      version,
      stop: async () => {
        await server.stop()
        await release()
      },
    }
  } catch (error) {
    await release()
    throw error
  }
}
