/**
 * A TCP balancer on plain node:net, as its documentation recommends writing one: a connection to the backend for
 * each client, and a pipe in each direction.
 *
 * usage: node node-net-balancer.mjs --backend PORT [--host ADDRESS] [--port PORT]; prints
 *   `listening on HOST:PORT`.
 */
import { connect, createServer } from 'node:net'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    backend: { type: 'string' },
  },
})

const server = createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
  const backend = connect({
    host: '127.0.0.1', port: Number(values.backend), noDelay: true, allowHalfOpen: true,
  })
  client.on('error', () => backend.destroy())
  backend.on('error', () => client.destroy())
  client.pipe(backend)
  backend.pipe(client)
})

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
