/**
 * The page's WebSocket: requests with their answers, what the program tells unasked, and what to say when the
 * connection is gone.
 *
 * Owns the connection and its state. It connects again by itself, unless it was refused.
 */

/** What a request is answered with when it was refused or there is nobody to answer. */
export class Refused extends Error {}

export type Status =
  | { readonly is: 'connecting' | 'open' | 'none' }
  | { readonly is: 'lost' | 'refused', readonly why: string }

/** What the program tells unasked; `event` says what. */
export interface Push {
  readonly event: string
  readonly [field: string]: unknown
}

interface Answer {
  readonly id?: number
  readonly event?: string
  readonly ok?: unknown
  readonly error?: { readonly message: string }
}

interface Asked {
  readonly resolve: (ok: unknown) => void
  readonly reject: (error: Error) => void
}

/** Milliseconds between two attempts, the first and the longest. */
const RETRY_MIN = 500
const RETRY_MAX = 4000

export class Connection {
  status: Status = { is: 'connecting' }
  #socket: WebSocket | undefined
  readonly #asked = new Map<number, Asked>()
  #lastId = 0
  #retryMs = RETRY_MIN

  /**
   * @param onPush what the program tells
   * @param onStatus the connection has opened, or is gone
   */
  constructor(private readonly onPush: (push: Push) => void, private readonly onStatus: () => void) {}

  start(): void {
    if (location.protocol === 'http:' || location.protocol === 'https:') this.#connect()
    else this.status = { is: 'none' }
  }

  get open(): boolean {
    return this.status.is === 'open'
  }

  /** Asks the program. Rejects with what it says, or when the connection goes. */
  ask<Ok = unknown>(what: string, request: object = {}): Promise<Ok> {
    const socket = this.#socket
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Refused('there is no connection'))
    const id = ++this.#lastId
    return new Promise<unknown>((resolve, reject) => {
      this.#asked.set(id, { resolve, reject })
      socket.send(JSON.stringify({ id, do: what, ...request }))
    }) as Promise<Ok>
  }

  /** At once, by request of the reader. */
  retry(): void {
    if (this.status.is === 'lost' || this.status.is === 'refused') this.#connect()
  }

  #connect(): void {
    if (this.#socket !== undefined) return
    this.#set({ is: 'connecting' })
    const socket = new WebSocket(location.href.replace(/^http/, 'ws').replace(/#.*/, ''))
    this.#socket = socket
    let opened = false
    socket.onopen = () => {
      opened = true
      this.#retryMs = RETRY_MIN
      this.#set({ is: 'open' })
    }
    socket.onmessage = ({ data }) => { this.#receive(JSON.parse(String(data)) as Answer) }
    socket.onclose = ({ code, reason }) => {
      this.#socket = undefined
      for (const { reject } of this.#asked.values()) reject(new Refused('the connection was lost'))
      this.#asked.clear()
      if (!opened) {
        void this.#findOut()
      } else if (code === 1001) {
        this.#lost('The program has ended.')
      } else {
        this.#lost(reason === '' ? 'The connection was lost.' : `The program closed the connection: ${reason}.`)
      }
    }
  }

  #receive(answer: Answer): void {
    if (answer.event !== undefined) {
      this.onPush(answer as Push)
      return
    }
    const asked = this.#asked.get(answer.id ?? 0)
    this.#asked.delete(answer.id ?? 0)
    if (answer.error === undefined) asked?.resolve(answer.ok)
    else asked?.reject(new Error(answer.error.message))
  }

  /** A browser doesn't tell why a WebSocket was refused; a plain request to the same address does. */
  async #findOut(): Promise<void> {
    let response: Response
    try {
      response = await fetch(location.href, { cache: 'no-store' })
    } catch {
      this.#lost('The program has ended, or can\'t be reached.')
      return
    }
    if (response.ok) {
      this.#lost('The program is there, but takes no more clients: 50 at most look at the same time.')
      return
    }
    const why = (await response.text()).trim()
    this.#set({ is: 'refused', why: `Refused: ${why}. Open the address that the program has printed last.` })
  }

  #lost(why: string): void {
    this.#set({ is: 'lost', why: `${why} Trying to connect again.` })
    setTimeout(() => { if (this.status.is === 'lost') this.#connect() }, this.#retryMs)
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MAX)
  }

  /** While it tries again, what was lost stays said. */
  #set(status: Status): void {
    if (status.is === 'connecting' && this.status.is === 'lost') return
    this.status = status
    this.onStatus()
  }
}
