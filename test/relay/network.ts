/**
 * A network of nodes in memory, in virtual time: packets take a while, get lost, links are cut and nodes freeze, all
 * by a seed. Between two nodes what is sent to one, and what is sent to all, each keeps its order.
 */
import { setImmediate } from 'node:timers/promises'
import type { Carrier, CarrierListener } from '../../src/relay/carrier.js'
import type { Clock } from '../../src/relay/clock.js'

interface Event {
  readonly time: number
  readonly serial: number
  readonly happens: () => void
}

/** A small generator of random numbers (mulberry32), for tests to be repeated. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t = (t + Math.imul(t ^ (t >>> 7), t | 61)) ^ t
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

export interface NetworkOptions {
  readonly seed?: number
  /** Milliseconds that a packet takes. */
  readonly delay?: readonly [least: number, most: number]
  readonly maxPacket?: number
}

export class Network {
  now = 0
  packets = 0
  bytes = 0
  /** Which packets are lost. */
  loses: (from: string, to: string, packet: Uint8Array) => boolean = () => false
  readonly members: MemoryCarrier[] = []
  readonly #events: Event[] = []
  #serial = 0
  readonly random: () => number
  readonly maxPacket: number
  readonly #delay: readonly [number, number]

  constructor({ seed = 1, delay = [1, 1], maxPacket = 64 * 1024 }: NetworkOptions = {}) {
    this.random = random(seed)
    this.#delay = delay
    this.maxPacket = maxPacket
  }

  /** Of a node: it stands still while the node is frozen. */
  clock(frozen: () => boolean = () => false): Clock {
    return {
      now: () => this.now,
      every: (msecs, callback) => {
        let stopped = false
        const again = (): void => {
          this.after(msecs, () => {
            if (stopped) return
            // A timer that is late is called once.
            if (frozen()) {
              this.after(1, function late(this: void) { wait() })
              return
            }
            callback()
            again()
          })
        }
        const wait = (): void => {
          if (stopped) return
          if (frozen()) this.after(1, wait)
          else {
            callback()
            again()
          }
        }
        again()
        return () => { stopped = true }
      },
    }
  }

  after(msecs: number, happens: () => void): void {
    const event = { time: this.now + msecs, serial: this.#serial++, happens }
    const events = this.#events
    let i = events.length
    events.push(event)
    for (; i > 0; ) {
      const parent = (i - 1) >> 1
      if (!before(event, events[parent])) break
      events[i] = events[parent]
      i = parent
    }
    events[i] = event
  }

  #next(): Event {
    const events = this.#events
    const first = events[0]
    const last = events.pop() as Event
    if (events.length > 0) {
      let i = 0
      for (;;) {
        let child = 2 * i + 1
        if (child >= events.length) break
        if (child + 1 < events.length && before(events[child + 1], events[child])) child++
        if (!before(events[child], last)) break
        events[i] = events[child]
        i = child
      }
      events[i] = last
    }
    return first
  }

  /** Lets time pass. */
  async run(msecs: number): Promise<void> {
    await Promise.resolve() // VMs begin with the next microtask
    const end = this.now + msecs
    let steps = 0
    while (this.#events.length > 0 && this.#events[0].time <= end) {
      const { time, happens } = this.#next()
      this.now = Math.max(this.now, time)
      happens()
      // A VM with much to do goes on when the event loop had its turn.
      if (++steps % 64 === 0) await setImmediate()
    }
    await setImmediate()
    this.now = end
  }

  carrier(name: string): MemoryCarrier {
    return new MemoryCarrier(this, name)
  }

  delay(): number {
    const [least, most] = this.#delay
    return least + this.random() * (most - least)
  }
}

const before = (a: Event, b: Event): boolean => a.time < b.time || (a.time === b.time && a.serial < b.serial)

export class MemoryCarrier implements Carrier {
  readonly maxPacket: number
  lostCode: string | undefined
  /** It neither gets nor sends: what comes waits. */
  frozen = false
  /** Killed: without a word. */
  dead = false
  up = false
  readonly #network: Network
  #listener: CarrierListener | undefined
  #waiting: (() => void)[] = []
  /** When the last packet to each of the others arrives, by channel. */
  readonly #arrivals = new Map<MemoryCarrier, [number, number]>()
  readonly #queued = new Map<string, number>()

  constructor(network: Network, readonly name: string) {
    this.#network = network
    this.maxPacket = network.maxPacket
  }

  start(listener: CarrierListener): void {
    this.#listener = listener
    this.#network.members.push(this)
    this.#network.after(0, () => { this.setUp(true) })
  }

  setUp(up: boolean, error?: Error): void {
    if (this.dead || up === this.up) return
    this.up = up
    if (up) this.#listener?.onUp()
    else this.#listener?.onDown(error)
  }

  tellGone(node: string, error?: Error): void {
    this.#listener?.onGone(node, error)
  }

  send(to: string | undefined, packet: Uint8Array<ArrayBuffer>): void {
    if (this.dead || !this.up) return
    for (const member of [...this.#network.members]) {
      if (member === this || (to !== undefined && member.name !== to)) continue
      this.#sendTo(member, to === undefined ? 1 : 0, packet.slice())
    }
  }

  #sendTo(member: MemoryCarrier, channel: 0 | 1, packet: Uint8Array): void {
    const network = this.#network
    network.packets++
    network.bytes += packet.length
    if (network.loses(this.name, member.name, packet)) return
    const arrivals = this.#arrivals.get(member) ?? [0, 0]
    this.#arrivals.set(member, arrivals)
    const time = arrivals[channel] = Math.max(arrivals[channel], network.now + network.delay())
    network.after(time - network.now, () => { member.#receive(this.name, packet) })
  }

  #receive(from: string, packet: Uint8Array): void {
    if (this.dead || !this.up) return
    if (this.frozen) this.#waiting.push(() => { this.#listener?.onMessage(from, packet) })
    else this.#listener?.onMessage(from, packet)
  }

  /** What a hostile node sends in the name of this one. */
  forge(to: string, packet: Uint8Array): void {
    for (const member of this.#network.members) if (member.name === to) member.#receive(this.name, packet)
  }

  thaw(): void {
    this.frozen = false
    const waiting = this.#waiting
    this.#waiting = []
    for (const receive of waiting) receive()
  }

  setQueued(node: string, bytes: number): void {
    this.#queued.set(node, bytes)
  }

  queued(to: string | undefined): number {
    return this.#queued.get(to ?? '') ?? 0
  }

  kill(): void {
    this.dead = true
    this.#remove()
  }

  stop(): void {
    this.dead = true
    this.#remove()
  }

  #remove(): void {
    const { members } = this.#network
    const at = members.indexOf(this)
    if (at >= 0) members.splice(at, 1)
  }
}
