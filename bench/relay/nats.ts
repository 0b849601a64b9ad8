/**
 * `natsRelay` beside a bare client of the same library, over a nats-server of its own: messages per second, CPU of the
 * sender and of the receiver, how soon many endpoints appear, and how soon a killed node is noticed.
 *
 * `node dist/bench/relay/nats.js [--quick]`: one line of JSON for each figure. The two nodes are processes; each runs
 * this file with the name of its part.
 */
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { fork, spawn as start, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import {
  _, defineRecord, endpoint, eventSource, groundVm, natsRelay, sendMessage, spawn, type ActionTree, type EventSink,
} from '../../src/index.js'
import { readArguments } from '../lib/arguments.js'

const says = defineRecord('says', ['who', 'what']).of<[who: string, what: Uint8Array]>()
const item = defineRecord('item', ['node', 'number']).of<[node: string, number: number]>()

const BYTES = 64
/** Messages of one turn: one packet of the relay's, one publication of the bare client's that batches as well. */
const BATCH = 64
/** Batches that may be on their way. */
const WINDOW = 32

/** `plain` is a bare client, too, that publishes each message by itself, as most programs do. */
type Kind = 'relay' | 'bare' | 'plain'
type Part = `${Kind} ${'sender' | 'receiver'}`

const [what, url, name, ...numbers] = process.argv.slice(2)
const tell = (told: object): void => { process.send?.(told) }
const cpuMs = (since: NodeJS.CpuUsage): number => {
  const { user, system } = process.cpuUsage(since)
  return (user + system) / 1000
}

/** Counts what has come; answers each batch, and tells when all is there. */
function counter(answer: () => void): (messages: number) => void {
  const [total] = numbers.map(Number)
  let count = 0
  let cpu: NodeJS.CpuUsage | undefined
  return (messages) => {
    cpu ??= process.cpuUsage()
    const before = count
    count += messages
    if (Math.floor(before / BATCH) !== Math.floor(count / BATCH)) answer()
    if (before < total && count >= total) tell({ cpu: cpuMs(cpu) })
  }
}

/** Sends all batches, so many at a time. @returns what to call for each answer */
function pump(send: () => void): () => void {
  const [total] = numbers.map(Number)
  const cpu = process.cpuUsage()
  const since = performance.now()
  let sent = 0
  let answered = 0
  const more = (): void => {
    while (sent < total / BATCH && sent - answered < WINDOW) {
      sent++
      send()
    }
  }
  setImmediate(more)
  return () => {
    answered++
    if (answered < total / BATCH) more()
    else tell({ seconds: (performance.now() - since) / 1000, cpu: cpuMs(cpu) })
  }
}

async function relayNode(sends: boolean): Promise<void> {
  let sink: EventSink<ActionTree> | undefined
  const source = eventSource<ActionTree>('control', (given) => { sink = given })
  const bytes = new Uint8Array(BYTES)
  const send = (): void => { sink?.fire(Array.from({ length: BATCH }, () => sendMessage(says(name, bytes)))) }
  const ack = new Uint8Array(1)
  let answered = (): void => undefined
  const count = counter(() => { sink?.fire(sendMessage(says(name, ack))) })
  const [, items = 0] = numbers.map(Number)
  let seen = 0
  await groundVm(() => [
    natsRelay({ node: name, servers: url, prefix: 'bench', topics: [says(_, _), item(_, _)] }),
    spawn(() => [
      endpoint.subscriber([source, _], { onMessage: ([, actions]) => actions }),
      endpoint.subscriber(says(sends ? 'receiver' : 'sender', _), {
        onPresence: () => {
          if (sends) answered = pump(send)
        },
        onAbsence: () => { tell({ gone: Date.now() }) },
        onMessage: () => {
          if (sends) answered()
          else count(1)
        },
      }),
      endpoint.publisher(says(name, _)),
      endpoint.subscriber(item(sends ? 'receiver' : 'sender', _), {
        onPresence: () => { if (++seen === items) tell({ seen: Date.now() }) },
      }),
      !sends && Array.from({ length: items }, (_value, i) => endpoint.publisher(item(name, i))),
    ]),
  ])
}

async function bareNode(sends: boolean, perPublication: number): Promise<void> {
  const connection: NatsConnection = await connect({ servers: url, noEcho: true })
  const bytes = new Uint8Array(perPublication * BYTES)
  if (sends) {
    const answered = pump(() => {
      for (let i = 0; i < BATCH; i += perPublication) connection.publish('bench.there', bytes)
    })
    connection.subscribe('bench.back', { callback: answered })
  } else {
    const count = counter(() => { connection.publish('bench.back', new Uint8Array(1)) })
    connection.subscribe('bench.there', { callback: () => { count(perPublication) } })
  }
  await connection.flush()
  tell({ ready: true })
}

async function run(part: Part): Promise<void> {
  process.once('disconnect', () => { process.exit() })
  const sends = part.endsWith('sender')
  if (part.startsWith('relay')) await relayNode(sends)
  else await bareNode(sends, part.startsWith('bare') ? BATCH : 1)
}

/** A process with one part, and the next thing that it tells with this field. */
class Program {
  readonly child: ChildProcess
  readonly #told: Record<string, number>[] = []

  constructor(part: Part, server: string, total: number, items = 0) {
    const args = [part, server, part.endsWith('sender') ? 'sender' : 'receiver', String(total), String(items)]
    this.child = fork(fileURLToPath(import.meta.url), args)
    this.child.on('message', (told) => this.#told.push(told as Record<string, number>))
  }

  async tells(field: string): Promise<Record<string, number>> {
    for (;;) {
      const found = this.#told.find((told) => field in told)
      if (found !== undefined) return found
      await sleep(1)
    }
  }

  async end(): Promise<void> {
    const ended = once(this.child, 'exit')
    this.child.kill('SIGKILL')
    await ended
  }
}

async function measure(kind: Kind, server: string, total: number): Promise<Record<string, number>> {
  const receiver = new Program(`${kind} receiver`, server, total)
  if (kind !== 'relay') await receiver.tells('ready')
  const sender = new Program(`${kind} sender`, server, total)
  const { seconds, cpu: senderCpu } = await sender.tells('seconds')
  const { cpu: receiverCpu } = await receiver.tells('cpu')
  await sender.end()
  await receiver.end()
  const micros = (msecs: number): number => Math.round((1e6 * msecs) / total) / 1000
  const perSecond = Math.round(total / seconds)
  return { perSecond, senderMicros: micros(senderCpu), receiverMicros: micros(receiverCpu) }
}

async function endpoints(server: string, items: number): Promise<number> {
  const sender = new Program('relay sender', server, 0, items)
  await sleep(1000)
  const since = Date.now()
  const receiver = new Program('relay receiver', server, 0, items)
  const { seen } = await sender.tells('seen')
  await sender.end()
  await receiver.end()
  return seen - since
}

/** With a heartbeat of 1 s, and lost after 5 s. */
async function detection(server: string): Promise<number> {
  const sender = new Program('relay sender', server, 0, 1)
  const receiver = new Program('relay receiver', server, 0, 1)
  await sender.tells('seen')
  await sleep(Math.random() * 1000)
  const since = Date.now()
  await receiver.end()
  const { gone } = await sender.tells('gone')
  await sender.end()
  return gone - since
}

async function main(quick: boolean): Promise<void> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const { port } = probe.address() as AddressInfo
  probe.close()
  const server = start('nats-server', ['-a', '127.0.0.1', '-p', String(port)], { stdio: 'ignore' })
  try {
    await sleep(500)
    const address = `nats://127.0.0.1:${port}`
    const total = BATCH * (quick ? 2000 : 20_000)
    const bare = await measure('bare', address, total)
    const plain = await measure('plain', address, total)
    const relay = await measure('relay', address, total)
    console.log(JSON.stringify({ figure: 'messages', bytes: BYTES, batch: BATCH, relay, bare, plain }))
    console.log(JSON.stringify({ figure: '10,000 endpoints appear, ms', msecs: await endpoints(address, 10_000) }))
    const times: number[] = []
    for (let i = 0; i < (quick ? 2 : 50); i++) times.push(await detection(address))
    times.sort((a, b) => a - b)
    console.log(JSON.stringify({ figure: 'a killed node is noticed, ms', median: times[times.length >> 1], times }))
  } finally {
    server.kill()
  }
}

// A part has been forked.
if (process.send !== undefined && url !== undefined) {
  await run(what as Part)
} else {
  const usage = 'usage: npm run bench:nats -- [--quick]; it needs the program nats-server'
  await main(readArguments(usage, {}, ['quick']).flag('quick'))
}
