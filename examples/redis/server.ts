/**
 * The server in the VM: a process for each client. To subscribe to a channel is to have an endpoint for its
 * messages; who has one is counted by presence, which is all that PUBLISH needs to know.
 */
import {
  _, defineRecord, deleteEndpoint, endpoint, eof, quit, sendMessage, setTimer, spawn, tcpChannel, tcpListener,
  timerExpired, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { Session } from './commands.js'
import { Store } from './store.js'
import { stopping } from '../support/run.js'

/** A message as subscribers are sent it. */
const channelMessage = defineRecord('channel-message', ['channel', 'frame'])
  .of<[channel: string, frame: Buffer]>()

/** How many listen to a channel. */
type Audience = ReadonlyMap<string, number>

/** What each process of the server has beside its own. */
const untilStopped = (): ActionTree => endpoint.subscriber(stopping(_), { onPresence: () => quit() })

const countAudience = (audience: Map<string, number>): ActionTree => [
  untilStopped(),
  endpoint.publisher(channelMessage(_, _), {
    interest: 'observer',
    onPresence: ({ channel }) => { audience.set(channel, (audience.get(channel) ?? 0) + 1) },
    onAbsence: ({ channel }) => {
      const left = (audience.get(channel) ?? 0) - 1
      if (left > 0) audience.set(channel, left)
      else audience.delete(channel)
    },
  }),
]

const session = (them: TcpEnd, us: TcpEnd, store: Store, audience: Audience): ActionTree => {
  let actions: ActionTree[] = []
  const send = (frame: Buffer): ActionTree => sendMessage(tcpChannel(us, them, frame))
  const client = new Session(store, {
    subscribe: (channel) => {
      actions.push(endpoint.subscriber(channelMessage(channel, _), {
        name: channel, onMessage: ({ frame }) => send(frame),
      }))
    },
    unsubscribe: (channel) => { actions.push(deleteEndpoint(channel)) },
    publish: (channel, frame) => {
      actions.push(sendMessage(channelMessage(channel, frame)))
      return audience.get(channel) ?? 0
    },
  })
  const conversation = endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => {
      if (subpacket === eof) return undefined // the driver closes when all replies are sent
      client.receive(subpacket)
      const pieces = client.replies.take()
      // Nearly always there is nothing but one piece of replies.
      if (pieces.length === 1 && actions.length === 0 && !client.over) return send(pieces[0])
      const all = [actions, pieces.map(send), client.over && quit()]
      actions = []
      return all
    },
    onAbsence: () => quit(),
  })
  return [conversation, untilStopped()]
}

/** Keys that nobody asks for any more go some time, a few at a time. */
const sweeper = (store: Store): ActionTree => {
  const sweeps = store.sweeps(100)
  const again = (): ActionTree => sendMessage(setTimer('sweep', 100, 'relative'))
  return [
    untilStopped(),
    endpoint.subscriber(timerExpired('sweep', _), {
      onMessage: () => {
        sweeps.next()
        return again()
      },
    }),
    again(),
  ]
}

/** Needs the drivers `tcpBare` and `timerDriver` beside it. */
export const redisServer = (port: number): ActionTree => {
  const store = new Store()
  const audience = new Map<string, number>()
  return [
    spawn(() => countAudience(audience), { name: 'audience' }),
    spawn(() => sweeper(store), { name: 'sweeper' }),
    spawn(() => [
      untilStopped(),
      endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us, store, audience)),
      }),
    ], { name: 'redis' }),
  ]
}
