/**
 * A client's process: finds a backend, and passes bytes on, as they lie in memory, in both directions.
 *
 * Each side may send as much as the other has taken: at most a window of bytes is on its way in each
 * direction. Little is read from the client before a backend is connected, and that is kept; so another one
 * can be tried without anything being lost.
 */
import {
  _, abort, deleteEndpoint, endpoint, eof, proxyHeader, quit, sendFeedback, sendMessage, tcpAddress, tcpChannel,
  tcpCredit, tcpError, tcpHandle, tcpProxied, type ActionTree, type Eof, type ProxyHeaderOptions, type TcpAddress,
  type TcpChannel, type TcpEnd,
} from 'marketplace-native'
import { nameOf, suspectBackend, useBackend, wantsBackend, type Log } from './records.js'

export interface ForwardOptions {
  /** Says the client's address to the backends, in this version of the PROXY protocol. */
  readonly sendProxy?: 1 | 2 | undefined
  readonly log: Log
}

/** Bytes that may be on their way in one direction. */
const WINDOW = 256 * 1024

let clients = 0

export class Forward {
  private readonly id = ++clients
  private readonly name: string
  private readonly tried: TcpAddress[] = []
  /** From whom to whom the client has connected. */
  private ends: Pick<ProxyHeaderOptions, 'source' | 'destination'>
  /** What came before a backend was connected: it goes first. */
  private early: (Buffer | Eof)[] | undefined = []
  private backend: { readonly at: TcpAddress, readonly us: TcpEnd } | undefined
  /** Bytes that one side took, and the other has not been told of yet. */
  private owedToClient = 0
  private owedToBackend = 0
  private gone = 0

  constructor(
    private readonly them: TcpEnd, private readonly us: TcpEnd, here: TcpAddress,
    private readonly options: ForwardOptions,
  ) {
    this.ends = tcpAddress.is(them) ? { source: them, destination: here } : {}
    this.name = `client ${tcpAddress.is(them) ? nameOf(them) : this.id}`
  }

  boot(): ActionTree {
    const { them, us, id } = this
    return [
      endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: ({ subpacket }) => this.fromClient(subpacket),
        onAbsence: (_topic, _state, reason) => this.left('the client', reason),
      }),
      endpoint.publisher(tcpChannel(us, them, _), {
        interest: 'observer', onMessage: (message) => this.clientTook(message),
      }),
      endpoint.publisher(wantsBackend(id, _)),
      endpoint.subscriber(useBackend(id, _), { onMessage: ({ at }) => this.connect(at) }),
      // What a balancer in front of this one has said; known before anything else happens.
      endpoint.subscriber(tcpProxied(them, us, _), {
        onPresence: ({ header: { source, destination } }) => {
          if (source !== undefined) this.ends = { source, destination }
        },
      }),
      this.ask(),
    ]
  }

  private log(text: string): void {
    this.options.log(`${this.name} ${text}`)
  }

  // Where it goes

  private ask(): ActionTree {
    return sendMessage(wantsBackend(this.id, [...this.tried]))
  }

  private connect(at: TcpAddress | undefined): ActionTree {
    if (at === undefined) {
      this.log('turned away: there is no backend')
      return quit()
    }
    const us = tcpHandle(`client ${this.id}, attempt ${this.tried.length}`)
    this.backend = { at, us }
    return [
      endpoint.subscriber(tcpError(us, at, _), {
        name: 'error', onMessage: ({ error }) => this.failed(at, error),
      }),
      endpoint.publisher(tcpChannel(us, at, _), {
        name: 'credit', interest: 'observer', onMessage: (message) => this.backendTook(message),
      }),
      endpoint.subscriber(tcpChannel(at, us, _), {
        name: 'backend',
        onPresence: () => this.connected(at, us),
        onMessage: ({ subpacket }) => sendMessage(tcpChannel(this.us, this.them, subpacket)),
        onAbsence: (_topic, _state, reason) => this.left(`backend ${nameOf(at)}`, reason),
      }),
    ]
  }

  /** Nothing of the client was read yet: the next backend gets all of it. */
  private failed(at: TcpAddress, error: Error): ActionTree {
    this.log(`not to ${nameOf(at)}: ${error.message}`)
    this.tried.push(at)
    const ends = ['error', 'credit', 'backend'].map((name) => deleteEndpoint(name))
    return [ends, sendMessage(suspectBackend(at, error)), this.ask()]
  }

  private connected(at: TcpAddress, us: TcpEnd): ActionTree {
    this.log(`to ${nameOf(at)}`)
    const { sendProxy } = this.options
    const header = sendProxy && proxyHeader({ version: sendProxy, ...this.ends })
    const first = [...header === undefined ? [] : [header], ...this.early ?? []]
    this.early = undefined
    // These bytes are no part of the window.
    for (const bytes of first) if (bytes !== eof) this.owedToClient -= bytes.length
    return [
      first.map((subpacket) => sendMessage(tcpChannel(us, at, subpacket))),
      this.credit(this.them, this.us, WINDOW),
      this.credit(at, us, WINDOW),
    ]
  }

  // What goes to and fro

  private credit(from: TcpEnd, to: TcpEnd, bytes: number): ActionTree {
    return sendFeedback(tcpChannel(from, to, tcpCredit(bytes)))
  }

  private fromClient(subpacket: Buffer | Eof): ActionTree {
    if (this.early !== undefined || this.backend === undefined) {
      this.early?.push(subpacket)
      return undefined
    }
    return sendMessage(tcpChannel(this.backend.us, this.backend.at, subpacket))
  }

  private backendTook({ subpacket }: TcpChannel): ActionTree {
    if (!tcpCredit.is(subpacket)) return undefined
    this.owedToClient += subpacket.amount
    if (this.owedToClient < WINDOW / 4) return undefined
    const owed = this.owedToClient
    this.owedToClient = 0
    return this.credit(this.them, this.us, owed)
  }

  private clientTook({ subpacket }: TcpChannel): ActionTree {
    if (!tcpCredit.is(subpacket) || this.backend === undefined) return undefined
    this.owedToBackend += subpacket.amount
    if (this.owedToBackend < WINDOW / 4) return undefined
    const owed = this.owedToBackend
    this.owedToBackend = 0
    return this.credit(this.backend.at, this.backend.us, owed)
  }

  /** One of the two connections has ended. In order: the other one ends when it has said all, too. */
  private left(who: string, reason: unknown): ActionTree {
    if (reason instanceof Error) {
      this.log(`cut off: ${who}: ${reason.message}`)
      // Neither side may take what it got for all there was.
      const { us, them, backend } = this
      return [
        sendMessage(tcpChannel(us, them, abort)),
        backend !== undefined && sendMessage(tcpChannel(backend.us, backend.at, abort)),
        quit(reason),
      ]
    }
    if (this.backend !== undefined && ++this.gone < 2) return undefined
    return quit()
  }
}
