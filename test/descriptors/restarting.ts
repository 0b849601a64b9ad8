/** Servers that are restarted in place, and clients that notice whether that costs a connection. */
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { connect, type NetConnectOpts } from 'node:net'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { sleep } from '../support/util.js'

const SERVER = fileURLToPath(new URL('server.js', import.meta.url))

/** What a server says. */
export interface Said {
  readonly ready?: number
  readonly port?: number
  readonly from?: number
  readonly taken?: number
  readonly drained?: boolean
  readonly silent?: boolean
  readonly environment?: string
  readonly connection?: string
}

/** One server. */
export class ServerProcess {
  readonly child: ChildProcess
  readonly said: Said[] = []
  readonly exited: Promise<unknown>

  /** @param fds as systemd starts it: with these, and names for them */
  constructor(t: Test, args: readonly string[], fds: readonly number[] = [], names = '') {
    this.child = fds.length === 0
      ? fork(SERVER, args, { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
      : spawn('sh', [
          '-c', `LISTEN_PID=$$ LISTEN_FDS=${fds.length} LISTEN_FDNAMES=${names} exec "$0" "$@"`,
          process.execPath, SERVER, ...args,
        ], { stdio: ['ignore', 'inherit', 'inherit', ...fds, 'ipc'] })
    this.child.on('message', (message: Said) => { this.said.push(message) })
    this.exited = once(this.child, 'exit')
    t.teardown(() => { this.child.kill('SIGKILL') })
  }

  /** What it says of this, as soon as it does; undefined: it is gone before. */
  async hears<Name extends keyof Said>(name: Name): Promise<Said | undefined> {
    for (;;) {
      const said = this.said.find((one) => one[name] !== undefined)
      if (said !== undefined) return said
      const next = await Promise.race([once(this.child, 'message'), this.exited.then(() => undefined)])
      if (next === undefined) return this.said.find((one) => one[name] !== undefined)
    }
  }
}

/** Clients that connect, one after the other, as long as they are not told to stop. */
export class Load {
  readonly failures: string[] = []
  /** Conversations that were whole, by the process that has served them. */
  readonly served = new Map<number, number>()
  readonly #clients: Promise<void>[]
  #stopped = false

  constructor(where: readonly NetConnectOpts[], count: number) {
    this.#clients = Array.from({ length: count }, (_, i) => this.#run(where[i % where.length], i))
  }

  get conversations(): number {
    return [...this.served.values()].reduce((sum, one) => sum + one, 0)
  }

  /** Waits until this process has served a client, or something has failed. */
  async servedBy(pid: number): Promise<void> {
    while (!this.served.has(pid) && this.failures.length === 0) await sleep(1)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all(this.#clients)
  }

  async #run(where: NetConnectOpts, number: number): Promise<void> {
    for (let i = 0; !this.#stopped; i++) {
      const wanted = `${number}.${i}`
      try {
        const text = await conversation(where, wanted)
        const [, pid, echo] = /^(\d+)\n(.*)$/.exec(text) ?? []
        if (echo === wanted) this.served.set(Number(pid), (this.served.get(Number(pid)) ?? 0) + 1)
        else this.failures.push(`got ${JSON.stringify(text)} for ${wanted}`)
      } catch (error) {
        this.failures.push((error as Error).message)
      }
    }
  }
}

/** All that comes back for a text. @throws what goes wrong with the connection */
export function conversation(where: NetConnectOpts, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let all = ''
    const socket = connect({ ...where, allowHalfOpen: true } as NetConnectOpts)
    socket.setEncoding('utf8').on('data', (data: string) => { all += data })
    socket.on('error', reject).on('end', () => { resolve(all) })
    socket.end(text)
  })
}
