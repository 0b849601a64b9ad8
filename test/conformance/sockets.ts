/**
 * Scenarios with sockets: plain clients and servers that know nothing of the package, and pacing.
 *
 * A test causes something only when the trace has grown as far as the golden one has at that place, and
 * then waits a little for lines that must not come. So nothing depends on how fast the machine is.
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import t, { type Test } from 'tap'
import type { ActionTree } from 'marketplace-native'
import { loadNative } from '../../src/transport/native/transport.js'
import { checkTrace, golden, perform, type Scenario, type Stage } from './harness.js'

/** Milliseconds to wait for a line that should come, and for lines that should not. */
const PATIENCE = 5_000
const GRACE = 40

export type TransportName = 'native' | 'node'

export interface SocketScenario extends Pick<Scenario, 'orders' | 'check'> {
  /** What the ground VM does; `port` is a free one, which the trace shows as that of the golden trace. */
  start(stage: Stage, port: number, transport: TransportName): ActionTree
  drive(outside: Outside): Promise<void>
}

/** The world outside of the VM, as one scenario uses it. */
export class Outside {
  readonly stage: Stage
  readonly port: number
  private readonly expected: readonly string[]
  private readonly resources = new Set<{ destroy(): void }>()
  private caused = 0
  /** A line didn't come: the test has failed, and waits no more. */
  private late = false

  constructor(stage: Stage, port: number, expected: readonly string[]) {
    this.stage = stage
    this.port = port
    this.expected = expected
  }

  /** Waits until all has come that the golden trace has before the next thing that a test causes. */
  async quiet(): Promise<void> {
    const causes = this.expected.flatMap((line, i) => (CAUSED.test(line) ? [i] : []))
    await this.grown(causes[this.caused] ?? this.expected.length)
  }

  /** Waits until the trace has so many lines. */
  async grown(target: number): Promise<void> {
    const deadline = Date.now() + PATIENCE
    while (this.stage.lines.length < target && !this.late) {
      await sleep(2)
      this.late = Date.now() > deadline
    }
    await sleep(GRACE)
  }

  /** Prints a line for what is about to be caused, when all before has come. */
  async cause(line: string): Promise<void> {
    await this.quiet()
    this.caused += 1
    this.stage.print(line)
  }

  async signal(n: number): Promise<void> {
    await this.cause(`-- signal ${n}`)
    this.stage.step(n).reach()
  }

  /** Connects a plain client, or prints that it was refused. */
  async client(name: string): Promise<PlainClient> {
    await this.cause(`client ${name}: connected`)
    const socket = connect({ port: this.port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true })
    this.resources.add(socket)
    const client = new PlainClient(name, socket, this)
    const at = this.stage.lines.length - 1
    try {
      await once(socket, 'connect')
    } catch {
      this.stage.lines[at] = `client ${name}: refused`
    }
    return client
  }

  /** A plain server on the scenario's port. */
  async server(onConnection: (socket: Socket) => void): Promise<void> {
    const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.resources.add(socket)
      socket.on('error', () => undefined)
      onConnection(socket)
    })
    this.resources.add({ destroy: () => server.close() })
    server.listen(this.port, '127.0.0.1')
    await once(server, 'listening')
  }

  /** Ends the scenario from outside. */
  async end(): Promise<void> {
    await this.cause('END')
    this.stage.closed = true
  }

  /** Keeps a socket until the end of the scenario. */
  own(resource: { destroy(): void }): void {
    this.resources.add(resource)
  }

  destroy(): void {
    for (const resource of this.resources) resource.destroy()
  }
}

/** Lines that stand for what the test does. */
const CAUSED = /^-- signal|^nothing else|^END$|^ground VM returned$|^client \w+: (connected|refused|writes )/

/** A TCP client that prints what it does and reads. */
export class PlainClient {
  private readonly name: string
  private readonly socket: Socket
  private readonly outside: Outside
  /** Where the line stands that shows what was read since the client last did something. */
  private reading: { readonly at: number; bytes: Buffer } | undefined

  constructor(name: string, socket: Socket, outside: Outside) {
    this.name = name
    this.socket = socket
    this.outside = outside
    socket.on('data', (bytes) => { this.read(bytes) })
    socket.on('end', () => { this.print('reads eof') })
    socket.on('error', () => { this.socket.destroy() })
  }

  async write(text: string): Promise<void> {
    await this.outside.cause(`client ${this.name}: writes ${JSON.stringify(text)}`)
    this.reading = undefined
    this.socket.write(text)
  }

  async fin(): Promise<void> {
    await this.outside.cause(`client ${this.name}: writes fin`)
    this.reading = undefined
    this.socket.end()
  }

  private read(bytes: Buffer): void {
    const { stage } = this.outside
    if (this.reading === undefined) {
      this.reading = { at: stage.lines.length, bytes: Buffer.alloc(0) }
      this.print('')
    }
    this.reading.bytes = Buffer.concat([this.reading.bytes, bytes])
    stage.lines[this.reading.at] = `client ${this.name}: reads ${stage.show(this.reading.bytes)}`
  }

  private print(text: string): void {
    this.outside.stage.print(`client ${this.name}: ${text}`)
  }
}

/** A port of 127.0.0.1 and of all interfaces on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0)
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** Registers the tests of a scenario, one per transport; `name` is that of the golden trace. */
export function socketScenario(name: string, spec: SocketScenario): void {
  const native = loadNative()
  for (const transport of ['native', 'node'] as const) {
    const skip = transport === 'native' && !native.ok ? `native transport: ${native.reason}` : false
    void t.test(`${name}, ${transport}`, { skip }, (t) => run(t, name, spec, transport))
  }
}

async function run(t: Test, name: string, spec: SocketScenario, transport: TransportName): Promise<void> {
  const port = await freePort()
  const [expected] = golden(name)
  let outside: Outside | undefined
  const stage = await perform({
    start: (stage) => {
      stage.notation.namePort(port, 7000 + Number(name.slice(0, 2)))
      outside = new Outside(stage, port, expected)
      return spec.start(stage, port, transport)
    },
    drive: async () => outside && spec.drive(outside),
  }, 'comfortable')
  outside?.destroy()
  if (checkTrace(t, name, stage.lines, spec.orders)) spec.check?.(t, stage)
}
