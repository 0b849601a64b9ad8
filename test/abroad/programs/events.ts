/** Events taken with promises and iterators: what users count on between two events of one emitter. */
import { on, once } from 'node:events'
import { programs, type Socket } from '../program.js'

export default programs({
  'once data in a loop': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(2 * 1024 * 1024, 'x')))
    const socket = net.connect(port, '127.0.0.1')
    let sum = 0
    while (sum < 2 * 1024 * 1024) {
      const [data] = await once(socket, 'data') as [Buffer]
      sum += data.length
    }
    print(sum)
    await once(socket, 'end')
    print('end')
    await once(socket, 'close')
    server.close()
    await once(server, 'close')
  },
  'once connection in a loop': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const clients = Array.from({ length: 50 }, () => net.connect(port, '127.0.0.1'))
    const answers = clients.map(async (client) => String((await once(client, 'data') as [Buffer])[0]))
    for (let i = 0; i < 50; i++) {
      const [socket] = await once(server, 'connection') as [Socket]
      socket.end('hello')
    }
    print((await Promise.all(answers)).join())
    for (const client of clients) client.destroy()
    server.close()
    await once(server, 'close')
  },
  'data, then end': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('last words'))
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    const [data] = await once(socket, 'data') as [Buffer]
    print(data)
    await once(socket, 'end')
    print('end')
    server.close()
    await once(server, 'close')
  },
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
