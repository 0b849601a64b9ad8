/**
 * An echo server written for `node:net`, on the native engine: but for the import it is the same program.
 *
 * usage: node dist/examples/net-echo.js [port]
 */
import type { AddressInfo } from 'node:net'
import net from 'marketplace-native/net'

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => {
    if (!socket.write(data)) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', (error) => console.error(error.message))
})

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const { address, port } = server.address() as AddressInfo
  console.log(`listening on ${address}:${port}`)
})
