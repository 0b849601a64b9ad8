/** What the tests of the inspector share: a program that is looked into, and a client of its protocol. */
import { once } from 'node:events'
import type { Test } from 'tap'
import { WebSocket } from 'ws'
import {
  _, endpoint, eventSource, groundVm, inspecting, inspector, sendMessage, spawn, type ActionTree, type EventSink,
  type GroundVm, type InspectorOptions,
} from 'marketplace-native'

export type Answer = Record<string, any> // eslint-disable-line @typescript-eslint/no-explicit-any -- JSON

/** A client of the protocol: it asks, and waits for what is told. */
export class Client {
  readonly told: Answer[] = []
  readonly socket: WebSocket
  #next = 1
  readonly #answers = new Map<number, (answer: Answer) => void>()
  readonly #waiting = new Set<() => void>()

  constructor(url: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(url.replace(/^http/, 'ws'), { headers })
    this.socket.on('error', () => undefined)
    this.socket.on('message', (data) => {
      const message = JSON.parse((data as Buffer).toString()) as Answer
      const answer = this.#answers.get(message['id'] as number)
      this.#answers.delete(message['id'] as number)
      if (answer !== undefined) answer(message)
      else this.told.push(message)
      for (const look of this.#waiting) look()
    })
  }

  /** @returns what the answer has under `ok`; it throws with what it has under `error` */
  async ask(what: string, parameters: object = {}): Promise<Answer> {
    const id = this.#next++
    const answer = new Promise<Answer>((resolve) => this.#answers.set(id, resolve))
    this.socket.send(JSON.stringify({ id, do: what, ...parameters }))
    const { ok, error } = await answer
    if (error !== undefined) throw new Error((error as Answer)['message'] as string)
    return ok as Answer
  }

  /** What is told, from now or before, that fits; it is taken out. */
  async hears(event: string, fits: (message: Answer) => boolean = () => true): Promise<Answer> {
    for (;;) {
      const at = this.told.findIndex((message) => message['event'] === event && fits(message))
      if (at >= 0) return this.told.splice(at, 1)[0]
      await new Promise<void>((resolve) => {
        const look = (): void => {
          this.#waiting.delete(look)
          resolve()
        }
        this.#waiting.add(look)
      })
    }
  }

  async opened(): Promise<this> {
    if (this.socket.readyState !== this.socket.OPEN) await once(this.socket, 'open')
    return this
  }

  async close(): Promise<void> {
    if (this.socket.readyState === this.socket.CLOSED) return
    this.socket.close()
    await once(this.socket, 'close')
  }
}

/** A program with an inspector. */
export interface Inspected {
  readonly vm: GroundVm
  readonly url: string
  readonly client: Client
  /** Sends a message in the ground VM. */
  readonly send: (message: unknown) => void
  /** The path of the process with this name. */
  readonly path: (name: string) => Promise<string>
}

/** Starts a program, and ends it with the test. */
export async function inspected(
  t: Test, program: () => ActionTree, options: InspectorOptions = {},
): Promise<Inspected> {
  let sink: EventSink<unknown> | undefined
  const source = eventSource<unknown>('test', (given) => { sink = given })
  let vm: GroundVm | undefined
  const url = await new Promise<string>((resolve) => {
    vm = groundVm(() => [
      inspector({ print: false, ...options }),
      spawn(() => endpoint.subscriber(inspecting(_), {
        onPresence: ({ url }) => { resolve(url) },
      }), { name: 'finder' }),
      spawn(() => endpoint.subscriber([source, _], {
        onMessage: ([, message]) => sendMessage(message),
      }), { name: 'feeder' }),
      program(),
    ])
  })
  const client = await new Client(url).opened()
  t.teardown(async () => {
    client.socket.terminate()
    await vm?.stop()
  })
  return {
    vm: vm as unknown as GroundVm, url, client, send: (message) => sink?.fire(message),
    path: async (name) => {
      const { processes } = await client.ask('tree')
      return (processes as Answer[]).find((row) => row['name'] === name)?.['path'] as string
    },
  }
}
