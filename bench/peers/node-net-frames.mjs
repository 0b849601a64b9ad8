/**
 * The peer of `frames.ts`: frames with a length of 4 bytes before them on a plain node:net server, put together in
 * JavaScript as it is usually written: what is left of one piece goes before the next.
 *
 * usage: node node-net-frames.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'

const HEADER = 4
const FRAMES_PER_REPLY = 64

const { values } = parseArgs({
  options: { host: { type: 'string', default: '127.0.0.1' }, port: { type: 'string', default: '0' } },
})

const server = createServer({ noDelay: true }, (socket) => {
  let rest
  let frames = 0
  let bytes = 0
  const onFrame = (frame) => {
    bytes += HEADER + frame.length
    if (++frames % FRAMES_PER_REPLY !== 0) return
    const reply = Buffer.alloc(12)
    reply.writeUInt32BE(8)
    reply.writeUInt32BE(Math.floor(bytes / 2 ** 32), 4)
    reply.writeUInt32BE(bytes % 2 ** 32, 8)
    if (!socket.write(reply)) socket.pause()
  }
  socket.on('data', (data) => {
    const all = rest === undefined ? data : Buffer.concat([rest, data])
    let at = 0
    while (all.length - at >= HEADER) {
      const end = at + HEADER + all.readUInt32BE(at)
      if (end > all.length) break
      onFrame(all.subarray(at + HEADER, end))
      at = end
    }
    rest = at === all.length ? undefined : all.subarray(at)
  })
  socket.on('drain', () => socket.resume())
  socket.on('error', () => socket.destroy())
})

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
