/* Bare uWebSockets.js: `uws.mjs echo|broadcast`. A broadcast is its own publish. Prints the port. */
import uws from 'uWebSockets.js'

const [mode] = process.argv.slice(2)
const app = uws.App().ws('/*', {
  maxPayloadLength: 1024 * 1024,
  idleTimeout: 120,
  open: (ws) => { if (mode === 'broadcast') ws.subscribe('news') },
  message: (ws, message, isBinary) => {
    if (mode === 'broadcast') app.publish('news', message, isBinary)
    else ws.send(message, isBinary)
  },
})
app.listen('127.0.0.1', 0, (socket) => { console.log(uws.us_socket_local_port(socket)) })
