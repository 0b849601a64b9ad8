/**
 * What a flood of refused connections costs a program and its other clients: a good client's round trips in calm and
 * during the flood, and what JavaScript hears of it. Both clients are processes of their own.
 *
 *   npm run bench:flood [-- --connections N]     a line of JSON; 100,000 by default
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpError, tcpListener, tcpListening,
} from '../src/index.js'
import { readArguments } from './lib/arguments.js'

const GOOD = '127.0.0.1'
const BAD = '127.0.0.2'
const AT_ONCE = 64
const PAUSE = 1
const CALM_SECONDS = 5
const port = tcpListener(0)

/** Round trips, one after the other, until it is told to end: it tells its p99 each time that it is asked. */
async function goodClient(to: number): Promise<void> {
  const socket = connect({ port: to, host: GOOD, noDelay: true })
  await once(socket, 'connect')
  let times: number[] = []
  process.on('message', () => {
    const sorted = times.sort((a, b) => a - b)
    const at = (part: number): number => sorted[Math.floor(sorted.length * part)]
    process.send?.({ trips: sorted.length, p50: at(0.5), p99: at(0.99) })
    times = []
  })
  process.on('disconnect', () => { process.exit() })
  for (;;) {
    const begin = performance.now()
    socket.write('x')
    await once(socket, 'data')
    times.push((performance.now() - begin) * 1000)
    await sleep(PAUSE)
  }
}

/** Keeps one connection, and is refused all others. Tells how many were. */
async function badClient(to: number, connections: number): Promise<void> {
  const kept = connect({ port: to, host: GOOD, localAddress: BAD })
  await once(kept, 'connect')
  kept.write('x')
  await once(kept, 'data')
  let left = connections
  let refused = 0
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left-- > 0) {
      const socket = connect({ port: to, host: GOOD, localAddress: BAD })
      socket.on('error', ({ code }: NodeJS.ErrnoException) => { if (code === 'ECONNRESET') refused++ })
      await new Promise((resolve) => socket.once('close', resolve))
    }
  }))
  process.send?.(refused, () => { process.exit() })
}

interface Trips { readonly trips: number, readonly p50: number, readonly p99: number }

async function main(connections: number): Promise<void> {
  let accepted = 0
  let told = 0
  let listening: (to: number) => void = () => undefined
  const where = new Promise<number>((resolve) => { listening = resolve })
  const vm = groundVm(() => [
    tcpBare({ host: GOOD, backlog: 4096, limits: { connectionsPerPrefix: 1, exempt: [GOOD] } }),
    endpoint.subscriber(tcpListening(port, _), { onPresence: ({ address }) => { listening(address.port) } }),
    endpoint.subscriber(tcpError(port, _, _), { onMessage: () => { told++ } }),
    endpoint.subscriber(tcpChannel(_, port, _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => {
        accepted++
        return spawn(() => endpoint.subscriber(tcpChannel(them, us, _), {
          onAbsence: () => quit(),
          onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
        }))
      },
    }),
  ])
  const to = await where
  const start = (...args: readonly string[]) => fork(fileURLToPath(import.meta.url), args)
  const good = start('good', String(to))
  const ask = async (): Promise<Trips> => {
    good.send('?')
    return (await once(good, 'message') as [Trips])[0]
  }
  await sleep(1000)
  await ask()
  await sleep(CALM_SECONDS * 1000)
  const calm = await ask()
  const before = { cpu: process.cpuUsage(), at: performance.now() }
  const [refused] = await once(start('bad', String(to), String(connections)), 'message') as [number]
  const seconds = (performance.now() - before.at) / 1000
  const { user, system } = process.cpuUsage(before.cpu)
  const flood = await ask()
  console.log(JSON.stringify({
    refused, seconds, calm, flood, p99: flood.p99 / calm.p99, cpuMicrosPerRefusal: (user + system) / refused,
    accepted, told,
  }))
  good.disconnect()
  await vm.stop()
}

const [what, to] = process.argv.slice(2)
if (what === 'good') {
  await goodClient(Number(to))
} else if (what === 'bad') {
  await badClient(Number(to), Number(process.argv[4]))
} else {
  const usage = 'usage: npm run bench:flood -- [--connections 100000]'
  await main(readArguments(usage, { connections: 100_000 }).number('connections'))
}
