/**
 * The chat client: a process for the keyboard, one for the screen, one for the connection.
 * Each is there as long as it has somebody to talk to.
 */
import {
  _,
  defineRecord,
  deleteEndpoint,
  endpoint,
  eof,
  lineSource,
  quit,
  sendMessage,
  spawn,
  tcpAddress,
  tcpChannel,
  tcpError,
  tcpHandle,
} from 'marketplace-native'

const typed = defineRecord('typed', ['line']).of<[line: string]>()
const received = defineRecord('received', ['data']).of<[data: Buffer]>()

const keyboard = () => {
  const lines = lineSource()
  return endpoint.publisher(typed(_), {
    onPresence: () =>
      endpoint.subscriber([lines, _], {
        onMessage: ([, line]) => (line === eof ? quit() : sendMessage(typed(line))),
      }),
    onAbsence: () => quit(),
  })
}

const screen = () =>
  endpoint.subscriber(received(_), {
    onAbsence: () => quit(),
    onMessage: ({ data }) => void process.stdout.write(data),
  })

const connection = (host: string, port: number, onEnd: (reason: unknown) => void) => {
  const us = tcpHandle('outbound')
  const them = tcpAddress(host, port)
  return [
    endpoint.publisher(received(_)),
    endpoint.subscriber(tcpError(us, them, _), { onMessage: () => quit() }),
    endpoint.subscriber(tcpChannel(them, us, _), {
      onPresence: () =>
        endpoint.subscriber(typed(_), {
          name: 'typed',
          onAbsence: () => [deleteEndpoint('typed'), sendMessage(tcpChannel(us, them, eof))],
          onMessage: ({ line }) => sendMessage(tcpChannel(us, them, `${line}\n`)),
        }),
      onAbsence: (_topic, _state, reason) => {
        onEnd(reason)
        return quit(reason)
      },
      onMessage: ({ subpacket }) => subpacket !== eof && sendMessage(received(subpacket)),
    }),
  ]
}

/** @param onEnd told why the connection ended; undefined when all was in order */
export const chatClient = (
  host: string,
  port: number,
  onEnd: (reason: unknown) => void = () => undefined,
) => [
  spawn(keyboard, { name: 'keyboard' }),
  spawn(screen, { name: 'screen' }),
  spawn(() => connection(host, port, onEnd), { name: 'connection' }),
]
