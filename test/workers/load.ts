/** Clients of the tests' workers: plain sockets of Node's. */
import { connect, type Socket } from 'node:net'
import { once } from 'node:events'
import type { Test } from 'tap'
import type { Served } from '../../src/index.js'
import { until } from '../support/util.js'

/** A connected one. */
export async function open(port: number): Promise<Socket> {
  const socket = connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  // Its end is heard of as such.
  socket.on('error', () => undefined)
  return socket.setEncoding('utf8')
}

/** The answer; '' if the connection ended before. */
export async function ask(socket: Socket, question: string): Promise<string> {
  socket.write(`${question}\n`)
  const ended = new Promise<string>((resolve) => { socket.once('close', () => { resolve('') }) })
  return Promise.race([once(socket, 'data').then(([data]) => String(data).trim(), () => ''), ended])
}

/** Asks on a connection of its own. */
export async function askOnce(port: number, question: string): Promise<string> {
  const socket = await open(port)
  const answer = await ask(socket, question)
  socket.destroy()
  return answer
}

/** What has become of connections. */
export interface Outcome {
  answered: number
  /** Codes of errors before the connection was there. */
  readonly refused: string[]
  /** The connection was there, and ended before the answer had come. */
  lost: number
}

/** Clients that connect, ask who answers, and go, again and again, so many at a time, until `stop`. */
export class Load {
  readonly outcome: Outcome = { answered: 0, refused: [], lost: 0 }
  readonly #loops: Promise<void>[]
  #stopped = false

  constructor(private readonly port: number, clients: number) {
    this.#loops = Array.from({ length: clients }, () => this.#run())
  }

  async stop(): Promise<Outcome> {
    this.#stopped = true
    await Promise.all(this.#loops)
    return this.outcome
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      let socket: Socket
      try {
        socket = await open(this.port)
      } catch (error) {
        this.outcome.refused.push(String((error as NodeJS.ErrnoException).code))
        continue
      }
      const answer = await ask(socket, 'who')
      if (answer === '') this.outcome.lost++
      else this.outcome.answered++
      socket.destroy()
    }
  }
}

/** One of two workers dies under load, as it is told to: nobody is refused, and only who lived there is lost. */
export async function oneDies(t: Test, served: Served, port: number, how: string): Promise<void> {
  const before = served.workers().map(({ node }) => node)
  const load = new Load(port, 8)
  await until(() => load.outcome.answered > 50)
  t.equal(await askOnce(port, `die ${how}`), '', 'it dies')
  await until(() => {
    const now = served.workers().filter(({ state }) => state === 'ready')
    return now.length === 2 && now.some(({ node }) => !before.includes(node))
  })
  const { answered } = load.outcome
  await until(() => load.outcome.answered > answered + 50)
  const { refused, lost } = await load.stop()
  t.strictSame(refused, [], 'nobody was refused')
  t.ok(lost <= 8, `only who lived there was lost: ${lost}`)
}
