/**
 * The peer without a VM: a plain node:dgram echo server as its documentation recommends writing it.
 *
 * usage: node node-dgram-echo.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { createSocket } from 'node:dgram'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

const socket = createSocket('udp4')
socket.on('message', (data, { address, port }) => socket.send(data, port, address))
socket.bind(Number(values.port), values.host, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${socket.address().address}:${socket.address().port}`)
})
