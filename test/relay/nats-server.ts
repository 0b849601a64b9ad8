/** A nats-server of the test's own, and a TCP proxy that cuts, slows down and swallows. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort, missing } from '../support/util.js'

/** Why these tests can't run, or `false` if they can. */
export const noNats: string | false = missing('nats-server') && 'nats-server is not installed (Debian: nats-server)'

export class NatsServer {
  readonly #directory = mkdtempSync(join(tmpdir(), 'marketplace-nats-'))
  #child: ChildProcess | undefined

  private constructor(readonly port: number, private readonly config: string) {}

  /** Started, and ended with the test. @param config what its configuration has besides the port */
  static async start(t: Test, config = '', port?: number): Promise<NatsServer> {
    const server = new NatsServer(port ?? await freePort(), config)
    t.teardown(async () => {
      await server.kill()
      rmSync(server.#directory, { recursive: true })
    })
    await server.run()
    return server
  }

  get url(): string {
    return `nats://127.0.0.1:${this.port}`
  }

  /** Runs it, or runs it again, on the same port; resolves when it takes connections. */
  async run(): Promise<void> {
    const file = join(this.#directory, 'nats.conf')
    writeFileSync(file, `host: 127.0.0.1\nport: ${this.port}\n${this.config}\n`)
    const child = spawn('nats-server', ['-c', file], { stdio: ['ignore', 'ignore', 'pipe'] })
    this.#child = child
    let said = ''
    await new Promise<void>((resolve, reject) => {
      child.once('exit', () => { reject(new Error(`nats-server has ended: ${said}`)) })
      child.stderr.setEncoding('utf8').on('data', (text: string) => {
        said += text
        if (said.includes('Server is ready')) resolve()
      })
    })
  }

  signal(name: NodeJS.Signals): void {
    this.#child?.kill(name)
  }

  async kill(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill('SIGKILL')
    await ended
  }
}

/** Between a node and its server. */
export class Proxy {
  readonly #pairs = new Set<readonly [Socket, Socket]>()
  readonly #server: Server
  #swallows = false
  /** Milliseconds that bytes are late, each way. */
  delay = 0

  private constructor(to: number) {
    this.#server = createServer((near) => {
      const far = connect({ port: to, host: '127.0.0.1' })
      const pair = [near, far] as const
      this.#pairs.add(pair)
      for (const [from, other] of [pair, [far, near] as const]) {
        from.on('error', () => undefined)
        const later = (what: () => void): void => {
          if (this.delay === 0) what()
          else setTimeout(what, this.delay)
        }
        from.on('data', (bytes) => {
          if (!this.#swallows) later(() => { if (!other.destroyed) other.write(bytes) })
        })
        from.on('close', () => {
          this.#pairs.delete(pair)
          // What was said before it comes first.
          later(() => { other.destroy() })
        })
      }
    })
  }

  static async start(t: Test, to: number): Promise<Proxy> {
    const proxy = new Proxy(to)
    proxy.#server.listen(0, '127.0.0.1')
    await once(proxy.#server, 'listening')
    t.teardown(() => {
      proxy.#server.close()
      proxy.cut()
    })
    return proxy
  }

  get url(): string {
    return `nats://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** The cable is out: nothing gets through, and nobody is told. */
  set swallows(swallows: boolean) {
    this.#swallows = swallows
    // What was swallowed is missing in the stream: such a connection can't go on.
    if (!swallows) this.cut()
  }

  /** Nobody reads from the server on behalf of the node any more. */
  pauseReading(): void {
    for (const [, far] of this.#pairs) far.pause()
  }

  /** Ends all connections; new ones can be made. */
  cut(): void {
    for (const [near, far] of this.#pairs) {
      near.destroy()
      far.destroy()
    }
  }
}
