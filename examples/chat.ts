/**
 * The chat server: sessions in a nested VM talk to each other; each also talks to its connection,
 * outside, at the meta-level. Who is there follows from presence: there is no list of members. Some come by TCP, with
 * telnet or another program that sends lines; others with a browser, by a WebSocket. To the room they are the same.
 *
 * What a member wrote is shown on the terminals of others, so it reaches them as text only: see `printable`.
 */
import {
  _,
  atMetaLevel,
  defineRecord,
  endpoint,
  eof,
  eventRelay,
  nestedVm,
  quit,
  sendMessage,
  spawn,
  tcpChannel,
  tcpListener,
  transition,
  wsChannel,
  wsListener,
  type ActionTree,
  type CurrentWorker,
  type TcpEnd,
  type WebSocketOptions,
  type WsEnd,
} from 'marketplace-native'
import { Gather } from './support/gather.js'
import { Network, type Nats } from './support/network.js'
import { ownPageOnly, webPage } from './support/page.js'

const says = defineRecord('says', ['who', 'what']).of<[who: string, what: string]>()

/** More bytes than this without a line end, and it is no chat. */
const lineMax = 64 * 1024

/**
 * Control characters (C0, DEL, C1, and so every escape sequence) move the cursor of a terminal, line and
 * paragraph separators break lines, and direction controls reorder what others see: each becomes U+FFFD, a
 * tab one space. Bytes that aren't UTF-8 are U+FFFD already. All other text stays as it is.
 */
const printable = (line: string) =>
  line.replace(/\t/g, ' ').replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu, '\ufffd')

const lineEnd = Buffer.from('\n')

/** Takes what came: the lines that are complete now. `pending` keeps the begin of the next one. */
const splitLines = (data: Buffer, pending: Gather) => {
  const end = data.lastIndexOf('\n') + 1
  pending.add(data.subarray(0, end))
  const lines = end === 0 ? [] : pending.take().toString('utf8').split('\n').slice(0, -1)
  pending.add(data.subarray(end))
  return lines.map((line) => printable(line.replace(/\r$/, '')))
}

/** What somebody in the room hears. */
interface Ears {
  readonly you: () => ActionTree
  readonly arrived: (who: string) => ActionTree
  readonly departed: (who: string) => ActionTree
  readonly said: (who: string, what: string) => ActionTree
}

/** In the room under this name, for as long as the process is there. */
const member = (user: string, ears: Ears) => [
  endpoint.publisher(says(user, _)),
  ears.you(),
  endpoint.subscriber(says(_, _), {
    onPresence: ({ who }) => who !== user && ears.arrived(who),
    onAbsence: ({ who }) => who !== user && ears.departed(who),
    onMessage: ({ who, what }) => ears.said(who, what),
  }),
]

const session = (user: string, them: TcpEnd, us: TcpEnd) => {
  const tell = (text: string) => atMetaLevel(sendMessage(tcpChannel(us, them, `${text}\n`)))

  return transition(
    new Gather(), // the state: a line that has not ended yet
    atMetaLevel(
      endpoint.subscriber(tcpChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ subpacket }, pending: Gather) => {
          const say = (bytes: Buffer) => splitLines(bytes, pending).map((line) => sendMessage(says(user, line)))
          // Who leaves in the middle of a line has said it, too: the end of the connection ends it.
          if (subpacket === eof) return [pending.length > 0 && say(lineEnd), quit()]
          const said = say(subpacket)
          if (pending.length > lineMax) {
            return [
              tell(`You are cut off: a line has ${lineMax} bytes at most, and yours didn't end.`),
              quit(new Error(`${user} never ends a line`)),
            ]
          }
          return said
        },
      }),
    ),
    member(user, {
      you: () => tell(`You are ${user}.`),
      arrived: (who) => tell(`${who} arrived.`),
      departed: (who) => tell(`${who} departed.`),
      said: (who, what) => tell(`${who}: ${what}`),
    }),
  )
}

/** The same for a browser: JSON that says what has happened, and lines of text the other way. */
const webSession = (user: string, them: WsEnd, us: WsEnd) => {
  const tell = (event: object) => atMetaLevel(sendMessage(wsChannel(us, them, JSON.stringify(event))))
  return [
    atMetaLevel(
      endpoint.subscriber(wsChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ message }) => typeof message === 'string' && sendMessage(says(user, printable(message))),
      }),
    ),
    member(user, {
      you: () => tell({ you: user }),
      arrived: (who) => tell({ arrived: who }),
      departed: (who) => tell({ departed: who }),
      said: (who, what) => tell({ who, what }),
    }),
  ]
}

type Names = () => string

/** Who connects to this port is a guest. */
const guestsByTcp = (port: number) => (next: Names) =>
  endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => {
      const user = next()
      return spawn(() => session(user, them, us), { name: user })
    },
  })

const guestsByWeb = (port: number) => (next: Names) =>
  endpoint.subscriber(wsChannel(_, wsListener(port, '/room'), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => {
      const user = next()
      return spawn(() => webSession(user, them, us), { name: user })
    },
  })

type Door = (next: Names) => ReturnType<typeof endpoint.subscriber>

const roomWith = (more: ActionTree, prefix: string, doors: readonly Door[]) =>
  nestedVm(
    () => {
      let arrivals = 0
      const next = () => `${prefix}${++arrivals}`
      return [more, doors.map((door) => atMetaLevel(door(next)))]
    },
    { name: 'chat' },
  )

/** With other nodes, the rooms of all of them are one: what members say to each other crosses, and nothing else. */
const room = (network: Network, prefix: string, ...doors: readonly Door[]) => roomWith(
  network.isShared && [eventRelay(), network.relays('chat', [says(_, _)])], prefix, doors)

/** As members of a process of its own are called: another node has the same numbers. */
const guestsOf = (nats: Nats | undefined) => nats === undefined ? 'user' : `${nats.node}-`

export const chatServer = (port: number, nats?: Nats) =>
  room(new Network(undefined, nats), guestsOf(nats), guestsByTcp(port))

/** The same on a worker of `serve`: one room with those of all other workers, and of other processes. */
export const chatServerOfWorker = (port: number, worker: CurrentWorker, nats?: Nats, web?: Web) => {
  const network = new Network(worker, nats)
  // The number in a worker's name is one that no other worker of the process has.
  const number = network.node.slice(network.node.lastIndexOf('-') + 1)
  return roomWithPage(network, `${guestsOf(nats)}${number}.`, port, web)
}

/** The room for browsers, too: `webSocket(webOptions)` has to be there. */
export interface Web {
  readonly port: number
  /** HTML. */
  readonly page: string
}

const roomWithPage = (network: Network, prefix: string, port: number, web: Web | undefined) =>
  web === undefined ? room(network, prefix, guestsByTcp(port)) : [
    room(network, prefix, guestsByTcp(port), guestsByWeb(web.port)),
    spawn(() => webPage(web.page), { name: 'page' }),
  ]

/** The room of a process of its own, for browsers, too. */
export const chatServerWithPage = (port: number, webPort: number, page: string, nats?: Nats) =>
  roomWithPage(new Network(undefined, nats), guestsOf(nats), port, { port: webPort, page })

export const webOptions: WebSocketOptions = {
  origins: ownPageOnly,
  maxPayload: lineMax,
  maxQueuedBytes: 1024 * 1024,
  maxConnectionsPerAddress: 1000,
}
