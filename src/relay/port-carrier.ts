/**
 * The carrier for threads: a `MessagePort` to each other node. Owns the ports that it was given.
 *
 * A port can't be cut, so this link never is down; a thread that ends closes its ports, which is heard at once.
 */
import { MessagePort } from 'node:worker_threads'
import { argumentError, show } from '../support/errors.js'
import type { Carrier, CarrierListener } from './carrier.js'
import { relayError } from './reason.js'

const CALL = 'portCarrier'
const LOST = 'EWORKERLOST'
/** Above this a packet is handed over, below it is copied, which costs less. */
const TRANSFER_MIN = 4096
const NOTHING = new Uint8Array(0)

/** Carries packets between threads, over a `MessagePort` to each of the others. */
export class PortCarrier implements Carrier {
  /** The longest packet, in bytes. */
  readonly maxPacket = 256 * 1024
  /** The `code` of the reason with which the endpoints of a lost thread are absent. */
  readonly lostCode = LOST
  readonly #ports = new Map<string, MessagePort>()
  #listener: CarrierListener | undefined
  #stopped = false

  /**
   * Connects another node, now or while the relay runs. If the node was connected before, that port is closed first,
   * and what was there is absent.
   *
   * @param node its name
   * @param port one end of a `MessageChannel`, of which that node has the other one
   * @throws TypeError when the name is no string or the port is none
   */
  connect(node: string, port: MessagePort): void {
    if (typeof node !== 'string' || node === '') throw argumentError(CALL, 'node', 'the name of a node', node)
    if (!(port instanceof MessagePort)) throw argumentError(CALL, 'port', 'a MessagePort', port)
    this.disconnect(node)
    this.#ports.set(node, port)
    if (this.#listener !== undefined) this.#open(node, port)
  }

  /**
   * Closes the port to a node; its endpoints are absent.
   *
   * @param error the reason. Default: that the thread is lost
   */
  disconnect(node: string, error?: Error): void {
    const port = this.#ports.get(node)
    if (port === undefined) return
    this.#ports.delete(node)
    port.close()
    this.#listener?.onGone(node, error ?? gone(node))
  }

  /** For the relay: see `Carrier`. */
  start(listener: CarrierListener): void {
    if (this.#listener !== undefined) {
      const what = 'a carrier is for one relay, which starts it once; give a relay that is started again a function'
      throw Object.assign(new Error(`${CALL}: ${what} that makes carriers`), { code: 'ERR_INVALID_STATE' })
    }
    this.#listener = listener
    queueMicrotask(() => {
      if (this.#stopped) return
      listener.onUp()
      for (const [node, port] of this.#ports) this.#open(node, port)
    })
  }

  #open(node: string, port: MessagePort): void {
    const isOpen = (): boolean => this.#ports.get(node) === port && !this.#stopped
    port.on('message', (packet: unknown) => {
      // What is no packet is told of by the core.
      if (isOpen()) this.#listener?.onMessage(node, packet instanceof Uint8Array ? packet : NOTHING)
    })
    port.on('messageerror', () => {
      if (isOpen()) this.#listener?.onMessage(node, NOTHING)
    })
    port.on('close', () => {
      if (!isOpen()) return
      this.#ports.delete(node)
      this.#listener?.onGone(node, gone(node))
    })
  }

  /** For the relay: see `Carrier`. */
  send(to: string | undefined, packet: Uint8Array<ArrayBuffer>): void {
    if (to === undefined) {
      for (const port of this.#ports.values()) post(port, packet, false)
      return
    }
    const port = this.#ports.get(to)
    if (port !== undefined) post(port, packet, packet.length >= TRANSFER_MIN)
  }

  /** For the relay. A port doesn't say what waits in it: the core counts what was not confirmed. */
  queued(): number {
    return 0
  }

  /** For the relay: see `Carrier`. */
  stop(): void {
    this.#stopped = true
    for (const port of this.#ports.values()) port.close()
    this.#ports.clear()
  }
}

function gone(node: string): Error {
  return relayError(LOST, node, `node ${show(node)} is lost: its port was closed`)
}

function post(port: MessagePort, packet: Uint8Array<ArrayBuffer>, transfers: boolean): void {
  const whole = packet.byteLength === packet.buffer.byteLength
  port.postMessage(packet, transfers && whole ? [packet.buffer] : [])
}

/**
 * Makes a carrier between threads.
 *
 * @param ports a `MessagePort` by the name of the node that has its other end. Others may be connected later
 */
export function portCarrier(ports: Readonly<Record<string, MessagePort>> = {}): PortCarrier {
  if (typeof ports !== 'object' || ports === null) {
    throw argumentError(CALL, 'ports', 'an object of MessagePorts', ports)
  }
  const carrier = new PortCarrier()
  for (const [node, port] of Object.entries(ports)) carrier.connect(node, port)
  return carrier
}
