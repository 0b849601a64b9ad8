/** Examples that parse by themselves, and clients that send byte by byte: cost and memory grow with bytes. */
import { generate, parser } from 'mqtt-packet'
import t, { type Test } from 'tap'
import { RequestParser } from '../../examples/http/parser.js'
import { Frames } from '../../examples/mqtt/frames.js'
import { CommandParser } from '../../examples/redis/parser.js'
import { Gather } from '../../examples/support/gather.js'
import { collectGarbage, pattern, randomSource } from '../support/util.js'

const PIECES = 100_000

/** Each byte in memory of its own, as if each had been received for itself. */
function feed(bytes: Buffer, take: (piece: Buffer) => void): { grown: number, time: number } {
  collectGarbage()
  const before = process.memoryUsage()
  const start = process.cpuUsage()
  for (const byte of bytes) take(Buffer.of(byte))
  const { user, system } = process.cpuUsage(start)
  collectGarbage()
  const after = process.memoryUsage()
  const grown = after.heapUsed - before.heapUsed + after.arrayBuffers - before.arrayBuffers
  return { grown, time: (user + system) / 1000 }
}

/** Much less than a Buffer for each takes (some 10 MB), and than walking all again and again (minutes). */
const MEMORY_MAX = 2_500_000
const TIME_MAX = 5_000

function holds(t: Test, { grown, time }: { grown: number, time: number }): void {
  t.ok(grown < MEMORY_MAX, `${grown} bytes of memory`)
  t.ok(time < TIME_MAX, `${time} ms`)
}

void t.test('Redis: an argument, many arguments, and an inline command', (t) => {
  const value = pattern(PIECES)
  const words = Array.from({ length: 10_000 }, (_, i) => `$4\r\n${String(i).padStart(4, '0')}\r\n`)
  const long = Buffer.concat([Buffer.from(`*2\r\n$3\r\nSET\r\n$${PIECES}\r\n`), value])
  const many = Buffer.from(`*10000\r\n${words.join('').slice(0, -2)}`)
  const inline = Buffer.from(`ECHO ${'x'.repeat(60_000)}`)
  for (const bytes of [long, many, inline]) {
    const found: Buffer[][] = []
    const parser = new CommandParser()
    holds(t, feed(bytes, (piece) => { parser.feed(piece, (command) => found.push(command.all())) }))
    t.strictSame(found, [])
    parser.feed(Buffer.from('\r\n*1\r\n$4\r\nPING\r\n*1\r\n$1'), (command) => found.push(command.all()))
    t.equal(found.length, 2)
    t.equal(found[0].length, bytes === many ? 10_000 : 2)
    t.equal(String(found[1][0]), 'PING')
    if (bytes === long) t.ok(found[0][1].equals(value))
  }
  t.end()
})

void t.test('Redis: commands cut anywhere are the same commands', (t) => {
  const text = '*2\r\n$4\r\nECHO\r\n$5\r\nab\r\nc\r\n\r\nPING "a b"\r\n*0\r\n*1\r\n$4\r\nPING\r\nGET x\n'
  const whole: string[][] = []
  new CommandParser().feed(Buffer.from(text), (command) => whole.push(command.all().map(String)))
  t.equal(whole.length, 6)
  const random = randomSource(7)
  let wrong = 0
  for (let round = 0; round < 500; round++) {
    const parser = new CommandParser()
    const found: string[][] = []
    for (let at = 0; at < text.length;) {
      const end = at + 1 + random(round % 20 + 1)
      parser.feed(Buffer.from(text.slice(at, end)), (command) => found.push(command.all().map(String)))
      at = end
    }
    if (JSON.stringify(found) !== JSON.stringify(whole)) wrong++
  }
  t.equal(wrong, 0)
  t.end()
})

void t.test('MQTT: a packet, and its length at most', (t) => {
  const payload = pattern(PIECES)
  const packet = generate({ cmd: 'publish', topic: 'a', payload, qos: 0, retain: false, dup: false })
  const frames = new Frames()
  holds(t, feed(packet.subarray(0, -1), (piece) => {
    if (frames.add(piece).length > 0) throw new Error('it is not whole yet')
  }))
  const both = Buffer.concat([packet.subarray(-1), packet, packet.subarray(0, 3)])
  const whole = frames.add(both)
  t.equal(whole.length, 2 * packet.length)
  const heard: Buffer[] = []
  parser().on('packet', (packet) => heard.push((packet as { payload: Buffer }).payload)).parse(whole)
  t.ok(heard.length === 2 && heard.every((one) => one.equals(payload)))
  t.throws(() => new Frames().add(Buffer.of(0x30, 0xff, 0xff, 0x7f)), /too long/, 'before it has come')
  t.throws(() => new Frames().add(Buffer.of(0x30, 0xff, 0xff, 0xff, 0xff)), /no length/)
  t.end()
})

void t.test('HTTP: a body, in chunks of a byte, too', (t) => {
  const limits = { maxHead: 16_384, maxHeaders: 100, maxBody: 1_048_576 }
  const head = 'POST / HTTP/1.1\r\nHost: x\r\n'
  const body = pattern(PIECES)
  const sized = Buffer.concat([Buffer.from(`${head}Content-Length: ${PIECES}\r\n\r\n`), body])
  const parser = new RequestParser(limits)
  holds(t, feed(sized.subarray(0, -1), (piece) => {
    parser.feed(piece)
    parser.next()
  }))
  parser.feed(sized.subarray(-1))
  t.equal(parser.next(), 'complete')
  t.ok(parser.take().body.equals(body))
  parser.feed(Buffer.from(`${head}Transfer-Encoding: chunked\r\n\r\n`))
  t.equal(parser.next(), 'head')
  holds(t, feed(Buffer.alloc(20_000), () => {
    parser.feed(Buffer.from('1\r\nx\r\n'))
    parser.next()
  }))
  parser.feed(Buffer.from('0\r\n\r\n'))
  t.equal(parser.next(), 'complete')
  t.equal(parser.take().body.toString(), 'x'.repeat(20_000))
  parser.free()
  t.end()
})

void t.test('what is gathered is there, and shows nothing else', (t) => {
  const gather = new Gather()
  holds(t, feed(pattern(PIECES), (piece) => { gather.add(piece) }))
  t.ok(gather.bytes.equals(pattern(PIECES)))
  const taken = gather.take()
  t.ok(taken.equals(pattern(PIECES)))
  t.equal(taken.buffer.byteLength, taken.length)
  t.equal(gather.length, 0)
  t.end()
})
