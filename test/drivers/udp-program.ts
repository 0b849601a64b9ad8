/**
 * A program with the UDP driver in it that prints what it hears, and suites that run it on both
 * transports.
 */
import { createSocket, type Socket } from 'node:dgram'
import { EventEmitter } from 'node:events'
import t, { type Test } from 'tap'
import { endpoint } from '../../src/dsl/index.js'
import { emitterSource } from '../../src/drivers/sources.js'
import { udp, type UdpOptions } from '../../src/drivers/udp.js'
import {
  udpBound, udpError, udpPacket, udpRemoteAddress, type UdpError, type UdpLocalAddress, type UdpPacket,
  type UdpRemoteAddress,
} from '../../src/drivers/udp-records.js'
import { _, type RecordBase } from '../../src/topic/index.js'
import { loadNative } from '../../src/transport/native/transport.js'
import { groundVm, sendMessage, type ActionTree, type GroundVm } from '../../src/vm/index.js'
import { patient } from '../support/patience.js'
import { leftOutOnNode } from '../support/variants.js'

export const host = '127.0.0.1'

/** A program with the driver in it, what it prints, and signals to its handlers. */
export class Program {
  readonly trace: string[] = []
  readonly errors: UdpError[] = []
  /** Where the sockets that are bound at present are, by the text of their local address. */
  readonly bound = new Map<string, UdpRemoteAddress>()
  readonly vm: GroundVm
  readonly #signals = new EventEmitter()

  constructor(
    options: UdpOptions,
    boot: (program: Program) => ActionTree,
    wrap: (inside: ActionTree) => ActionTree = (inside) => inside,
  ) {
    this.vm = groundVm(() => wrap([
      udp({ host, ...options }),
      endpoint.subscriber(udpError(_, _, _), { onMessage: (error) => { this.errors.push(error) } }),
      endpoint.subscriber(udpBound(_, _), {
        onPresence: ({ local, address }) => { this.bound.set(String(local.$0), address) },
        onAbsence: ({ local }) => { this.bound.delete(String(local.$0)) },
      }),
      boot(this),
    ]))
  }

  /** Handlers that print what they hear. */
  prints(name: string, onMessage?: (packet: UdpPacket) => ActionTree): object {
    return {
      name,
      onPresence: (topic: RecordBase) => { this.trace.push(`${name}: presence ${shortly(topic)}`) },
      onAbsence: (topic: RecordBase, _state: unknown, reason: unknown) => {
        this.trace.push(`${name}: absence ${shortly(topic)} ${String(reason)}`)
      },
      onMessage: (packet: UdpPacket) => {
        this.trace.push(`${name}: message ${packet.body.toString()}`)
        return onMessage?.(packet)
      },
    }
  }

  /** Runs `actions` in the process that calls this at boot, at each signal of this name. */
  when(name: string, actions: () => ActionTree): ActionTree {
    const source = emitterSource(this.#signals, name, () => name)
    return endpoint.subscriber([source, _], { name: `signal ${name}`, onMessage: actions })
  }

  signal(name: string): void {
    this.#signals.emit(name)
  }

  port(id: number | string): number {
    return this.bound.get(String(id))?.port ?? 0
  }
}

/** `remote>local`, in the words of this test. */
function shortly(topic: RecordBase): string {
  const word = (end: unknown): string => (udpRemoteAddress.is(end) ? 'remote' : 'local')
  return udpPacket.is(topic) ? `${word(topic.source)}>${word(topic.destination)}` : topic.$kind.label
}

export interface PlainClient {
  readonly socket: Socket
  readonly got: string[]
  send(data: string | Uint8Array, port: number): void
}

/** A plain client: what it received, in order. */
export function plainClient(t: Test): PlainClient {
  const socket = createSocket('udp4')
  const got: string[] = []
  socket.on('message', (data: Buffer) => { got.push(data.toString()) })
  t.teardown(() => { socket.close() })
  return { socket, got, send: (data, port) => { socket.send(data, port, host) } }
}

const transports = ['native', 'node'] as const
type Suite = (t: Test, run: (...args: WithoutOptions) => Program, options: UdpOptions) => Promise<void>
type WithoutOptions = [
  boot: (program: Program) => ActionTree, options?: UdpOptions, wrap?: (inside: ActionTree) => ActionTree,
]

export function onBoth(name: string, body: Suite, skip: string | false = false): void {
  for (const transport of transports) {
    const native = loadNative()
    const reason = (transport === 'node' ? leftOutOnNode : !native.ok && native.reason) || skip
    void t.test(`${transport}: ${name}`, { skip: reason, timeout: patient(30_000) }, async (t) => {
      const programs: Program[] = []
      await body(t, (boot, options, wrap) => {
        const program = new Program({ transport, ...options }, boot, wrap)
        programs.push(program)
        return program
      }, { transport })
      await Promise.all(programs.map(({ vm }) => vm.stop()))
    })
  }
}

export const both = (
  program: Program, local: UdpLocalAddress, answer?: (packet: UdpPacket) => ActionTree,
): ActionTree => [
  endpoint.subscriber(udpPacket(_, local, _), program.prints('i', answer)),
  endpoint.publisher(udpPacket(local, _, _), program.prints('o')),
]

export const echo = ({ source, destination, body }: UdpPacket): ActionTree =>
  sendMessage(udpPacket(destination, source, `re:${body.toString()}`))
