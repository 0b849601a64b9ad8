/**
 * The echo server with TLS and without the VM: `node:tls` on `node:net`; or with `--over` another module's sockets below
 * `node:tls`, as a program has it that puts one on the other; or with `--module` another module in the shape of node:tls.
 *
 * usage: node node-tls-echo.mjs --cert FILE --key FILE [--host ADDRESS] [--port PORT] [--over NAME | --module NAME]
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    cert: { type: 'string' },
    key: { type: 'string' },
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
    over: { type: 'string' },
    module: { type: 'string', default: 'node:tls' },
  },
})
const options = { cert: readFileSync(values.cert), key: readFileSync(values.key), noDelay: true }
const { createServer } = await import(values.module)

const secure = createServer(options, (socket) => {
  socket.on('data', (data) => {
    if (!socket.write(data)) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', () => socket.destroy())
})
let server = secure
if (values.over !== undefined) {
  const net = await import(values.over)
  server = net.createServer({ noDelay: true }, (socket) => { secure.emit('connection', socket) })
}

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
