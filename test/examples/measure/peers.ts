/** What the examples are measured against, and what stands behind them: `node peers.js KIND [PORT]`. */
import { createServer as createHttpServer } from 'node:http'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'

const quiet = (socket: Socket) => socket.on('error', () => socket.destroy())

const kinds: Record<string, (port: number) => Server> = {
  /** The same answer as that of `examples/http.ts`. */
  'http': () => createHttpServer((_request, response) => {
    response.setHeader('content-type', 'text/plain')
    response.end('hello, world\n')
  }),
  /** A proxy as it is usually written. */
  'proxy': (port) => createServer({ noDelay: true, allowHalfOpen: true }, (client) => {
    const backend = connect({ port, host: '127.0.0.1', noDelay: true, allowHalfOpen: true })
    quiet(client).pipe(quiet(backend)).pipe(client)
  }),
  'echo': () => createServer({ noDelay: true }, (socket) => { quiet(socket).pipe(socket) }),
  /** Reads to the end, and says how many bytes there were. */
  'sink': () => createServer({ allowHalfOpen: true }, (socket) => {
    let bytes = 0
    quiet(socket).on('data', (data) => { bytes += data.length }).on('end', () => socket.end(`${bytes}`))
  }),
}

const [, , kind, port] = process.argv
const server = kinds[kind](Number(port)).listen(0, '127.0.0.1', () => {
  console.log(`listening on 127.0.0.1:${(server.address() as AddressInfo).port}`)
})
