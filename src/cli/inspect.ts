/**
 * `marketplace inspect URL`: looks into a running program from a terminal, by the inspector's protocol.
 *
 * Owns the client of the protocol and how its answers look as text.
 */
import { Argument, InvalidArgumentError, type Command } from 'commander'
import { createInterface } from 'node:readline'
import type { RawData, WebSocket } from 'ws'
import { previewText, type Preview } from '../inspector/index.js'
import { onOneLine } from '../support/printable.js'
import { CommandError, firstLine } from './messages.js'
import { Output } from './output.js'
import { onStopSignal } from './signals.js'

const DEFAULT_EVERY = 1000
/** Lines of `top` where nobody can tell how many the terminal has. */
const TOP_LINES = 30

interface InspectOptions {
  readonly every: number
  readonly once: boolean
}

type Json = Readonly<Record<string, unknown>>

/** A row of the table of processes, as the protocol has it. */
interface Row {
  readonly path: string
  readonly name: string
  readonly kind: string
  readonly vm: string
  readonly endpoints: number
  readonly queue: number
  readonly messages: number
  readonly failures: number
  readonly held: number
}

/** A connection to an inspector. */
class Client {
  readonly #socket: WebSocket
  readonly #answers = new Map<number, (answer: Json) => void>()
  #next = 1
  /** What comes unasked. */
  told: (message: Json) => void = () => undefined
  readonly closed: Promise<void>

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (data: RawData) => {
      const message = JSON.parse((data as Buffer).toString()) as Json
      const answer = this.#answers.get(message['id'] as number)
      this.#answers.delete(message['id'] as number)
      if (answer === undefined) this.told(message)
      else answer(message)
    })
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        resolve()
        for (const answer of this.#answers.values()) answer({ error: { message: 'the program has ended' } })
      })
    })
  }

  /** @throws CommandError with what the program says is wrong */
  async ask(what: string, parameters: object = {}): Promise<Json> {
    const id = this.#next++
    const answer = new Promise<Json>((resolve) => this.#answers.set(id, resolve))
    this.#socket.send(JSON.stringify({ id, do: what, ...parameters }))
    const { ok, error } = await answer
    if (error !== undefined) throw new CommandError(String((error as Json)['message']))
    return ok as Json
  }

  close(): void {
    this.#socket.close()
  }
}

/** @throws CommandError when nobody is there, or the token is wrong */
async function connect(url: URL): Promise<Client> {
  const { WebSocket: Socket } = await import('ws')
  const address = `ws://${url.host}/${url.search}`
  const socket = new Socket(address, { perMessageDeflate: false })
  const client = new Client(socket)
  await new Promise<void>((resolve, reject) => {
    socket.once('open', resolve)
    socket.once('error', (error) => {
      reject(new CommandError(`no inspector answers at ${url.host}: ${firstLine(error)}`))
    })
    socket.once('unexpected-response', (_request, response) => {
      let text = ''
      response.on('data', (data: Buffer) => { text += data.toString() })
      response.on('end', () => { reject(new CommandError(`refused: ${firstLine(text.trim())}`)) })
    })
  })
  socket.on('error', () => undefined) // it is closed then
  return client
}

/** What strangers have sent to the program may be in it. */
function print(output: Output, text: string): void {
  output.line(onOneLine(text))
}

const nameOf = ({ name, kind }: Row): string => `${name === '' ? '-' : name}${kind === 'process' ? '' : ` (${kind})`}`

function treeText(rows: readonly Row[]): string[] {
  return rows.map((row) => {
    const indent = '  '.repeat(row.path.split('.').length - 1)
    const facts = [
      `${row.endpoints} endpoints`, `${row.messages} messages`,
      ...row.queue > 0 ? [`${row.queue} queued`] : [], ...row.failures > 0 ? [`${row.failures} failures`] : [],
      ...row.held >= 0 ? [`paused, ${row.held} held`] : [],
    ]
    return `${indent}${row.path} ${nameOf(row)}: ${facts.join(', ')}`
  })
}

function topText(rows: readonly Row[], before: ReadonlyMap<string, number>, seconds: number, most: number): string[] {
  const rates = rows.map((row) => {
    const rate = seconds === 0 ? 0 : (row.messages - (before.get(row.path) ?? 0)) / seconds
    return { row, rate }
  })
  rates.sort((a, b) => b.rate - a.rate || b.row.messages - a.row.messages)
  const pad = (text: string | number, width: number): string => String(text).padStart(width)
  const lines = rates.slice(0, most).map(({ row, rate }) =>
    `${pad(row.path, 10)} ${pad(rate.toFixed(0), 8)} ${pad(row.messages, 10)} ${pad(row.queue, 6)} ${
      pad(row.endpoints, 9)} ${pad(row.held < 0 ? '' : row.held, 5)}  ${nameOf(row)}`)
  return [
    `${pad('process', 10)} ${pad('msgs/s', 8)} ${pad('messages', 10)} ${pad('queue', 6)} ${pad('endpoints', 9)} ${
      pad('held', 5)}  name`,
    ...lines, ...rates.length > most ? [`and ${rates.length - most} more`] : [],
  ]
}

async function top(
  client: Client, output: Output, { every, once }: InspectOptions, ended: AbortSignal,
): Promise<void> {
  let before = new Map<string, number>()
  let at = 0
  for (;;) {
    const rows = (await client.ask('tree'))['processes'] as Row[]
    const now = performance.now()
    const most = output.isTerminal ? process.stdout.rows - 3 : TOP_LINES
    const lines = topText(rows, before, at === 0 ? 0 : (now - at) / 1000, most)
    // Only a screen is written over.
    if (output.isTerminal && !once) output.line('\x1b[H\x1b[2J')
    for (const line of lines) print(output, line)
    if (once || ended.aborted) return
    before = new Map(rows.map((row) => [row.path, row.messages]))
    at = now
    await pause(every, ended)
    if (ended.aborted) return
  }
}

async function pause(ms: number, ended: AbortSignal): Promise<void> {
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, ms)
    ended.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    }, { once: true })
  })
}

function eventText(event: Json): string {
  const subject = event['subject'] as Preview | undefined
  const reason = event['reason'] as Preview | undefined
  const what = subject === undefined ? String(event['text']) : previewText(subject)
  const why = reason === undefined || (reason as Json)['$'] === 'undefined' ? '' : ` reason ${previewText(reason)}`
  const source = typeof event['source'] === 'string' ? event['source'] : ''
  const cause = event['cause'] === 0 ? source : `#${String(event['cause'])}`
  const head = `#${String(event['id'])} <- ${cause === '' ? '-' : cause}`
  return `${head} ${String(event['who'])} ${String(event['kind'])} ${what}${why}`
}

async function trace(client: Client, output: Output, topic: string | undefined, ended: AbortSignal): Promise<void> {
  client.told = ({ event, events, dropped }) => {
    if (event !== 'trace') return
    for (const one of events as Json[]) print(output, eventText(one))
    if (Number(dropped) > 0) print(output, `... ${String(dropped)} events were too many`)
  }
  await client.ask('trace', topic === undefined ? {} : { topic })
  await Promise.race([client.closed, new Promise((resolve) => { ended.addEventListener('abort', resolve) })])
}

/** Holds a process up as long as this command runs; each line of stdin is a step. */
async function hold(client: Client, output: Output, path: string, ended: AbortSignal): Promise<void> {
  await client.ask('pause', { path })
  print(output, `${path} is paused; Enter: one step, Ctrl-C: it goes on`)
  client.told = (message) => {
    if (message['event'] !== 'resumed' || message['path'] !== path) return
    print(output, 'it goes on, as too much waits for it')
  }
  const lines = createInterface({ input: process.stdin })
  lines.on('line', () => { void step(client, output, path) })
  await Promise.race([client.closed, new Promise((resolve) => { ended.addEventListener('abort', resolve) })])
  lines.close()
  process.stdin.destroy()
}

async function step(client: Client, output: Output, path: string): Promise<void> {
  try {
    await client.ask('step', { path })
    const { held, queue } = await client.ask('process', { path })
    print(output, `${String(held)} events wait, ${String(queue)} actions are queued`)
  } catch (error) {
    print(output, firstLine(error))
  }
}

async function who(client: Client, output: Output, message: string): Promise<void> {
  const { gets, misses, elsewhere } = await client.ask('who', { message })
  const line = (endpoint: Json): string =>
    `  ${String(endpoint['who'])}, ${String(endpoint['orientation'])} of ${String(endpoint['text'])}`
  print(output, (gets as Json[]).length === 0 ? 'nobody gets it' : 'these get it:')
  for (const endpoint of gets as Json[]) print(output, line(endpoint))
  if ((elsewhere as Json[]).length > 0) print(output, 'these would, in other VMs:')
  for (const endpoint of elsewhere as Json[]) print(output, line(endpoint))
  if ((misses as Json[]).length > 0) print(output, 'these do not, the nearest first:')
  for (const miss of (misses as Json[]).slice(0, TOP_LINES)) print(output, `${line(miss)}: ${String(miss['why'])}`)
}

function socketLines({ sockets, listeners, left }: Json): string[] {
  const rows = (sockets as Json[]).map(({ socket, remote, local, queued, held, tcp }) => {
    const known = tcp as Readonly<Record<string, number>> | undefined
    const facts = known === undefined ? [] : [
      `in ${known['bytesReceived']}`, `out ${known['bytesAcknowledged']}`, `round trip ${known['roundTrip']} us`,
      `resent ${known['retransmits']}`, `last byte ${Math.min(known['sinceReceived'], known['sinceSent'])} ms ago`,
    ]
    const waits = (held as string[]).map((why) => `held: ${why}`)
    return `${String(socket)} ${String(remote)} - ${String(local)}: ${
      [`queued ${String(queued)}`, ...facts, ...waits].join(', ')}`
  })
  return [
    ...(listeners as Json[]).map(({ name, address }) => `listening on ${String(address)}: ${String(name)}`), ...rows,
    ...left === 0 ? [] : [`and ${String(left)} more`],
  ]
}

function networkLines({ workers, nodes }: Json): string[] {
  return [
    ...(workers as Json[]).map(({ serve, worker, node, state, connections }) =>
      `worker ${String(serve)} ${String(worker)} (${String(node)}): ${String(state)}, `
      + `${String(connections)} connections`),
    ...(nodes as Json[]).map(({ relay, node, up, silentMs, queuedBytes, endpoints, gaps }) =>
      `node ${String(node)} of ${String(relay)}: ${up === true ? 'up' : 'not complete'}, `
      + `${String(endpoints)} endpoints, heard ${String(silentMs)} ms ago, ${String(queuedBytes)} bytes queued, `
      + `${String(gaps)} gaps`),
  ]
}

const NEEDS: Readonly<Record<string, string>> = {
  who: 'a message', kill: 'the path of a process', process: 'the path of a process', pause: 'the path of a process',
  chain: 'the number of an event',
}

async function inspect(url: URL, what: string, argument: string | undefined, options: InspectOptions): Promise<number> {
  if (argument === undefined && what in NEEDS) throw new CommandError(`inspect ${what}: missing ${NEEDS[what]}`, 2)
  const client = await connect(url)
  const output = new Output()
  const ending = new AbortController()
  const stop = (): void => { ending.abort() }
  output.onBroken = stop
  const unwatch = onStopSignal(stop)
  try {
    switch (what) {
      case 'tree':
        for (const line of treeText((await client.ask('tree'))['processes'] as Row[])) print(output, line)
        break
      case 'trace':
        await trace(client, output, argument, ending.signal)
        break
      case 'who':
        await who(client, output, argument as string)
        break
      case 'process':
        output.line(JSON.stringify(await client.ask('process', { path: argument }), undefined, 2))
        break
      case 'chain':
        for (const event of (await client.ask('chain', { event: Number(argument) }))['events'] as Json[]) {
          print(output, eventText(event))
        }
        break
      case 'sockets':
        for (const line of socketLines(await client.ask('sockets'))) print(output, line)
        break
      case 'network':
        for (const line of networkLines(await client.ask('network'))) print(output, line)
        break
      case 'kill':
        await client.ask('kill', { path: argument })
        break
      case 'export':
        output.line(JSON.stringify(await client.ask('export')))
        break
      case 'pause':
        await hold(client, output, argument as string, ending.signal)
        break
      default:
        await top(client, output, options, ending.signal)
    }
  } finally {
    unwatch()
    client.close()
  }
  return 0
}

function parseUrl(text: string): URL {
  let url: URL
  try {
    url = new URL(text)
  } catch {
    throw new InvalidArgumentError('It is an address as the inspector prints it: http://HOST:PORT/?token=...')
  }
  if (url.protocol !== 'http:' && url.protocol !== 'ws:') throw new InvalidArgumentError('It begins with http://')
  return url
}

function parseEvery(text: string): number {
  const ms = /^\d{1,6}$/.test(text) ? Number(text) : NaN
  if (!(ms >= 100)) throw new InvalidArgumentError('It is a whole number of milliseconds from 100 to 999999.')
  return ms
}

export function addInspect(program: Command, done: (code: Promise<number>) => Promise<void>): void {
  program
    .command('inspect')
    .summary('look into a running program')
    .description('Look into a program that has an inspector (inspector(), --inspect or MARKETPLACE_INSPECT=1).')
    .addArgument(new Argument('<url>', 'the address that the program prints').argParser(parseUrl))
    .addArgument(new Argument('[what]', 'what to see or do')
      .choices(['top', 'tree', 'trace', 'who', 'process', 'chain', 'pause', 'kill', 'export',
        'sockets', 'network']).default('top'))
    .addArgument(new Argument('[argument]', 'trace TOPIC, who MESSAGE, chain EVENT, or the path of a process'))
    .option('--every <ms>', 'top: time between two tables', parseEvery, DEFAULT_EVERY)
    .option('--once', 'top: one table', false)
    .action((url: URL, what: string, argument: string | undefined, options: InspectOptions) =>
      done(inspect(url, what, argument, options)))
}
