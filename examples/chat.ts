/**
 * The chat server: sessions in a nested VM talk to each other; each also talks to its connection,
 * outside, at the meta-level. Who is there follows from presence: there is no list of members.
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

const says = defineRecord('says', ['who', 'what']).of<[who: string, what: string]>()

/** More than this without a line end, and it is no chat. */
const lineMax = 64 * 1024

/** Cuts what came into lines: the complete ones, and the bytes of the next. */
const splitLines = (data: Buffer) => {
  const end = data.lastIndexOf('\n')
  const lines = end < 0 ? [] : data.toString('utf8', 0, end).split('\n')
  return { lines: lines.map((line) => line.replace(/\r$/, '')), rest: data.subarray(end + 1) }
}

const session = (user: string, them: TcpEnd, us: TcpEnd) => {
  const tell = (text: string) => atMetaLevel(sendMessage(tcpChannel(us, them, `${text}\n`)))

  return transition(
    Buffer.alloc(0), // the state: a line that has not ended yet
    endpoint.publisher(says(user, _)),
    atMetaLevel(
      endpoint.subscriber(tcpChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ subpacket }, pending: Buffer) => {
          if (subpacket === eof) return quit()
          const { lines, rest } = splitLines(Buffer.concat([pending, subpacket]))
          if (rest.length > lineMax) return quit(new Error(`${user} never ends a line`))
          return transition(
            rest,
            lines.map((line) => sendMessage(says(user, line))),
          )
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
