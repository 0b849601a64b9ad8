/**
 * The broker: who listens, and who ends those that have fallen silent. It may have several nodes, workers or machines:
 * then what clients publish crosses, and so do who is connected, retained messages and last wills.
 */
import {
  _, cancelTimer, endpoint, eof, quit, sendMessage, setTimer, spawn, tcpChannel,
  tcpListener, timerExpired, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { Network } from '../support/network.js'
import { stopping } from '../support/run.js'
import { Clock } from './clock.js'
import { memory } from './retained.js'
import { Session } from './session.js'
import { mqttClient, SHARED_TOPICS } from './topics.js'
import { heir, type Broker } from './wills.js'

/** What each process of the broker has beside its own. */
const untilStopped = (): ActionTree => endpoint.subscriber(stopping(_), { onPresence: () => quit() })

const session = (them: TcpEnd, us: TcpEnd, client: number, broker: Broker): ActionTree => {
  const name = ['silent', client]
  const talk = new Session(client, broker, (bytes) => sendMessage(tcpChannel(us, them, bytes)))
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

/** Who was connected on another node before is so in the numbers here, too. */
const listening = ({ clock }: Broker): ActionTree =>
  endpoint.subscriber(mqttClient(_, _, _), {
    interest: 'observer',
    onPresence: ({ since }) => { clock.heard(since) },
  })

/** Needs the drivers `tcpBare` and `timerDriver` beside it. */
export const mqttBroker = (port: number, network = new Network(undefined, undefined)): ActionTree => {
  const { node, isShared } = network
  const broker: Broker = { node, isShared, clock: new Clock() }
  let clients = 0
  return [
    spawn(() => [untilStopped(), memory(node, broker.clock, isShared)], { name: 'memory' }),
    isShared && [
      network.relays('mqtt', SHARED_TOPICS),
      spawn(() => [untilStopped(), heir(broker), listening(broker)], { name: 'other nodes' }),
    ],
    spawn(() => [
      untilStopped(),
      endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us, ++clients, broker)),
      }),
    ], { name: 'mqtt' }),
  ]
}
