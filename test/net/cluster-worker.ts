/**
 * A worker of a cluster that serves with `marketplace-native/net`: each connection gets the worker's number and
 * whose socket it is, and then an echo. What it is told by its primary, it does.
 */
import cluster from 'node:cluster'
import * as net from 'marketplace-native/net'

const where = process.argv[2]
const isOurs = (socket: object): boolean => '_nativeReader' in socket

const server = net.createServer({ allowHalfOpen: true }, (socket) => {
  const reader = isOurs(socket) ? 'engine' : 'node'
  socket.write(`${cluster.worker?.id} ${reader}\n`)
  socket.pipe(socket)
})
server.on('error', (error) => { process.send?.({ error: error.message }) })
if (where.startsWith('/')) server.listen(where)
else server.listen(Number(where), '127.0.0.1')
process.on('message', (told) => {
  if (told === 'close') server.close(() => { process.send?.('closed') })
})
