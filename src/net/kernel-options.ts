/**
 * The options of the kernel's socket: TCP_NODELAY, keep-alive and the type of service, as the program wants them.
 * Owns what was asked for; the kernel gets it as soon as there is a connection.
 */
import type { TransportConnection } from '../transport/seam/transport.js'
import { socketError } from '../support/errors.js'
import { checkInt32, invalidType } from './errors.js'

/** Times are seconds; what is left out is libuv's default. */
interface KeepAlive {
  readonly on: boolean
  readonly delay: number
  readonly interval: number | undefined
  readonly count: number | undefined
}

/** As Node takes them: milliseconds. */
interface KeepAliveArguments {
  readonly enable?: unknown
  readonly initialDelay?: unknown
  readonly interval?: unknown
  readonly count?: unknown
}

const NO_KEEP_ALIVE = keepAliveOf({})

/** Milliseconds, of what may be any number, as whole seconds. */
function wholeSeconds(milliseconds: unknown): number {
  return ~~(Number(milliseconds) / 1000)
}

function keepAliveOf({ enable, initialDelay = 0, interval, count }: KeepAliveArguments): KeepAlive {
  return {
    on: Boolean(enable),
    delay: wholeSeconds(initialDelay),
    interval: interval === undefined ? undefined : wholeSeconds(interval),
    count: count === undefined ? undefined : ~~Number(count),
  }
}

export class KernelOptions {
  /** While there is one. */
  connection: TransportConnection | undefined = undefined
  /** The socket's handle, if somebody has asked for it: programs put their own functions there. */
  handle: Pick<TransportConnection, 'setNoDelay' | 'setKeepAlive'> | undefined = undefined
  noDelay: boolean
  #keepAlive = NO_KEEP_ALIVE
  #typeOfService: number | undefined = undefined

  /** @param options those of the socket; the delay is milliseconds */
  constructor(options: { noDelay?: unknown, keepAlive?: unknown, keepAliveInitialDelay?: number | undefined }) {
    this.noDelay = Boolean(options.noDelay)
    const { keepAlive: enable, keepAliveInitialDelay = 0 } = options
    if (!enable && keepAliveInitialDelay === 0) return
    this.#keepAlive = keepAliveOf({ enable, initialDelay: Math.max(0, keepAliveInitialDelay) })
  }

  /** The connection gets what it doesn't have yet. @param noDelay as the kernel has it already */
  apply(noDelay: boolean, failed: (error: Error) => void): void {
    if (this.noDelay !== noDelay || (noDelay && this.handle !== undefined)) this.#applyNoDelay()
    if (this.#keepAlive.on) this.#applyKeepAlive()
    if (this.#typeOfService !== undefined) this.#applyTypeOfService(failed)
  }

  setNoDelay(enable: unknown): void {
    const on = enable === undefined || Boolean(enable)
    if (on === this.noDelay) return
    this.noDelay = on
    this.#applyNoDelay()
  }

  setKeepAlive(enable: unknown, initialDelay: unknown, interval: unknown, count: unknown): void {
    const given = typeof enable === 'object' && enable !== null ? enable as KeepAliveArguments : undefined
    const next = keepAliveOf(given ?? { enable, initialDelay, interval, count })
    const last = this.#keepAlive
    const same = next.delay === last.delay && next.interval === last.interval && next.count === last.count
    if (last.on === next.on && (!next.on || same)) return
    this.#keepAlive = next
    this.#applyKeepAlive()
  }

  /** @param connecting there is no telling yet which connection it will be */
  setTypeOfService(value: number, connecting: boolean): void {
    if (Number.isNaN(value)) throw invalidType('tos', 'of type number', value)
    checkInt32(value, 'tos', 0, 255)
    if (value === this.#typeOfService) return
    this.#typeOfService = value
    if (!connecting) this.#applyTypeOfService((error) => { throw error })
  }

  typeOfService(connecting: boolean): number {
    const result = connecting ? undefined : this.#typeOfServiceOf(undefined)
    if (result !== undefined && result < 0) throw socketError(result, 'getTypeOfService')
    return result ?? this.#typeOfService ?? 0
  }

  #applyNoDelay(): void {
    if (this.connection !== undefined) (this.handle ?? this.connection).setNoDelay(this.noDelay)
  }

  #applyKeepAlive(): void {
    if (this.connection === undefined) return
    const { on, delay, interval, count } = this.#keepAlive
    ;(this.handle ?? this.connection).setKeepAlive(on, delay, interval, count)
  }

  #applyTypeOfService(failed: (error: Error) => void): void {
    const result = this.#typeOfServiceOf(this.#typeOfService) ?? 0
    if (result < 0) failed(socketError(result, 'setTypeOfService'))
  }

  /** The kernel's, after it was set to a value if there is one. Node's Unix sockets only keep what was set. */
  #typeOfServiceOf(value: number | undefined): number | undefined {
    return this.connection?.remote?.family === 'unix' ? undefined : this.connection?.typeOfService?.(value)
  }
}
