/**
 * Runs one scenario on node:net and on ours, and notes what happened in words that can be compared: events in
 * their order, errors by class, code, message and fields; ports and paths that differ are named.
 */
import { once } from 'node:events'
import nodeNet from 'node:net'
import ourNet from 'marketplace-native/net'
import t from 'tap'

export type Net = typeof nodeNet

/** The notes of one run. */
export class Trace {
  readonly lines: string[] = []
  readonly #names = new Map<string, string>()

  /** From now on `value` is written as `<name>`. */
  name(value: unknown, name: string): void {
    this.#names.set(String(value), `<${name}>`)
  }

  note(...parts: unknown[]): void {
    this.lines.push(parts.map((part) => this.#text(part)).join(' '))
  }

  /** Notes these events of a socket or a server, with their arguments. */
  watch(label: string, emitter: NodeJS.EventEmitter, ...events: string[]): void {
    for (const event of events) {
      emitter.on(event, (...args: unknown[]) => { this.note(label, event, ...args) })
    }
  }

  #text(part: unknown): string {
    if (Buffer.isBuffer(part)) return `'${part.toString('latin1')}'`
    if (part instanceof Error) return this.#error(part)
    let text = typeof part === 'string' ? part : JSON.stringify(part) ?? String(part)
    for (const [value, name] of this.#names) text = text.replaceAll(value, name)
    return text
  }

  #error(error: Error): string {
    const { code, errno, syscall, address, port, name, message } = error as NodeJS.ErrnoException
      & { address?: string, port?: number }
    const { errors } = error as { errors?: readonly Error[] }
    const inner = errors === undefined ? [] : errors.map((one) => this.#error(one))
    return this.#text(JSON.stringify({ name, code, message, errno, syscall, address, port, inner }))
  }
}

export type Scenario = (net: Net, trace: Trace) => Promise<void>

/** The notes of both. */
export async function both(scenario: Scenario): Promise<{ node: string[], ours: string[] }> {
  const node = new Trace()
  await scenario(nodeNet, node)
  const ours = new Trace()
  await scenario(ourNet, ours)
  return { node: node.lines, ours: ours.lines }
}

/** Data in one piece, and how often it came does not matter. */
export function collect(socket: nodeNet.Socket): () => string {
  let text = ''
  socket.on('data', (data: Buffer) => { text += data.toString('latin1') })
  return () => text
}

/** A server on a free port of 127.0.0.1, which the trace calls `<port>`. */
export async function listening(
  net: Net, trace: Trace, options: object = {},
): Promise<[nodeNet.Server, number]> {
  const server = net.createServer(options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as nodeNet.AddressInfo
  trace.name(port, 'port')
  return [server, port]
}

export const closed = async (socket: NodeJS.EventEmitter): Promise<void> => {
  await new Promise<void>((resolve) => { socket.once('close', () => { resolve() }) })
}

/** Each of them has to come to the same on both. */
export function compare(scenarios: Readonly<Record<string, Scenario>>): void {
  for (const [name, scenario] of Object.entries(scenarios)) {
    void t.test(name, async (t) => {
      const { node, ours } = await both(scenario)
      t.ok(node.length > 0)
      t.same(ours, node)
    })
  }
}
