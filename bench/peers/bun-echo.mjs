/**
 * Bun's own sockets: `Bun.listen`, handlers shared by all connections. What the kernel doesn't take
 * is kept and sent when the socket drains; reading pauses until then. Sockets of Bun.listen have
 * noDelay set.
 *
 * usage: bun bun-echo.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

const server = globalThis.Bun.listen({
  hostname: values.host,
  port: Number(values.port),
  socket: {
    open(socket) {
      socket.data = undefined // bytes that the kernel has not taken yet
    },
    data(socket, data) {
      if (socket.data !== undefined) {
        socket.data = Buffer.concat([socket.data, data])
        return
      }
      const taken = socket.write(data)
      if (taken >= data.length) return
      socket.data = Buffer.from(data.subarray(Math.max(taken, 0)))
      socket.pause()
    },
    drain(socket) {
      if (socket.data === undefined) return
      const taken = socket.write(socket.data)
      if (taken < socket.data.length) {
        socket.data = socket.data.subarray(Math.max(taken, 0))
        return
      }
      socket.data = undefined
      socket.resume()
    },
    error() {},
  },
})

console.log(`version: Bun ${globalThis.Bun.version}`)
console.log(`listening on ${server.hostname}:${server.port}`)
