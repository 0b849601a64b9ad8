/**
 * The peer without a VM: a plain node:net echo server as its documentation recommends writing it. With
 * `--module marketplace-native/net` the same on ours.
 *
 * noDelay for every connection; reading pauses while the peer doesn't take what was written.
 *
 * usage: node node-net-echo.mjs [--host ADDRESS] [--port PORT] [--module NAME]; prints `listening on HOST:PORT`.
 */
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    module: { type: 'string', default: 'node:net' },
  },
})
const { createServer } = await import(values.module)

const server = createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => {
    if (!socket.write(data)) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', () => socket.destroy())
})

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
