/** The peer of examples/redis: the same parser, commands and store, on plain `node:net`. */
import { createServer, type Socket } from 'node:net'
import { Session, type PubSub } from '../../examples/redis/commands.js'
import { Store } from '../../examples/redis/store.js'

const store = new Store()
const channels = new Map<string, Set<Socket>>()

function pubSubOf(socket: Socket): PubSub & { leave(): void } {
  const own = new Set<string>()
  const pubsub = {
    subscribe: (channel: string) => {
      own.add(channel)
      let members = channels.get(channel)
      if (members === undefined) channels.set(channel, (members = new Set()))
      members.add(socket)
    },
    unsubscribe: (channel: string) => {
      own.delete(channel)
      const members = channels.get(channel)
      members?.delete(socket)
      if (members?.size === 0) channels.delete(channel)
    },
    publish: (channel: string, frame: Buffer) => {
      const members = channels.get(channel)
      members?.forEach((member) => member.write(frame))
      return members?.size ?? 0
    },
    leave: () => { for (const channel of own) pubsub.unsubscribe(channel) },
  }
  return pubsub
}

const server = createServer({ noDelay: true }, (socket) => {
  const pubsub = pubSubOf(socket)
  const session = new Session(store, pubsub)
  socket.on('data', (bytes) => {
    session.receive(bytes)
    let taken = true
    for (const piece of session.replies.take()) taken = socket.write(piece)
    if (session.over) socket.end()
    else if (!taken) socket.pause()
  })
  socket.on('drain', () => socket.resume())
  socket.on('close', () => { pubsub.leave() })
  socket.on('error', () => socket.destroy())
})

server.listen(Number(process.argv[2] ?? 0), '127.0.0.1', () => {
  const address = server.address()
  if (typeof address === 'object') console.log(`listening on 127.0.0.1:${address?.port ?? 0}`)
})
