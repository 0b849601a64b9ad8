/**
 * Plain JavaScript: the same functions, without a compiler. An echo server, a client that asks it three
 * things, and a timer that ends them if that takes too long.
 *
 *   node examples/plain.mjs
 */
import {
  _, cancelTimer, defineRecord, endpoint, groundVm, quit, sendMessage, setTimer, spawn, tcpAddress, tcpBare,
  tcpChannel, tcpHandle, tcpListener, tcpListening, timerDriver, timerExpired, transition,
} from 'marketplace-native'

/** Says that all is done, to whoever wants to know. */
const finished = defineRecord('finished', ['why'])
const listener = tcpListener(0)
const hurry = ['plain', 'hurry']

/** One process for each connection: what comes is sent back. */
const echoer = (them, us) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
    onAbsence: () => quit(),
  })

const server = () => [
  endpoint.subscriber(tcpChannel(_, listener, _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => echoer(them, us), { name: 'echoer' }),
  }),
  endpoint.subscriber(tcpListening(listener, _), {
    onPresence: ({ address }) => spawn(() => client(address.port), { name: 'client' }),
  }),
  endpoint.subscriber(finished(_), { onMessage: () => quit() }),
]

/** Sends one word after the other. Its state: the words that are still to be sent. */
const client = (port) => {
  const us = tcpHandle('plain')
  const them = tcpAddress('127.0.0.1', port)
  const next = ([word, ...rest]) =>
    transition(
      rest,
      word === undefined ? sendMessage(finished('all echoed')) : sendMessage(tcpChannel(us, them, word)),
    )
  return transition(
    ['one', 'two', 'three'],
    endpoint.subscriber(tcpChannel(them, us, _), {
      onPresence: (_topic, words) => next(words),
      onMessage: ({ subpacket }, words) => {
        console.log(`echo: ${subpacket}`)
        return next(words)
      },
    }),
    endpoint.subscriber(finished(_), { onMessage: () => quit() }),
  )
}

const watchdog = () => [
  endpoint.publisher(setTimer(hurry, _, _), {
    onPresence: () => sendMessage(setTimer(hurry, 10_000, 'relative')),
  }),
  endpoint.subscriber(timerExpired(hurry, _), { onMessage: () => sendMessage(finished('too slow')) }),
  endpoint.subscriber(finished(_), {
    onMessage: ({ why }) => {
      console.log(`finished: ${why}`)
      return [sendMessage(cancelTimer(hurry)), quit()]
    },
  }),
]

await groundVm(() => [
  tcpBare({ host: '127.0.0.1' }),
  timerDriver(),
  spawn(watchdog, { name: 'watchdog' }),
  spawn(server, { name: 'server' }),
])
