/**
 * The chat server: sessions in a nested VM talk to each other; each also talks to its connection,
 * outside, at the meta-level. Who is there follows from presence: there is no list of members.
 *
 * What a member wrote is shown on the terminals of others, so it reaches them as text only: see `printable`.
 */
import {
  _,
  atMetaLevel,
  defineRecord,
  endpoint,
  eof,
  nestedVm,
  quit,
  sendMessage,
  spawn,
  tcpChannel,
  tcpListener,
  transition,
  type TcpEnd,
} from 'marketplace-native'
import { Gather } from './support/gather.js'

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

const session = (user: string, them: TcpEnd, us: TcpEnd) => {
  const tell = (text: string) => atMetaLevel(sendMessage(tcpChannel(us, them, `${text}\n`)))

  return transition(
    new Gather(), // the state: a line that has not ended yet
    endpoint.publisher(says(user, _)),
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
    tell(`You are ${user}.`),
    endpoint.subscriber(says(_, _), {
      onPresence: ({ who }) => who !== user && tell(`${who} arrived.`),
      onAbsence: ({ who }) => who !== user && tell(`${who} departed.`),
      onMessage: ({ who, what }) => tell(`${who}: ${what}`),
    }),
  )
}

export const chatServer = (port: number) =>
  nestedVm(
    () => {
      let arrivals = 0
      return atMetaLevel(
        endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
          interest: 'observer',
          onPresence: ({ source: them, destination: us }) => {
            const user = `user${++arrivals}`
            return spawn(() => session(user, them, us), { name: user })
          },
        }),
      )
    },
    { name: 'chat' },
  )
