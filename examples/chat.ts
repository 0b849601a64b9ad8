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

/** Cuts what came into lines: the complete ones, and the rest. */
const splitLines = (text: string) => {
  const lines = text.split(/\r?\n/)
  const rest = lines.pop() ?? ''
  return { lines, rest }
}

const session = (user: string, them: TcpEnd, us: TcpEnd) => {
  const tell = (text: string) => atMetaLevel(sendMessage(tcpChannel(us, them, `${text}\n`)))

  return transition(
    '', // the state: a line that has not ended yet
    endpoint.publisher(says(user, _)),
    atMetaLevel(
      endpoint.subscriber(tcpChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ subpacket }, pending: string) => {
          if (subpacket === eof) return quit()
          const { lines, rest } = splitLines(pending + subpacket.toString())
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
