/** A player that is a program: it walks to one place after the other, and steers a few times a second. */
import { WebSocket } from 'ws'
import { Mirror } from './mirror.js'
import { writeMove } from './protocol.js'
import { AREA_POINTS } from './world.js'

/** Milliseconds between two moves. */
export const STEERS_EVERY = 200
/** So near is there, in points. */
const THERE = 400
const FULL = 127

export class Bot {
  readonly mirror = new Mirror()
  messages = 0
  bytes = 0
  /** How it ended; undefined before that. */
  closed: { readonly code: number, readonly reason: string } | undefined = undefined
  readonly socket: WebSocket
  #target = { x: 0, y: 0 }
  #steering: NodeJS.Timeout | undefined

  /** @param url of the socket: `ws://127.0.0.1:8090/play` */
  constructor(url: string) {
    this.socket = new WebSocket(url, { perMessageDeflate: false })
    this.socket.on('message', (data: Buffer) => {
      this.messages++
      this.bytes += data.length
      this.mirror.apply(data)
    })
    this.socket.on('close', (code, reason) => {
      clearInterval(this.#steering)
      this.closed = { code, reason: reason.toString() }
    })
    // A close comes after it.
    this.socket.on('error', () => undefined)
  }

  /** Resolves when it has been placed in the world. @throws Error if its connection ends before */
  async joined(): Promise<this> {
    while (this.mirror.self === undefined) {
      if (this.closed !== undefined) throw new Error(`the server is not to be had: ${this.closed.code}`)
      await new Promise<void>((resolve) => {
        const next = (): void => {
          this.socket.off('message', next).off('close', next)
          resolve()
        }
        this.socket.on('message', next).on('close', next)
      })
    }
    return this
  }

  move(x: number, y: number): void {
    this.socket.send(writeMove(x, y))
  }

  /** Walks about from now on. */
  wander(): void {
    this.#aim()
    this.#steering = setInterval(() => { this.#steer() }, STEERS_EVERY)
  }

  #aim(): void {
    const anywhere = (): number => Math.random() * this.mirror.areas * AREA_POINTS
    this.#target = { x: anywhere(), y: anywhere() }
  }

  #steer(): void {
    const { self } = this.mirror
    if (self === undefined) return
    if (Math.hypot(this.#target.x - self.x, this.#target.y - self.y) < THERE) this.#aim()
    const [x, y] = [this.#target.x - self.x, this.#target.y - self.y]
    const scale = FULL / Math.hypot(x, y)
    this.move(Math.round(x * scale), Math.round(y * scale))
  }

  leave(): void {
    clearInterval(this.#steering)
    this.socket.close()
  }
}
