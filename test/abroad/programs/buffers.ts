/** Whose memory is sent: buffers that are used again. */
import { once } from 'node:events'
import { programs, type Environment, type Socket } from '../program.js'

type Answer = (socket: Socket, data: Buffer) => void

/** A server that does something to what it has written; the client tells how much came back whole. */
const echo = (length: number, answer: Answer) => async ({ pair, print }: Environment): Promise<void> => {
  const { server, client, peer } = await pair()
  peer.on('data', (data) => { answer(peer, data) })
  const sent = Buffer.alloc(length, 'abcdefghijklmnopqrstuvw')
  const back: Buffer[] = []
  let size = 0
  client.on('data', (data) => {
    back.push(data)
    size += data.length
    if (size === length) client.end()
  })
  client.write(sent)
  await once(client, 'close')
  server.close()
  await once(server, 'close')
  print(size, Buffer.concat(back).equals(sent) ? 'whole' : 'damaged')
}

const wiping: Answer = (socket, data) => {
  socket.write(data)
  data.fill(0)
}

/** One buffer for all, as parsers and pools have it. */
function shared(): Answer {
  const buffer = Buffer.alloc(64 * 1024)
  return (socket, data) => {
    for (let at = 0; at < data.length; at += 1000) {
      const length = data.copy(buffer, 0, at, Math.min(at + 1000, data.length))
      socket.write(buffer.subarray(0, length))
    }
  }
}

export default programs({
  'wipes 1 byte': echo(1, wiping),
  'wipes 64 bytes': echo(64, wiping),
  'wipes 4 KiB': echo(4096, wiping),
  'wipes 8 KiB': echo(8192, wiping),
  'wipes 16 KiB': echo(16_384, wiping),
  'wipes 60 KB': echo(60_000, wiping),
  'wipes after a view': echo(16_000, (socket, data) => {
    socket.write(new Uint8Array(data.buffer, data.byteOffset, data.length))
    data.fill(0)
  }),
  'wipes after corked writes': echo(10_000, (socket, data) => {
    socket.cork()
    socket.write(data.subarray(0, data.length >> 1))
    socket.write(data.subarray(data.length >> 1))
    socket.uncork()
    data.fill(0)
  }),
  'wipes after a write with a callback': echo(5000, (socket, data) => {
    socket.write(data, () => undefined)
    data.fill(0)
  }),
  'shares one buffer': echo(50_000, shared()),
  'wipes after the callback': echo(1_000_000, (socket, data) => {
    socket.pause()
    socket.write(data, () => {
      data.fill(0)
      socket.resume()
    })
  }),
})
