/**
 * TCP programs under test: a ground VM with a driver in it, directly or in nested VMs, whose main
 * process does from outside what it is told; and the table of transports that every test runs over.
 */
import { collectLog, type LogLine } from '../vm/log-records.js'
import { readdirSync } from 'node:fs'
import { patient } from '../support/patience.js'
import t, { type Test } from 'tap'
import {
  _, deleteEndpoint, endpoint, eventRelay, eventSource, groundVm, nestedVm, spawn, tcp, tcpBare, tcpChannel,
  tcpError, tcpListener, tcpListening, type Action, type ActionTree, type EventSink,
  type BareTcpOptions, type FlowControlledTcpOptions, type GroundVm, type HandlerResult,
  type TcpAddress, type TcpChannel, type TcpEnd, type TcpError, type Transport,
} from 'marketplace-native'
import { loadNative } from '../../src/transport/native/transport.js'
import { sleep, until } from '../support/util.js'
import { leftOutOnNode } from '../support/variants.js'

export const host = '127.0.0.1'
export const TRANSPORTS = ['native', 'node'] as const
export type Name = (typeof TRANSPORTS)[number]

/** Lets a process be told from outside what to do. Its event source keeps the ground VM alive. */
export class Remote {
  #sink: EventSink<() => ActionTree> | undefined
  #early: ActionTree[] = []
  readonly #source = eventSource<() => ActionTree>('remote', (sink) => {
    this.#sink = sink
    for (const actions of this.#early.splice(0)) sink.fire(() => actions)
  })

  /** The endpoint through which its process is told. */
  readonly ear: Action = endpoint.subscriber([this.#source, _], {
    name: this,
    onMessage: ([, actions]) => actions(),
  })

  do(...actions: ActionTree[]): void {
    if (this.#sink === undefined) this.#early.push(actions)
    else this.#sink.fire(() => actions)
  }

  letGo(): void {
    this.do(deleteEndpoint(this))
  }
}

export interface ProgramOptions extends FlowControlledTcpOptions, BareTcpOptions {
  /** Default `bare`. */
  readonly driver?: 'bare' | 'tcp'
  /** How many VMs lie between the ground VM and the program. Default 0. */
  readonly depth?: number
}

/** What an endpoint heard. */
export interface Heard {
  readonly who: string
  readonly what: 'presence' | 'absence' | 'message'
  readonly topic: TcpChannel
  readonly reason?: unknown
}

export class Program {
  readonly vm: GroundVm
  readonly heard: Heard[] = []
  readonly errors: TcpError[] = []
  /** Where it listens at present. */
  readonly where = new Set<TcpAddress>()
  readonly transports: Transport[] = []
  readonly log: LogLine[]
  /** Whether the ground VM has ended. */
  ended = false
  readonly #remote = new Remote()
  readonly #endLog: () => void

  constructor(boot: (program: Program) => ActionTree, transport: Name, options: ProgramOptions) {
    const { driver = 'bare', depth = 0, ...rest } = options
    const { records, end } = collectLog()
    this.log = records
    this.#endLog = end
    const make = driver === 'bare' ? tcpBare : tcp
    const sockets = make({
      transport, host, onTransport: (opened) => { this.transports.push(opened) }, ...rest,
    })
    const wrap = (inside: ActionTree, levels: number): ActionTree =>
      levels === 0 ? inside : nestedVm(() => [eventRelay(), wrap(inside, levels - 1)])
    this.vm = groundVm(() => wrap(spawn(() => [sockets, this.#watch(), this.#remote.ear, boot(this)]), depth))
    void this.vm.then(() => { this.ended = true })
  }

  #watch(): ActionTree {
    return [
      endpoint.subscriber(tcpError(_, _, _), { onMessage: (error) => { this.errors.push(error) } }),
      endpoint.subscriber(tcpListening(_, _), {
        onPresence: ({ address }) => { this.where.add(address) },
        onAbsence: ({ address }) => {
          for (const known of this.where) if (known.port === address.port) this.where.delete(known)
        },
      }),
    ]
  }

  /** Has the main process perform actions. */
  do(...actions: ActionTree[]): void {
    this.#remote.do(...actions)
  }

  /** The main process waits for orders no longer: the ground VM ends when nothing else keeps it. */
  letGo(): void {
    this.#remote.letGo()
  }

  /** The port on which it listens, as soon as it does. */
  async port(): Promise<number> {
    await until(() => this.where.size > 0)
    const [{ port }] = this.where
    return port
  }

  /** How many connections are open. */
  get connections(): number {
    return this.transports.reduce((sum, { metrics }) => sum + metrics.connections, 0)
  }

  /** Handlers that note what they hear, under a name that the endpoint gets too. */
  notes(who: string, onMessage?: (message: TcpChannel) => ActionTree, onPresence?: () => ActionTree) {
    return {
      name: who,
      onPresence: (topic: TcpChannel) => {
        this.heard.push({ who, what: 'presence', topic })
        return onPresence?.()
      },
      onAbsence: (topic: TcpChannel, _state: unknown, reason: unknown) => {
        this.heard.push({ who, what: 'absence', topic, reason })
      },
      onMessage: (topic: TcpChannel) => {
        this.heard.push({ who, what: 'message', topic })
        return onMessage?.(topic)
      },
    }
  }

  all(who: string, what: Heard['what']): Heard[] {
    return this.heard.filter((heard) => heard.who === who && heard.what === what)
  }

  /** The bytes that an endpoint got, all together. */
  bytes(who: string): Buffer {
    const parts = this.all(who, 'message').map(({ topic }) => topic.subpacket as unknown)
    return Buffer.concat(parts.filter((part) => Buffer.isBuffer(part)))
  }

  /** The reason of the first absence that an endpoint heard of; waits for it. */
  async reason(who: string): Promise<unknown> {
    await until(() => this.all(who, 'absence').length > 0)
    return this.all(who, 'absence')[0].reason
  }

  async stop(): Promise<void> {
    await this.vm.stop()
    this.#endLog()
  }
}

export type Start = (boot: (program: Program) => ActionTree, options?: ProgramOptions) => Program
export type Body = (t: Test, start: Start, transport: Name) => Promise<void>

/** Registers a test per transport. A transport that is missing is skipped with the reason. */
export function onBoth(name: string, body: Body, skip: string | false = false, timeout = patient(20_000)): void {
  const native = loadNative()
  for (const transport of TRANSPORTS) {
    const here = native.ok ? false : `native transport: ${native.reason}`
    const reason = (transport === 'node' ? leftOutOnNode : here) || skip
    void t.test(`${transport}: ${name}`, { skip: reason, timeout }, async (t) => {
      const programs: Program[] = []
      t.teardown(() => Promise.all(programs.map((program) => program.stop())))
      await body(t, (boot, options = {}) => {
        const program = new Program(boot, transport, options)
        programs.push(program)
        return program
      }, transport)
    })
  }
}

/** An observer of a listener that starts a process for each connection. */
export function server(
  session: (them: TcpEnd, us: TcpEnd) => HandlerResult<unknown>, port = 0, name: unknown = 'server',
): Action {
  return endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    name,
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us)),
  })
}

/** Waits for the end of a ground VM that nobody stops. @returns whether it came */
export async function endsByItself(program: Program, patience = 3000): Promise<boolean> {
  await Promise.race([program.vm, sleep(patience, undefined, { ref: false })])
  return program.ended
}

/** How many descriptors this process has open; `undefined` where the system doesn't tell. */
export function openDescriptors(): number | undefined {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : undefined
}
