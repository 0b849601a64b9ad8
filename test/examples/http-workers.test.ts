/**
 * The HTTP example on workers, which are restarted under clients that come and go: each request has its answer.
 */
import t from 'tap'
import { connect } from 'node:net'
import { setTimeout as later } from 'node:timers/promises'
import { patient } from '../support/patience.js'
import { onBackend, started } from '../workers/start.js'
import { until } from '../support/util.js'
import { VARIANTS } from '../support/variants.js'
import { get, last } from './http-program.js'

t.setTimeout(patient(120_000))

/** Clients at a time. */
const CLIENTS = 20
/** Milliseconds within which a client asks, once it is there. */
const THINKING = 20

class Clients {
  answered = 0
  readonly lost: string[] = []
  readonly #loops: Promise<void>[]
  #stopped = false

  constructor(private readonly port: number) {
    this.#loops = Array.from({ length: CLIENTS }, () => this.#run())
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#loops)
  }

  async #run(): Promise<void> {
    while (!this.#stopped) {
      const heard = await this.#ask()
      if (heard.endsWith('hello, you\n')) this.answered++
      else this.lost.push(heard)
    }
  }

  /** On a connection of its own. @returns all that came, and why it ended */
  #ask(): Promise<string> {
    return new Promise((resolve) => {
      let heard = ''
      const socket = connect({ port: this.port, host: '127.0.0.1' })
      socket.setEncoding('latin1').on('data', (text: string) => { heard += text })
        .on('error', ({ code }: NodeJS.ErrnoException) => { heard += ` ${code}` })
        .on('close', () => { resolve(heard) })
        .on('connect', () => {
          void later(Math.random() * THINKING).then(() => socket.write(get('/hello/you', last)))
        })
    })
  }
}

for (const { name, skip } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
  t.test(`restarts one by one: each request has its answer (${name})`, { skip }, async (t) => {
    onBackend(t, name)
    const data = { host: '127.0.0.1', port: '0', quiet: true }
    const { served, port } = await started({ module: new URL('../../examples/http.js', import.meta.url), data })
    const clients = new Clients(port)
    for (let i = 1; i <= 4; i++) {
      const { answered } = clients
      await until(() => clients.answered > answered + 100)
      await served.restart()
    }
    await clients.stop()
    t.strictSame(clients.lost, [])
    await served.stop()
  })
}
