/**
 * An echo server written for `node:net`, on the native engine: but for the import it is the same program.
 *
 *   node dist/examples/net-echo.js --port 5998
 */
import type { AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import net from 'marketplace-native/net'

const fail = (error: unknown, code: number) => {
  console.error(`error: ${(error as Error).message}`)
  process.exitCode = code
}

const server = net.createServer({ noDelay: true }, (socket) => {
  socket.on('data', (data) => {
    if (!socket.write(data)) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', (error) => console.error(error.message))
})
server.on('error', (error) => { fail(error, 1) })
server.on('listening', () => {
  const { address, port } = server.address() as AddressInfo
  console.log(`listening on ${address}:${port}\ntry it: nc ${address} ${port}; Ctrl-C ends it`)
})

try {
  const { values } = parseArgs({
    options: { port: { type: 'string', default: '5998' }, help: { type: 'boolean', short: 'h' } },
  })
  if (values.help === true) console.log('usage: net-echo.js [--port 5998]')
  else server.listen(Number(values.port), '127.0.0.1')
} catch (error) {
  fail(error, 2)
}
