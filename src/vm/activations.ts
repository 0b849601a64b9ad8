/**
 * The event sources of a ground VM: active while somebody subscribes to them.
 *
 * Owns their activation and release, what they have fired and is not delivered yet, and what keeps Node's event
 * loop running for them. When something is delivered, the ground VM decides.
 *
 * Invariants: a source has one activation at most, which has a subscriber; what is fired after the release is
 * ignored.
 */
import { isPromise } from 'node:util/types'
import { log } from '../support/log.js'
import type { Endpoint } from './endpoint.js'
import { EventSource, type Release } from './event-source.js'
import { adoptPromises } from './handler.js'
import type { Shutdown } from './shutdown.js'
import type { Vm } from './vm.js'

/** The longest interval that Node has, in milliseconds. */
const INTERVAL_MAX = 0x7fffffff

/** A source that somebody subscribes to. */
interface Activation {
  readonly source: EventSource<unknown>
  /** The endpoints that keep it active; the first one owns the messages. */
  readonly subscribers: Set<Endpoint>
  release: Release | undefined
  /** What is to be called at a shutdown, if the source has something then that may end by itself. */
  onShutdown: ((shutdown: Shutdown) => void) | undefined
}

export class Activations {
  readonly #bySource = new Map<EventSource<unknown>, Activation>()
  /** Those that keep the process alive. */
  readonly #keepingAlive = new Set<Activation>()
  /** A timer that keeps Node's event loop running while there is any of these. */
  #keepAlive: NodeJS.Timeout | undefined
  #firings: { readonly activation: Activation; readonly value: unknown }[] = []
  /** Releases that are still under way. */
  readonly #releases = new Set<Promise<unknown>>()
  #shutdown: Shutdown | undefined
  readonly #wake: () => void
  readonly #whenIdle: (callback: () => void) => void
  readonly #isIdle: () => boolean
  readonly #activates: (source: EventSource<unknown>) => boolean

  /**
   * @param wake called when there is something to deliver, and after a release that took its time
   * @param whenIdle calls back once nothing is left to do in the VM
   * @param isIdle whether nothing is left to do in the VM
   * @param activates whether a source that somebody wants is to be activated
   */
  constructor(
    wake: () => void, whenIdle: (callback: () => void) => void, isIdle: () => boolean,
    activates: (source: EventSource<unknown>) => boolean,
  ) {
    this.#wake = wake
    this.#whenIdle = whenIdle
    this.#isIdle = isIdle
    this.#activates = activates
  }

  /** Whether any source is active, or has fired what is not delivered yet. */
  get areActive(): boolean {
    return this.#bySource.size > 0 || this.#firings.length > 0
  }

  get haveFired(): boolean {
    return this.#firings.length > 0
  }

  get awaitsReleases(): boolean {
    return this.#releases.size > 0
  }

  /** All that are. */
  active(): Iterable<EventSource<unknown>> {
    return this.#bySource.keys()
  }

  /** Whether an active source has something that may come to its end. */
  get drains(): boolean {
    for (const { onShutdown } of this.#bySource.values()) if (onShutdown !== undefined) return true
    return false
  }

  /** @throws what the source throws that can't be activated; then nothing has happened */
  installed(endpoint: Endpoint): void {
    const source = sourceOf(endpoint)
    if (source === undefined) return
    const active = this.#bySource.get(source)
    if (active === undefined) this.#activate(source, endpoint)
    else active.subscribers.add(endpoint)
    this.#updateKeepAlive()
  }

  /** @returns whether a source was released, as it was the last one's */
  uninstalled(endpoint: Endpoint): boolean {
    const source = sourceOf(endpoint)
    const activation = source === undefined ? undefined : this.#bySource.get(source)
    if (activation === undefined || !activation.subscribers.delete(endpoint)) return false
    if (activation.subscribers.size > 0) return false
    this.#deactivate(activation)
    return true
  }

  /** Sends what was fired. */
  deliver(vm: Vm): void {
    const firings = this.#firings
    this.#firings = []
    vm.ground.work += firings.length
    for (const { activation, value } of firings) this.#deliver(vm, activation, value)
    vm.ground.tap?.fires(undefined)
  }

  /** Delivers what a source that may be inactive would have fired. */
  deliverOne(vm: Vm, source: EventSource<unknown>, value: unknown): void {
    const activation = this.#bySource.get(source)
    if (activation !== undefined) this.#deliver(vm, activation, value)
    vm.ground.tap?.fires(undefined)
  }

  #deliver(vm: Vm, { source, subscribers }: Activation, value: unknown): void {
    const [owner] = subscribers
    if (owner === undefined) return
    vm.ground.tap?.fires(source, value, subscribers)
    try {
      vm.deliver(owner.owner, [source, value], 'publisher')
    } catch (error) {
      // The subscriber did not send it itself: that it can't be delivered is no failure of that process.
      log('error', `event source ${source.name} fired what can't be compared with topics`, { value, reason: error })
    }
  }

  /** Tells the sources, also those that become active later. */
  shutDown(shutdown: Shutdown): void {
    this.#shutdown = shutdown
    for (const { onShutdown } of [...this.#bySource.values()]) onShutdown?.(shutdown)
  }

  releaseAll(): void {
    for (const activation of [...this.#bySource.values()]) this.#deactivate(activation)
  }

  #activate(source: EventSource<unknown>, endpoint: Endpoint): void {
    const subscribers = new Set([endpoint])
    const activation: Activation = { source, subscribers, release: undefined, onShutdown: undefined }
    this.#bySource.set(source, activation)
    this.#keepingAlive.add(activation)
    if (!this.#activates(source)) return
    const isActive = (): boolean => this.#bySource.get(source) === activation
    try {
      const release: unknown = source.activate({
        fire: (value: unknown) => {
          if (!isActive()) return
          this.#firings.push({ activation, value })
          this.#wake()
        },
        whenIdle: (callback) => {
          if (!isActive()) return
          this.#whenIdle(() => {
            if (isActive()) callback()
          })
        },
        ref: () => {
          if (isActive()) this.#keepingAlive.add(activation)
          this.#updateKeepAlive()
        },
        unref: () => {
          this.#keepingAlive.delete(activation)
          this.#updateKeepAlive()
        },
        onShutdown: (callback) => {
          activation.onShutdown = callback
          if (this.#shutdown !== undefined) callback(this.#shutdown)
        },
        isIdle: () => this.#firings.length === 0 && this.#isIdle(),
      })
      if (typeof release === 'function') activation.release = release as Release
      // `activate` was an async function, whose promise nobody awaits: its rejection is logged.
      else if (isPromise(release)) adoptPromises(release, failed(source, 'after it was activated'))
    } catch (error) {
      this.#bySource.delete(source)
      this.#keepingAlive.delete(activation)
      this.#updateKeepAlive()
      this.#firings = this.#firings.filter((firing) => firing.activation !== activation)
      throw error
    }
  }

  #deactivate(activation: Activation): void {
    const { source } = activation
    this.#bySource.delete(source)
    this.#keepingAlive.delete(activation)
    this.#updateKeepAlive()
    try {
      const released: unknown = activation.release?.()
      if (isPromise(released)) void this.#awaitRelease(source, released)
    } catch (error) {
      failed(source, 'when it was released')(error)
    }
  }

  async #awaitRelease(source: EventSource<unknown>, released: Promise<unknown>): Promise<void> {
    this.#releases.add(released)
    try {
      await released
    } catch (error) {
      failed(source, 'when it was released')(error)
    }
    this.#releases.delete(released)
    this.#wake()
  }

  /**
   * Node's event loop ends when it has nothing to wait for, and some sources, such as signals, are nothing to it. So a
   * timer keeps it running while a source is active that is to do so.
   */
  #updateKeepAlive(): void {
    const wanted = this.#keepingAlive.size > 0
    if (wanted === (this.#keepAlive !== undefined)) return
    clearInterval(this.#keepAlive)
    this.#keepAlive = wanted ? setInterval(() => undefined, INTERVAL_MAX) : undefined
  }
}

function failed({ name }: EventSource<unknown>, when: string): (error: unknown) => void {
  return (error) => { log('error', `event source ${name} failed ${when}`, { reason: error }) }
}

/** The source that an endpoint of the ground VM activates. */
function sourceOf(endpoint: Endpoint): EventSource<unknown> | undefined {
  if (endpoint.orientation !== 'subscriber' || endpoint.interest !== 'participant') return undefined
  const { topic } = endpoint
  if (!Array.isArray(topic) || topic.length !== 2) return undefined
  const source: unknown = topic[0]
  return source instanceof EventSource ? source : undefined
}
