/**
 * `npm run test:clients -- --measure`: what `http`, `ws` and `ioredis` cost on each net module: CPU time per
 * request of the process that uses the module, and requests per second, medians of rounds taken in turns.
 */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Order, Report } from './lib/arm.js'
import { NETS_BY_NAME } from './lib/net-modules.js'
import { Program } from './lib/programs.js'
import { freePort, missing, runProgram } from '../support/util.js'

const ROUNDS = 5
const WARM_UP_MS = 1000
const LOAD_MS = 3000
const ARM = fileURLToPath(new URL('lib/arm.js', import.meta.url))
const NAMES = [...NETS_BY_NAME.keys()]

/** What one round gave. */
interface Sample {
  /** Microseconds per request. */
  readonly cpu: number
  readonly perSecond: number
}

type Arm = ChildProcess & { port: number }

async function arm(kind: string, name: string): Promise<Arm> {
  const child = fork(ARM, [kind, name])
  const [port] = await once(child, 'message') as [number]
  return Object.assign(child, { port })
}

async function order(child: ChildProcess, what: Order): Promise<Report> {
  const answer = once(child, 'message') as Promise<[Report]>
  child.send(what)
  return (await answer)[0]
}

/** Loads a server in a process of its own. @returns how many requests it answered */
async function wrk(port: number, ms: number): Promise<number> {
  const args = ['-t1', '-c100', `-d${ms / 1000}s`, `http://127.0.0.1:${port}/`]
  const { stdout } = await runProgram('wrk', args, Buffer.alloc(0))
  const report = stdout.toString()
  const requests = Number(/(\d+) requests in/.exec(report)?.[1])
  if (!(requests > 0) || report.includes('errors')) throw new Error(`wrk: ${report}`)
  return requests
}

/** One round of a server that is loaded from outside. */
async function roundOf(server: Arm, load: (port: number, ms: number) => Promise<number>): Promise<Sample> {
  await load(server.port, WARM_UP_MS)
  const before = await order(server, { do: 'usage' })
  const start = performance.now()
  const requests = await load(server.port, LOAD_MS)
  const seconds = (performance.now() - start) / 1000
  const after = await order(server, { do: 'usage' })
  return { cpu: (after.cpu - before.cpu) / requests, perSecond: requests / seconds }
}

/** One sample of one module, in fresh processes. */
type Measurement = (name: string) => Promise<Sample>

const measurements: Readonly<Record<string, Measurement>> = {
  'http server, wrk with 100 connections': async (name) => {
    const server = await arm('http', name)
    const sample = await roundOf(server, wrk)
    server.kill()
    return sample
  },
  'ws echo server, 50 connections, 64 bytes': async (name) => {
    const [server, load] = [await arm('ws', name), await arm('ws-load', 'node:net')]
    const sample = await roundOf(server, async (port, ms) => {
      const { requests } = await order(load, { do: 'load', port, ms })
      return requests
    })
    server.kill()
    load.kill()
    return sample
  },
  'ioredis client, 50 GETs at once': async (name) => {
    const client = await arm('redis', name)
    await order(client, { do: 'load', port: redisPort, ms: WARM_UP_MS })
    const { cpu, requests } = await order(client, { do: 'load', port: redisPort, ms: LOAD_MS })
    client.kill()
    return { cpu: cpu / requests, perSecond: requests / (LOAD_MS / 1000) }
  },
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? NaN
}

const redisPort = await freePort()

async function main(): Promise<void> {
  for (const command of ['wrk', 'redis-server']) {
    const reason = missing(command)
    if (reason !== false) throw new Error(`measuring needs ${command}: ${reason}`)
  }
  const args = ['--port', String(redisPort), '--bind', '127.0.0.1', '--save', '']
  const redis = await new Program(redisPort, 'redis-server', args).start()
  try {
    console.log(`| ${ROUNDS} rounds, medians | ${NAMES.join(' | ')} | CPU, ratio | ratios of the rounds |`)
    for (const [what, measure] of Object.entries(measurements)) console.log(await rowOf(what, measure))
  } finally {
    await redis.stop()
  }
}

async function rowOf(what: string, measure: Measurement): Promise<string> {
  const samples = new Map(NAMES.map((name) => [name, [] as Sample[]]))
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const name of round % 2 === 0 ? NAMES : NAMES.toReversed()) {
      samples.get(name)?.push(await measure(name))
    }
  }
  const [theirs, ours] = NAMES.map((name) => samples.get(name) ?? [])
  const cells = [theirs, ours].map((taken) => {
    const [cpu, perSecond] = [median(taken.map(({ cpu }) => cpu)), median(taken.map((s) => s.perSecond))]
    return `${cpu.toFixed(1)} us, ${Math.round(perSecond)}/s`
  })
  const ratios = ours.map(({ cpu }, i) => cpu / theirs[i].cpu)
  const range = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
  return `| ${what} | ${cells.join(' | ')} | ${median(ratios).toFixed(2)} | ${range} |`
}

await main()
