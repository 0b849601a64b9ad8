/**
 * Sessions and clients that find out who is connected to whom: each says its number in every line, and notes
 * the numbers that it hears. Whatever ports and addresses come back, a session must never hear two clients,
 * nor a client two sessions.
 */
import { createConnection, type Socket } from 'node:net'
import {
  _, endpoint, eof, quit, sendFeedback, sendMessage, spawn, tcpChannel, tcpCredit, tcpListener, type Action,
  type ActionTree, type TcpEnd, type TcpListener, type UnixListener,
} from 'marketplace-native'
import { Remote } from './tcp-program.js'

/** What is told of one side of a connection. */
class Lines {
  readonly heard = new Set<string>()
  #rest = ''

  take(text: string): void {
    const lines = (this.#rest + text).split('\n')
    this.#rest = lines.pop() ?? ''
    for (const line of lines) this.heard.add(line)
  }
}

/** A session as a process, that can be late in every way. */
export class IdentitySession extends Lines {
  readonly remote = new Remote()
  absent = false
  /** Its endpoint is there. */
  takesPart = false

  constructor(
    readonly number: number,
    readonly them: TcpEnd,
    readonly us: TcpEnd,
    readonly lingers: boolean,
  ) {
    super()
  }

  boot(late: boolean): ActionTree {
    return [this.remote.ear, late ? undefined : this.takePart()]
  }

  takePart(): ActionTree {
    if (this.takesPart) return undefined
    this.takesPart = true
    return endpoint.subscriber(tcpChannel(this.them, this.us, _), {
      onAbsence: () => {
        this.absent = true
        return this.lingers ? undefined : quit()
      },
      onMessage: ({ subpacket }) => {
        if (subpacket !== eof) this.take(subpacket.toString())
      },
    })
  }

  speak(): ActionTree {
    return sendMessage(tcpChannel(this.us, this.them, Buffer.from(`session ${this.number}\n`)))
  }

  grant(): ActionTree {
    return sendFeedback(tcpChannel(this.them, this.us, tcpCredit(1000) as never))
  }
}

/** A listener whose sessions are told from outside what to do. */
export class IdentityServer {
  readonly sessions: IdentitySession[] = []
  /** How the next sessions are. */
  late = false
  lingers = false

  listen(here: TcpListener | UnixListener = tcpListener(0)): Action {
    return endpoint.subscriber(tcpChannel(_, here, _), {
      name: here,
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => {
        const session = new IdentitySession(this.sessions.length, them, us, this.lingers)
        this.sessions.push(session)
        const { late } = this
        return spawn(() => session.boot(late))
      },
    })
  }
}

export interface Route {
  readonly from: string
  readonly fromPort: number
  readonly to: string
}

/** A client with a fixed local address and port. */
export class IdentityClient extends Lines {
  readonly socket: Socket
  state: 'connecting' | 'open' | 'over' = 'connecting'

  constructor(readonly number: number, readonly route: Route, port: number) {
    super()
    const { from, fromPort, to } = route
    this.socket = createConnection({ host: to, port, localAddress: from, localPort: fromPort })
    this.socket.on('connect', () => {
      this.state = 'open'
      this.speak()
    })
    this.socket.on('data', (data) => { this.take(data.toString()) })
    this.socket.on('error', () => undefined)
    this.socket.on('close', () => { this.state = 'over' })
  }

  speak(): void {
    if (this.state === 'open') this.socket.write(`client ${this.number}\n`)
  }

  /**
   * Not while it is being ended: Node then fails with EINVAL, and keeps a handle that its process, at its
   * end, waits for without an end.
   */
  reset(): void {
    const { socket } = this
    if (socket.writableEnded && !socket.writableFinished) socket.once('finish', () => { this.reset() })
    else socket.resetAndDestroy()
  }
}

/** What is wrong with who heard whom; empty if nothing is. */
export function mixedUp(sessions: readonly IdentitySession[], clients: readonly IdentityClient[]): string[] {
  const wrong: string[] = []
  const partner = new Map<string, string>()
  const note = (name: string, other: string): void => {
    const known = partner.get(name)
    if (known !== undefined && known !== other) wrong.push(`${name} is connected to ${known} and ${other}`)
    partner.set(name, other)
  }
  for (const { number, heard } of sessions) {
    for (const client of heard) {
      note(`session ${number}`, client)
      note(client, `session ${number}`)
    }
  }
  for (const { number, heard } of clients) {
    for (const session of heard) {
      note(`client ${number}`, session)
      note(session, `client ${number}`)
    }
  }
  return wrong
}
