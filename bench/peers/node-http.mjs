/**
 * The page of examples/http.ts on node:http.
 *
 * usage: node node-http.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { createServer } from 'node:http'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

const server = createServer((request, response) => {
  const found = request.method === 'GET' && request.url === '/'
  response.statusCode = found ? 200 : 404
  response.setHeader('content-type', 'text/plain')
  response.end(found ? 'hello, world\n' : 'nobody handles this path\n')
})

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
