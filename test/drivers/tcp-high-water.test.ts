/** Backpressure of `tcpBare`: who sends requests and doesn't read the answers is not read from. */
import { Program, server } from './tcp-program.js'
import fc from 'fast-check'
import { once } from 'node:events'
import type { Socket } from 'node:net'
import t, { type Test } from 'tap'
import { _, endpoint, quit, sendMessage, tcpChannel, type TcpEnd } from 'marketplace-native'
import { client, pattern, until } from '../support/util.js'
import { VARIANTS } from '../support/transports.js'

const MARK = 64 * 1024
const REQUEST = pattern(1000)

/** Bytes of an answer for each byte of a request. */
const FACTOR = 4

const amplifier = (them: TcpEnd, us: TcpEnd) =>
  endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => {
      if (!Buffer.isBuffer(subpacket)) return undefined
      const answer = new Uint32Array(subpacket.length)
      for (let i = 0; i < subpacket.length; i++) answer[i] = subpacket[i] * 0x01010101
      return sendMessage(tcpChannel(us, them, new Uint8Array(answer.buffer)))
    },
  })

/** What a peer gets that is read from the beginning: the answers to all that it sent. */
function checked(socket: Socket, sent: number): () => boolean {
  let at = 0
  let wrong = false
  socket.on('data', (data: Buffer) => {
    for (let i = 0; i < data.length; i += 97) {
      if (data[i] !== REQUEST[Math.floor((at + i) / FACTOR) % REQUEST.length]) wrong = true
    }
    at += data.length
  })
  return () => {
    if (wrong) throw new Error('not what was sent')
    return at === sent * FACTOR
  }
}

/** Chooses the backend of what is opened until the end of the test. */
function choose(t: Test, variant: string): 'native' | 'node' {
  const before = process.env['MARKETPLACE_BACKEND']
  t.teardown(() => {
    if (before === undefined) delete process.env['MARKETPLACE_BACKEND']
    else process.env['MARKETPLACE_BACKEND'] = before
  })
  if (variant === 'node') return 'node'
  process.env['MARKETPLACE_BACKEND'] = variant.replace('native ', '')
  return 'native'
}

for (const { name, skip } of VARIANTS) {
  void t.test(`${name}: many peers that don't read are held up, then served`, { skip }, async (t) => {
    const program = new Program(() => server(amplifier), choose(t, name), { highWaterMark: MARK })
    t.teardown(() => program.stop())
    const port = await program.port()
    const sockets = await Promise.all(Array.from({ length: 8 }, () => client(port)))
    const other = await client(port)
    const COUNT = 3000
    for (const socket of sockets) for (let i = 0; i < COUNT; i++) socket.pause().write(REQUEST)
    const [{ metrics }] = program.transports
    let last = -1
    await until(() => {
      const same = metrics.bytesIn === last
      last = metrics.bytesIn
      return same && metrics.queuedBytes > 0
    }, 50)
    const total = sockets.length * COUNT * REQUEST.length
    t.ok(last < total, `${last} of ${total} bytes were read`)
    // Beyond the mark is what one turn read: 4 times 256 KiB by the engine, 32 times 64 KiB by libuv.
    const most = sockets.length * (MARK + FACTOR * (name === 'node' ? 9 : 5) * 256 * 1024)
    t.ok(metrics.queuedBytes < most, `${metrics.queuedBytes} bytes are queued`)
    const answered = checked(other, 10)
    other.write(REQUEST.subarray(0, 10))
    await until(answered)
    const done = sockets.map((socket) => checked(socket, COUNT * REQUEST.length))
    for (const socket of sockets) socket.resume()
    for (const all of done) await until(all)
    t.equal(metrics.queuedBytes, 0)
    t.equal(metrics.connections, 9, 'nobody was cut off')
    for (const socket of [...sockets, other]) socket.destroy()
  })

  void t.test(`${name}: whenever a peer reads and pauses, nothing is lost`, { skip }, async (t) => {
    const program = new Program(() => server(amplifier), choose(t, name), { highWaterMark: MARK })
    t.teardown(() => program.stop())
    const port = await program.port()
    const step = fc.oneof(
      fc.record({ send: fc.integer({ min: 1, max: 60 }) }),
      fc.constantFrom('pause', 'resume', 'turn'),
    )
    await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
      const socket = await client(port)
      const sent = steps.reduce((sum, each) => sum + (typeof each === 'object' ? each.send : 0), 0)
      const answered = checked(socket, sent * REQUEST.length)
      for (const each of steps) {
        if (each === 'pause') socket.pause()
        else if (each === 'resume') socket.resume()
        else if (each === 'turn') await new Promise(setImmediate)
        else for (let i = 0; i < each.send; i++) socket.write(REQUEST)
      }
      socket.resume()
      await until(answered)
      socket.end()
      await once(socket, 'end')
    }), { numRuns: 15, endOnFailure: true })
  })
}
