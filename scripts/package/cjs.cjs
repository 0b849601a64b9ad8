/** An echo server as CommonJS, on marketplace-native/net: prints its transport and its port. */
const { _ } = require('marketplace-native')
const net = require('marketplace-native/net')

import('marketplace-native').then(({ _: imported }) => {
  console.log(`same: ${imported === _}`)
  const server = net.createServer((socket) => socket.pipe(socket))
  console.log(`transport: ${net.Server === require('node:net').Server ? 'node' : 'native'}`)
  server.listen(0, '127.0.0.1', () => console.log(`port: ${server.address().port}`))
})
