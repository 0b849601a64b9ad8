/** What the end of a process does to sockets, and what keeps a process alive. */
import { alone, programs } from '../program.js'

export default programs({
  'unref before connect': alone(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.end(); server.close() })
    const socket = new net.Socket()
    socket.unref()
    socket.connect(port, '127.0.0.1', () => print('connected'))
  }),
})
