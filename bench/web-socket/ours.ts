/** Our server of WebSockets: `ours.js echo|broadcast uws|ws`. Prints the port. */
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, webSocket, wsChannel, wsListener, wsListening, wsPeer, type WsEnd,
} from 'marketplace-native'

const [mode, carrier] = process.argv.slice(2)

const echo = (them: WsEnd, us: WsEnd) => endpoint.subscriber(wsChannel(them, us, _), {
  onMessage: ({ message }) => sendMessage(wsChannel(us, them, message)),
  onAbsence: () => quit(),
})

/** What one says, all hear: by the VM's own routing. */
const broadcast = (them: WsEnd, us: WsEnd) => [
  endpoint.subscriber(wsChannel(them, us, _), {
    onMessage: ({ message }) => sendMessage(['news', message]),
    onAbsence: () => quit(),
  }),
  endpoint.subscriber(['news', _], { onMessage: ([, message]) => sendMessage(wsChannel(us, them, message as string)) }),
]

const session = mode === 'echo' ? echo : broadcast

await groundVm(() => [
  webSocket({ host: '127.0.0.1', origins: '*', carrier: carrier as 'uws' | 'ws' }),
  spawn(() => [
    endpoint.subscriber(wsChannel(_, wsListener(0, '/'), _), {
      interest: 'observer',
      onPresence: ({ source, destination }) => wsPeer.is(source) && spawn(() => session(source, destination)),
    }),
    endpoint.subscriber(wsListening(_, _), { onPresence: ({ address }) => { console.log(new URL(address.url).port) } }),
  ]),
])
