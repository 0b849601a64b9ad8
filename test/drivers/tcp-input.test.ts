/** Lines and bytes out of pieces: however they are cut, and whatever the mode was before. */
import t from 'tap'
import { TcpInput } from '../../src/drivers/tcp-input.js'
import { FrameRule } from '../../src/transport/seam/framing.js'
import { collectGarbage, randomSource } from '../support/util.js'

const MAX = 1000

function lineRule(max: number): FrameRule {
  return new FrameRule({ frame: 'lines' }, { maxLineLength: max, maxFrameLength: 0 })
}

function lineInput(max: number, isolates: boolean): TcpInput {
  const input = new TcpInput(isolates)
  input.cutBy(lineRule(max))
  return input
}

/** All lines of a text whose pieces are these; then what has no end. */
function linesOf(pieces: readonly Buffer[], isolates = false): string[] {
  const input = lineInput(MAX, isolates)
  const lines: string[] = []
  for (const piece of pieces) {
    input.add(piece)
    for (let line = input.takeFrame(); line !== undefined; line = input.takeFrame()) lines.push(line.toString())
  }
  const last = input.takeLast()
  if (last !== undefined) lines.push(last.toString())
  if (input.waiting !== 0) throw new Error(`${input.waiting} bytes are left`)
  return lines
}

/** What the pieces of a text have to give. */
function expectedLines(text: string): string[] {
  const lines = text.split(/\r\n|\n|\r/)
  if (lines.at(-1) === '') lines.pop()
  return lines
}

void t.test('two cuts at any two bytes of a text with each sort of line end beside each other', (t) => {
  for (const text of ['a\nb\r\nc\rd', '\r\n\r\n', '\n\r\r\n\n', 'x\r', 'x\r\n', 'x', '\r\r\n\ny\n\r']) {
    const bytes = Buffer.from(text)
    for (let first = 0; first <= bytes.length; first++) {
      for (let second = first; second <= bytes.length; second++) {
        const pieces = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
        const found = JSON.stringify(linesOf(pieces.filter(({ length }) => length > 0)))
        if (found === JSON.stringify(expectedLines(text))) continue
        t.fail(`${JSON.stringify(text)} at ${first} and ${second}: ${found}`)
      }
    }
    t.pass(JSON.stringify(text))
  }
  t.end()
})

void t.test('random texts, cut at random', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  let wrong = 0
  for (let round = 0; round < 2000; round++) {
    let text = ''
    for (let i = random(30); i > 0; i--) text += 'xyz'.slice(random(4)) + ['\n', '\r\n', '\r', ''][random(4)]
    const bytes = Buffer.from(text)
    const pieces: Buffer[] = []
    for (let at = 0; at < bytes.length;) {
      const end = at + 1 + random(6)
      pieces.push(bytes.subarray(at, end))
      at = end
    }
    const lines = linesOf(pieces, random(2) === 0)
    if (JSON.stringify(lines) !== JSON.stringify(expectedLines(text))) {
      wrong++
      t.comment(`${JSON.stringify(text)} in ${pieces.map(String).join('|')}: ${JSON.stringify(lines)}`)
    }
  }
  t.equal(wrong, 0)
  t.end()
})

void t.test('bytes and lines by turns, in mid-line too: each byte comes once, in order', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  let wrong = 0
  for (let round = 0; round < 2000; round++) {
    const input = lineInput(MAX, random(2) === 0)
    let sent = ''
    let got = ''
    const take = (all: boolean): void => {
      for (let i = all ? 1000 : random(5); i > 0; i--) {
        if (all || random(2) === 0) {
          input.cutBy(undefined)
          got += input.takeBytes(1 + random(4))?.toString() ?? ''
        } else {
          input.cutBy(lineRule(MAX))
          got += input.takeFrame()?.toString() ?? ''
        }
        if (random(8) === 0) input.keep()
      }
    }
    for (let i = random(20); i > 0; i--) {
      const piece = ['a', 'bc\n', 'd\r', '\n', 'efg', '\r\n', 'h\ri\r\nj'][random(7)]
      sent += piece
      input.add(Buffer.from(piece))
      take(false)
    }
    take(true)
    // Line ends are there or not, by how they were taken; the rest is.
    const plain = (text: string): string => text.replace(/[\r\n]/g, '')
    if (plain(got) !== plain(sent) || input.waiting !== 0) wrong++
  }
  t.equal(wrong, 0)
  t.end()
})

void t.test('100,000 pieces of a byte cost as much at the end as at the beginning', (t) => {
  const input = lineInput(200_000, false)
  const piece = Buffer.from('x')
  const microseconds = (count: number): number => {
    const start = process.cpuUsage()
    for (let i = 0; i < count; i++) {
      input.add(piece)
      input.takeFrame()
    }
    const { user, system } = process.cpuUsage(start)
    return user + system
  }
  microseconds(1000)
  const early = microseconds(5000)
  microseconds(90_000)
  const late = microseconds(5000)
  // Walking all that came before took a millisecond for each.
  t.ok(late < 10 * early + 100_000, `5,000 pieces: ${early} us at first, ${late} us at last`)
  t.equal(input.waiting, 101_000)
  t.end()
})

void t.test('the begin of a line takes at most twice as much memory as a line may have', (t) => {
  const most = 1024 * 1024
  const input = lineInput(most, false)
  collectGarbage()
  const before = process.memoryUsage()
  for (let i = 0; i < most; i++) {
    input.add(Buffer.from('x'))
    input.takeFrame()
  }
  collectGarbage()
  const after = process.memoryUsage()
  const grown = after.arrayBuffers - before.arrayBuffers + Math.max(0, after.heapUsed - before.heapUsed)
  t.ok(grown <= 2 * most + 512 * 1024, `${grown} bytes for ${most}`)
  input.add(Buffer.from('x'))
  const message = /a line is longer than 1048576 bytes, which is maxLineLength/
  t.throws(() => input.takeFrame(), { code: 'EMSGSIZE', message })
  t.end()
})

void t.test('many lines with CR only in one piece: each byte is looked at once', (t) => {
  const input = lineInput(MAX, false)
  const start = process.cpuUsage()
  // Looking for the next LF for each of them would be 10 to the 11 bytes.
  const count = 1_000_000
  input.add(Buffer.from('\r'.repeat(count)))
  let lines = 0
  while (input.takeFrame() !== undefined) lines++
  const { user } = process.cpuUsage(start)
  t.equal(lines, count)
  t.ok(user < 5_000_000, `${user} us`)
  t.end()
})

void t.test('what is isolated has an ArrayBuffer of its own, exactly as long', (t) => {
  const input = lineInput(MAX, true)
  const pieces: Buffer[] = []
  input.add(Buffer.from('abc\ndef\r\nbegin '))
  pieces.push(input.takeFrame() as Buffer, input.takeFrame() as Buffer)
  t.equal(input.takeFrame(), undefined)
  input.add(Buffer.from('and end\nbytes'))
  pieces.push(input.takeFrame() as Buffer)
  input.cutBy(undefined)
  pieces.push(input.takeBytes(2) as Buffer, input.takeBytes(100) as Buffer)
  t.strictSame(pieces.map(String), ['abc', 'def', 'begin and end', 'by', 'tes'])
  t.strictSame(pieces.map(({ buffer }) => buffer.byteLength), pieces.map(({ length }) => length))
  t.equal(new Set(pieces.map(({ buffer }) => buffer)).size, pieces.length)
  t.end()
})

void t.test('a line that came in pieces shows no memory but its own, isolated or not', (t) => {
  const input = lineInput(MAX, false)
  input.add(Buffer.from('begin '))
  input.takeFrame()
  input.add(Buffer.from('end\n'))
  const line = input.takeFrame() as Buffer
  t.equal(line.toString(), 'begin end')
  t.equal(line.buffer.byteLength, line.length)
  t.end()
})

void t.test('what comes may pass by only if there is nothing before it, nor an LF that belongs to a CR', (t) => {
  const input = lineInput(MAX, false)
  t.ok(input.passes)
  input.add(Buffer.from('a\r'))
  t.notOk(input.passes, 'something waits')
  t.equal(String(input.takeFrame()), 'a')
  t.notOk(input.passes, 'an LF would be dropped')
  input.add(Buffer.from('\nb'))
  input.cutBy(undefined)
  t.equal(String(input.takeBytes(9)), 'b')
  t.ok(input.passes)
  t.end()
})
