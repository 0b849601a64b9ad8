/* `ws` on node:net, as its documentation has it: `ws-node.mjs echo|broadcast`. Prints the port. */
import { WebSocket, WebSocketServer } from 'ws'

const [mode] = process.argv.slice(2)
const server = new WebSocketServer({ host: '127.0.0.1', port: 0 }, () => { console.log(server.address().port) })
server.on('connection', (socket) => {
  socket.on('error', console.error)
  socket.on('message', (data, binary) => {
    if (mode === 'echo') {
      socket.send(data, { binary })
      return
    }
    for (const client of server.clients) if (client.readyState === WebSocket.OPEN) client.send(data, { binary })
  })
})
