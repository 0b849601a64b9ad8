/**
 * Runs one suite on every transport for datagrams, and gives tests a station: a transport whose events
 * are kept per socket, and checked against the rules of the seam on the way.
 */
import t, { type Test } from 'tap'
import type { SocketAddress, SocketError } from '../../src/transport/seam/transport.js'
import { openUdpTransport } from '../../src/transport/choose.js'
import type {
  UdpEvent, UdpSocket, UdpSocketOptions, UdpTransport, UdpTransportOptions,
} from '../../src/transport/seam/udp-transport.js'
import { until } from '../support/util.js'
import { VARIANTS, type Variant } from '../support/variants.js'
import { patient } from '../support/patience.js'

export interface Received {
  readonly data: Buffer
  readonly remote: SocketAddress
}

/** What came for one socket. */
export class Log {
  readonly received: Received[] = []
  readonly failures: UdpEvent[] = []
  bound = false
  closed = false
  bindError: SocketError | undefined

  get codes(): string[] {
    return this.failures.map(({ error }) => error?.code ?? 'none')
  }

  get texts(): string[] {
    return this.received.map(({ data }) => data.toString())
  }
}

export class Station {
  readonly transport: UdpTransport
  readonly violations: string[] = []
  /** Sees each event when it comes. */
  onEvent: ((event: UdpEvent) => void) | undefined
  #calling = false

  constructor(transport: UdpTransport) {
    this.transport = transport
    transport.open((events) => {
      if (this.#calling) this.violations.push('an event was reported from inside a call')
      if (events.length === 0) this.violations.push('an empty batch was reported')
      for (const event of events) this.#take(event)
    })
  }

  /** Binds (to 127.0.0.1 and a free port unless told); rejects with the error of `bind-failed`. */
  async bind(options: Partial<UdpSocketOptions> = {}): Promise<[socket: UdpSocket, log: Log, port: number]> {
    const log = new Log()
    const socket = this.call(() => this.transport.bind({ host: '127.0.0.1', port: 0, ...options }))
    socket.context = log
    await until(() => log.bound || log.bindError !== undefined)
    if (log.bindError !== undefined) throw log.bindError
    return [socket, log, socket.address?.port ?? 0]
  }

  /** Makes a call during which nothing may be reported. */
  call<Result>(body: () => Result): Result {
    this.#calling = true
    try {
      return body()
    } finally {
      this.#calling = false
    }
  }

  #take(event: UdpEvent): void {
    const log = event.socket.context as Log
    if (log.closed || log.bindError !== undefined) this.violations.push(`${event.kind} after the end`)
    if (!log.bound && !['bound', 'bind-failed', 'closed'].includes(event.kind)) {
      this.violations.push(`${event.kind} before bound`)
    }
    this.onEvent?.(event)
    switch (event.kind) {
      case 'bound':
        if (log.bound) this.violations.push('bound twice')
        log.bound = true
        break
      case 'bind-failed':
        log.bindError = event.error
        break
      case 'closed':
        log.closed = true
        break
      case 'datagram':
        if (event.data !== undefined && event.remote !== undefined) {
          log.received.push({ data: event.data, remote: event.remote })
        } else {
          this.violations.push('datagram without its parts')
        }
        break
      default:
        if (event.error === undefined) this.violations.push(`${event.kind} without an error`)
        log.failures.push(event)
    }
  }
}

export type Suite = (t: Test, open: (options?: UdpTransportOptions) => Station) => void | Promise<void>

/** Registers `body` as one subtest per transport; a transport that is missing is skipped with the reason. */
export function onEveryUdpTransport(name: string, body: Suite, skip: string | false = false): void {
  register(name, body, skip, VARIANTS)
}

/** What only the native engine does, on each of its backends. */
export function onNativeUdp(name: string, body: Suite): void {
  register(name, body, false, VARIANTS.filter((variant) => variant.name !== 'node'))
}

function register(name: string, body: Suite, skip: string | false, variants: readonly Variant[]): void {
  for (const variant of variants) {
    const [transport, backend] = variant.name.split(' ') as ['native' | 'node', 'epoll' | 'io_uring']
    const options = { skip: variant.skip || skip, timeout: patient(30_000) }
    void t.test(`${variant.name}: ${name}`, options, async (t) => {
      const stations: Station[] = []
      t.teardown(async () => { await Promise.all(stations.map((station) => station.transport.close())) })
      await body(t, (options) => {
        const station = new Station(openUdpTransport(transport, { backend, ...options }))
        stations.push(station)
        return station
      })
      for (const station of stations) t.strictSame(station.violations, [], 'the rules of the seam were kept')
    })
  }
}
