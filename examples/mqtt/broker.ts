/** The broker: who listens, who remembers retained messages, and who ends those that have fallen silent. */
import {
  _, cancelTimer, endpoint, eof, quit, sendMessage, setTimer, spawn, tcpChannel,
  tcpListener, timerExpired, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { stopping } from '../support/run.js'
import { RETAINED_BYTES_MAX, RETAINED_MAX } from './limits.js'
import { Session } from './session.js'
import { Message, mqttMessage, mqttRetained, Pattern, placeOf } from './topics.js'

/** What each process of the broker has beside its own. */
const untilStopped = (): ActionTree => endpoint.subscriber(stopping(_), { onPresence: () => quit() })

/** Hears every message, and keeps the last one of each topic if it asks for that; sent to who subscribes. */
const memory = (): ActionTree => {
  const retained = new Map<string, Message>()
  let bytes = 0
  const sizeOf = ({ topic, payload }: Message): number => topic.length + payload.length
  const forget = (topic: string): void => {
    const known = retained.get(topic)
    if (known === undefined) return
    bytes -= sizeOf(known)
    retained.delete(topic)
  }
  return [
    untilStopped(),
    endpoint.subscriber(mqttMessage(_, _, _), {
      interest: 'observer',
      onMessage: ({ message }) => {
        if (!message.retain) return
        forget(message.topic)
        const { topic, payload, qos } = message
        if (payload.length === 0 || retained.size >= RETAINED_MAX) return
        if (bytes + sizeOf(message) > RETAINED_BYTES_MAX) return
        bytes += sizeOf(message)
        // Without the packets that were made of it.
        retained.set(topic, new Message(topic, payload, qos, true))
      },
    }),
    endpoint.publisher(mqttRetained(_, _, _, _), {
      interest: 'observer',
      onPresence: ({ client, root, levels }) => {
        const pattern = new Pattern({ root, levels })
        return [...retained.values()].filter((known) => pattern.finds(known.levels)).map((message) =>
          sendMessage(mqttRetained(client, root, placeOf(message.topic)?.levels, message)))
      },
    }),
  ]
}

const session = (them: TcpEnd, us: TcpEnd, client: number): ActionTree => {
  const name = ['silent', client]
  const talk = new Session(client, (bytes) => sendMessage(tcpChannel(us, them, bytes)))
  const allowed = (): number => talk.lastHeard + talk.silenceMax - Date.now()
  const look = (): ActionTree =>
    talk.silenceMax < Infinity && sendMessage(setTimer(name, Math.max(allowed(), 1), 'relative'))
  return [
    untilStopped(),
    endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => {
        if (subpacket === eof) return quit('the connection ended')
        const before = talk.silenceMax
        const actions = talk.receive(subpacket)
        return talk.silenceMax === before ? actions : [actions, sendMessage(cancelTimer(name)), look()]
      },
      onAbsence: (_topic, _state, reason) => quit(reason ?? 'the connection ended'),
    }),
    endpoint.subscriber(timerExpired(name, _), {
      onMessage: () => (allowed() <= 0 ? quit('silent for too long') : look()),
    }),
    look(),
  ]
}

/** Needs the drivers `tcpBare` and `timerDriver` beside it. */
export const mqttBroker = (port: number): ActionTree => {
  let clients = 0
  return [
    spawn(memory, { name: 'memory' }),
    spawn(() => [
      untilStopped(),
      endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us, ++clients)),
      }),
    ], { name: 'mqtt' }),
  ]
}
