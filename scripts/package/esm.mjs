/** An echo server as ESM, on what was installed: prints its transport and its port. */
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, tcpListening,
} from 'marketplace-native'
import { createRequire } from 'node:module'
import net, { createServer } from 'marketplace-native/net'

// Both ways of loading it lead to one instance, on Nodes that can require ESM.
const required = createRequire(import.meta.url)('marketplace-native')
console.log(`same: ${required._ === _}`)
console.log(`net: ${net.createServer === createServer && typeof net.connect === 'function'}`)

// The bundle's own frames are taken from the stack: it begins with this file.
try {
  spawn(5)
} catch ({ stack }) {
  console.log(`blamed: ${/^ +at .*$/m.exec(stack)[0].includes('esm.mjs')}`)
}

const echoer = (them, us) => endpoint.subscriber(tcpChannel(them, us, _), {
  onAbsence: () => quit(),
  onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
})

await groundVm(() => [
  tcpBare({ host: '127.0.0.1', onTransport: ({ name }) => console.log(`transport: ${name}`) }),
  spawn(() => [
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => spawn(() => echoer(them, us)),
    }),
    endpoint.subscriber(tcpListening(tcpListener(0), _), {
      onPresence: ({ address }) => console.log(`port: ${address.port}`),
    }),
  ]),
])
