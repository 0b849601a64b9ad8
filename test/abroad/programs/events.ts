/** Events taken with promises and iterators: what users count on between two events of one emitter. */
import { on, once } from 'node:events'
import { programs, type Socket } from '../program.js'

export default programs({
  'events.on of a server': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const clients = Array.from({ length: 20 }, () => net.connect(port, '127.0.0.1'))
    let served = 0
    for await (const [socket] of on(server, 'connection') as AsyncIterable<[Socket]>) {
      socket.end()
      served += 1
      if (served === 20) break
    }
    print(served)
    for (const client of clients) client.destroy()
    server.close()
    await once(server, 'close')
  },
})
