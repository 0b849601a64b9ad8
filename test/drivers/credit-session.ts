/** Sessions of the flow-controlled driver that a test works from outside, one connection each. */
import { onBoth, Remote, server, type Program, type ProgramOptions } from './tcp-program.js'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import {
  _, endpoint, eof, sendFeedback, sendMessage, tcpChannel, tcpCredit, tcpMode, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { client, sleep, until } from '../support/util.js'

export class CreditSession {
  readonly remote = new Remote()
  /** What came: bytes as text, `eof` as itself. */
  readonly got: (string | typeof eof)[] = []
  /** The sum of the credit for what was written. */
  accepted = 0
  #ends: { readonly them: TcpEnd, readonly us: TcpEnd } | undefined
  readonly #onData: ((data: Buffer, session: CreditSession) => ActionTree) | undefined

  constructor(onData?: (data: Buffer, session: CreditSession) => ActionTree) {
    this.#onData = onData
  }

  feedback(subpacket: unknown): ActionTree {
    return this.#ends && sendFeedback(tcpChannel(this.#ends.them, this.#ends.us, subpacket as Buffer))
  }

  send(subpacket: Uint8Array | string | typeof eof): ActionTree {
    return this.#ends && sendMessage(tcpChannel(this.#ends.us, this.#ends.them, subpacket))
  }

  credit(amount: number): void {
    this.remote.do(this.feedback(tcpCredit(amount)))
  }

  mode(mode: 'lines' | 'bytes', amount?: number): void {
    this.remote.do(this.feedback(tcpMode(mode)), amount !== undefined && this.feedback(tcpCredit(amount)))
  }

  boot(program: Program, them: TcpEnd, us: TcpEnd): ActionTree {
    this.#ends = { them, us }
    const notes = program.notes('in')
    return [
      this.remote.ear,
      endpoint.subscriber(tcpChannel(them, us, _), {
        ...notes,
        onMessage: ({ subpacket }) => {
          if (subpacket === eof) this.got.push(eof)
          else if (this.#onData !== undefined) return this.#onData(subpacket, this)
          else this.got.push(subpacket.toString())
          return undefined
        },
      }),
      endpoint.publisher(tcpChannel(us, them, _), {
        ...program.notes('out'),
        onMessage: ({ subpacket }: { subpacket: unknown }) => {
          if (tcpCredit.is(subpacket)) this.accepted += subpacket.amount
        },
      }),
    ]
  }

  /** Waits until so much came, and a little for what must not come. */
  async gets(expected: readonly unknown[]): Promise<void> {
    await until(() => this.got.length >= expected.length)
    await sleep(10)
  }
}

export interface Opened {
  readonly program: Program
  readonly session: CreditSession
  readonly socket: Socket
}

export type Open = (
  options?: ProgramOptions, onData?: ConstructorParameters<typeof CreditSession>[0],
) => Promise<Opened>

/** Registers a test per transport that can open connections to sessions. */
export function onBothWithCredit(name: string, body: (t: Test, open: Open) => Promise<void>): void {
  onBoth(name, (t, start) => body(t, async (options = {}, onData) => {
    const session = new CreditSession(onData)
    const boot = (p: Program) => server((them, us) => session.boot(p, them, us))
    const program = start(boot, { driver: 'tcp', ...options })
    const socket = await client(await program.port())
    socket.on('error', () => undefined)
    t.teardown(() => socket.destroy())
    await until(() => program.all('in', 'presence').length === 1)
    return { program, session, socket }
  }))
}

/** Writes parts so that they arrive apart. */
export async function writeApart(socket: Socket, parts: readonly (string | Buffer)[]): Promise<void> {
  for (const part of parts) {
    socket.write(part)
    await sleep(3)
  }
}
