/** Frames out of pieces, without a socket: however they are cut, and whoever knows where they end. */
import t from 'tap'
import { TcpInput } from '../../src/drivers/tcp-input.js'
import { frameRule, type FrameRule, type FrameMode } from '../../src/transport/seam/framing.js'
import { randomSource } from '../support/util.js'
import { FRAMED, framesOf, streamOf, type Framed } from './frame-modes.js'

const LIMITS = { maxLineLength: 1000, maxFrameLength: 1000 }
const rule = (mode: FrameMode, limits = LIMITS): FrameRule => frameRule('test', 'mode', mode, limits) as FrameRule

function take(input: TcpInput, frames: string[]): void {
  for (let frame = input.takeFrame(); frame !== undefined; frame = input.takeFrame()) frames.push(frame.toString('hex'))
}

/** All frames of a stream in these pieces. */
function cut({ mode }: Framed, pieces: readonly Buffer[], isolates = false): string[] {
  const input = new TcpInput(isolates)
  input.cutBy(rule(mode))
  const frames: string[] = []
  for (const piece of pieces) {
    input.add(piece)
    take(input, frames)
  }
  if (input.waiting !== 0) throw new Error(`${input.waiting} bytes are left`)
  return frames
}

function inPieces(stream: Buffer, random: (below: number) => number, most: number): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0; at < stream.length;) {
    const end = at + 1 + random(most)
    pieces.push(stream.subarray(at, end))
    at = end
  }
  return pieces
}

for (const framed of FRAMED) {
  void t.test(`${framed.name}: every cut, each byte for itself, and random pieces`, (t) => {
    const stream = streamOf(framed)
    const expected = framesOf(framed).join()
    const wrong: string[] = []
    const check = (what: string, pieces: readonly Buffer[], isolates = false): void => {
      const got = cut(framed, pieces.filter(({ length }) => length > 0), isolates).join()
      if (got !== expected) wrong.push(`${what}: ${got}`)
    }
    check('whole', [stream])
    for (let at = 1; at < stream.length; at++) check(`cut at ${at}`, [stream.subarray(0, at), stream.subarray(at)])
    check('byte by byte', inPieces(stream, () => 0, 1))
    const seed = Date.now() % 1_000_000
    const random = randomSource(seed)
    for (let i = 0; i < 200; i++) check(`seed ${seed}, ${i}`, inPieces(stream, random, 30), i % 2 === 0)
    t.strictSame(wrong.slice(0, 5), [])
    t.end()
  })
}

/** Where frames end in a stream; after a CR and an LF, both places. */
function endsOf({ bodies, onWire, mode }: Framed): number[] {
  let at = 0
  return bodies.flatMap((body) => {
    const whole = onWire(body)
    at += whole.length
    return mode.frame === 'lines' && whole.toString().endsWith('\r\n') ? [at - 1, at] : [at]
  })
}

/** Those in a piece: of a CR and an LF, the last one that is in it with the other, or the CR alone. */
function endsIn(stream: Buffer, ends: readonly number[], at: number, end: number): number[] {
  const isPair = (place: number): boolean => stream[place - 1] === 10 && stream[place - 2] === 13
  return ends.filter((place) => {
    if (place <= at || place > end) return false
    if (ends.includes(place + 1) && isPair(place + 1)) return place === end
    return !(ends.includes(place - 1) && isPair(place) && place === at + 1)
  }).map((place) => place - at)
}

void t.test('ends that somebody else tells, by turns with ends that are found here', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const wrong: string[] = []
  for (let round = 0; round < 3000; round++) {
    const framed = FRAMED[random(FRAMED.length)]
    const stream = streamOf(framed)
    const ends = endsOf(framed)
    const input = new TcpInput(random(2) === 0)
    input.cutBy(rule(framed.mode))
    const frames: string[] = []
    let known = false
    for (let at = 0; at < stream.length;) {
      // As a transport does: it takes over where nothing waits here.
      if (!known && input.movable !== undefined && random(2) === 0) known = true
      else if (known && random(4) === 0) known = false
      const end = Math.min(stream.length, at + 1 + random(30))
      const piece = stream.subarray(at, end)
      const within = endsIn(stream, ends, at, end)
      if (!known) input.add(piece)
      else if (within.length === 1 && within[0] === piece.length && random(2) === 0) {
        const frame = input.frameAlone(stream, at, end)
        // An LF that belongs to the line before is no line.
        if (frame === undefined) input.addFrames(piece, within)
        else frames.push(frame.toString('hex'))
      } else input.addFrames(piece, within)
      at = end
      if (random(8) === 0) input.keep()
      if (random(3) > 0) take(input, frames)
      if (known && input.waiting > 0 && random(10) === 0) take(input, frames)
    }
    take(input, frames)
    if (frames.join() !== framesOf(framed).join() || input.waiting !== 0) wrong.push(`${framed.name}: ${frames.join()}`)
  }
  t.strictSame(wrong.slice(0, 5), [])
  t.end()
})

void t.test('modes by turns: each byte comes once', (t) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const modes: (FrameMode | undefined)[] = [
    undefined, { frame: 'fixed', bytes: 3 }, { frame: 'delimiter', delimiter: 'bb', strip: false },
    { frame: 'length', bytes: 1, strip: false, adjust: -96 }, { frame: 'varint', strip: false },
  ]
  let wrong = 0
  for (let round = 0; round < 3000; round++) {
    const input = new TcpInput(random(2) === 0)
    let sent = ''
    let got = ''
    let mode: FrameMode | undefined
    const pull = (): void => {
      try {
        got += (mode === undefined ? input.takeBytes(1 + random(4)) : input.takeFrame())?.toString() ?? ''
      } catch {
        mode = undefined
        input.cutBy(undefined)
      }
    }
    for (let i = random(30); i > 0; i--) {
      const piece = ['a', 'abba', 'bb', 'aaab', 'c'][random(5)]
      sent += piece
      input.add(Buffer.from(piece))
      for (let j = random(3); j > 0; j--) pull()
      if (random(4) === 0) {
        mode = modes[random(modes.length)]
        input.cutBy(mode && rule(mode))
      }
    }
    mode = undefined
    input.cutBy(undefined)
    while (input.waiting > 0) pull()
    if (got !== sent) wrong++
  }
  t.equal(wrong, 0)
  t.end()
})

void t.test('limits: as long as allowed, and one byte more', (t) => {
  const text = (length: number): Buffer => Buffer.alloc(length, 'x')
  const cases: readonly [string, FrameMode, (length: number) => Buffer, RegExp][] = [
    [
      'length', { frame: 'length', bytes: 2, max: 50 }, (n) => Buffer.concat([Buffer.of(0, n), text(n)]),
      /max of the mode/
    ],
    [
      'length, driver', { frame: 'length', bytes: 2 }, (n) => Buffer.concat([Buffer.of(0, n), text(n)]),
      /maxFrameLength/
    ],
    ['varint', { frame: 'varint', max: 50 }, (n) => Buffer.concat([Buffer.of(n), text(n)]), /max of the mode/],
    [
      'delimiter', { frame: 'delimiter', delimiter: 'ab' }, (n) => Buffer.concat([text(n), Buffer.from('ab')]),
      /maxFrameLength/
    ],
    ['lines', { frame: 'lines' }, (n) => Buffer.concat([text(n), Buffer.from('\r\n')]), /maxLineLength/],
    [
      'lines of its own', { frame: 'lines', max: 50 }, (n) => Buffer.concat([text(n), Buffer.from('\r\n')]),
      /max of the mode/
    ],
  ]
  for (const [name, mode, make, limit] of cases) {
    for (const step of [1, 7, 1000]) {
      const feed = (length: number): number => {
        const input = new TcpInput(false)
        input.cutBy(rule(mode, { maxLineLength: 50, maxFrameLength: 50 }))
        const stream = make(length)
        for (let at = 0; at < stream.length; at += step) {
          input.add(stream.subarray(at, at + step))
          const frame = input.takeFrame()
          if (frame !== undefined) return frame.length
        }
        return -1
      }
      t.equal(feed(50), 50, `${name}, ${step} bytes at a time`)
      t.throws(() => feed(51), { code: 'EMSGSIZE', syscall: 'read', message: limit }, `${name}, ${step}`)
    }
  }
  t.end()
})

void t.test('what is no frame', (t) => {
  const cases: readonly [FrameMode, number[], RegExp][] = [
    [
      { frame: 'length', bytes: 1, adjust: -4 }, [3],
      /EPROTO: a length of 3 makes a frame of 0 bytes, and its header has 1/
    ],
    [{ frame: 'length', bytes: 2, inclusive: true }, [0, 1], /EPROTO: a length of 1/],
    [
      { frame: 'length', bytes: 8 }, [255, 255, 255, 255, 255, 255, 255, 255],
      /EMSGSIZE: a frame of 1844674407370955\d+ bytes/
    ],
    [{ frame: 'length', bytes: 8, endian: 'little' }, [0, 0, 0, 0, 0, 0, 0, 128], /EMSGSIZE/],
    [{ frame: 'varint' }, [128, 128, 128, 128, 128, 1], /EPROTO: a varint is longer than 5 bytes/],
    [{ frame: 'varint' }, [255, 255, 255, 255, 127], /EMSGSIZE/],
  ]
  for (const [mode, bytes, message] of cases) {
    for (const step of [1, 100]) {
      const input = new TcpInput(false)
      input.cutBy(rule(mode))
      t.throws(() => {
        for (let at = 0; at < bytes.length; at += step) {
          input.add(Buffer.from(bytes.slice(at, at + step)))
          input.takeFrame()
        }
      }, { message }, `${JSON.stringify(mode)} ${step}`)
    }
  }
  const padded = new TcpInput(false)
  padded.cutBy(rule({ frame: 'varint' }))
  padded.add(Buffer.of(0x82, 0x80, 0, 1, 2))
  t.strictSame(padded.takeFrame(), Buffer.of(1, 2), 'zeros at the front of a varint are allowed')
  t.end()
})

void t.test('work is linear in what came, for delimiters that overlap themselves, too', (t) => {
  const work = (delimiter: string, byte: string, count: number, step: number): number => {
    const input = new TcpInput(false)
    input.cutBy(rule({ frame: 'delimiter', delimiter }, { maxLineLength: 0, maxFrameLength: 2 ** 30 }))
    const piece = Buffer.alloc(step, byte)
    const start = process.cpuUsage()
    for (let at = 0; at < count; at += step) {
      input.add(piece)
      input.takeFrame()
    }
    const { user, system } = process.cpuUsage(start)
    return user + system
  }
  const long = `${'a'.repeat(254)}b`
  const cases = [['aaaab', 'a', 1], [long, 'a', 1], [long, 'a', 1000], ['ab', 'ac', 7]] as const
  for (const [delimiter, bytes, step] of cases) {
    work(delimiter, bytes, 20_000, step)
    const small = work(delimiter, bytes, 100_000, step)
    const large = work(delimiter, bytes, 1_000_000, step)
    const what = `${delimiter.slice(0, 9)} in steps of ${step}`
    t.ok(large < 30 * small + 200_000, `${what}: ${small} us, ten times as much: ${large} us`)
  }
  t.end()
})

void t.test('a frame in pieces takes no more than twice its memory, whatever its length says', (t) => {
  const input = new TcpInput(false)
  input.cutBy(rule({ frame: 'length', bytes: 4 }, { maxLineLength: 0, maxFrameLength: 2 ** 30 }))
  const before = process.memoryUsage().arrayBuffers
  input.add(Buffer.of(0x3f, 0xff, 0xff, 0xff))
  input.takeFrame()
  input.add(Buffer.alloc(1000))
  input.takeFrame()
  t.ok(process.memoryUsage().arrayBuffers - before < 100_000, 'nothing is kept for what has not come')
  t.end()
})

void t.test('what is isolated, and what is joined, has memory of its own', (t) => {
  for (const isolates of [true, false]) {
    const input = new TcpInput(isolates)
    input.cutBy(rule({ frame: 'length', bytes: 1 }))
    const frames: Buffer[] = []
    for (const piece of [[2, 1, 2, 0, 3, 1], [2, 3]]) {
      input.add(Buffer.from(piece))
      for (let frame = input.takeFrame(); frame !== undefined; frame = input.takeFrame()) frames.push(frame)
    }
    t.strictSame(frames, [Buffer.of(1, 2), Buffer.alloc(0), Buffer.of(1, 2, 3)])
    const alone = isolates ? frames : frames.slice(1)
    t.ok(alone.every(({ buffer, length }) => buffer.byteLength === length))
  }
  t.end()
})

void t.test('memory that was detached is an error, not an endless search', (t) => {
  for (const mode of ['lines', undefined] as const) {
    const input = new TcpInput(false)
    input.cutBy(mode && rule({ frame: mode }))
    const data = Buffer.alloc(100, 'x')
    const own = Buffer.from(new ArrayBuffer(100))
    own.set(data)
    input.add(own)
    structuredClone(own.buffer, { transfer: [own.buffer] })
    t.throws(() => (mode === undefined ? input.takeBytes(10) : input.takeFrame()), { code: 'EFAULT', syscall: 'read' })
  }
  t.end()
})

void t.test('what is no mode is told when it is made', (t) => {
  const wrong: readonly [unknown, RegExp][] = [
    ['words', /mode must be 'bytes', 'lines' or an object with a frame/], [{}, /mode must be/], [[], /mode must be/],
    [
      null, /mode must be/], [{ frame: 'words' }, /mode must be/], [{ frame: 'length' },
      /mode\.bytes must be 1, 2, 4 or 8; got undefined/
    ],
    [{ frame: 'length', bytes: 3 }, /mode\.bytes must be 1, 2, 4 or 8; got 3/],
    [
      { frame: 'length', bytes: 4, endian: 'middle' }, /mode\.endian/], [{ frame: 'length', bytes: 4, offset: 256 },
      /mode\.offset/
    ],
    [{ frame: 'length', bytes: 4, adjust: 0.5 }, /mode\.adjust/], [{ frame: 'length', bytes: 4, max: -1 }, /mode\.max/],
    [
      { frame: 'length', bytes: 4, size: 1 }, /unknown option 'size'/], [{ frame: 'length', bytes: 4, strip: 1 },
      /mode\.strip/
    ],
    [{ frame: 'delimiter' }, /mode\.delimiter must be bytes or a string; got undefined/],
    [{ frame: 'delimiter', delimiter: '' }, /mode\.delimiter must be from 1 to 255 bytes long; got 0/],
    [
      { frame: 'delimiter', delimiter: 'x'.repeat(256) }, /mode\.delimiter must be/], [{ frame: 'fixed' },
      /mode\.bytes/
    ],
    [{ frame: 'fixed', bytes: 0 }, /mode\.bytes/], [{ frame: 'lines', strip: false }, /unknown option 'strip'/],
    [{ frame: 'toString' }, /mode must be/],
  ]
  for (const [mode, message] of wrong) t.throws(() => frameRule('f', 'mode', mode, LIMITS), { message })
  t.equal(frameRule('f', 'mode', 'bytes', LIMITS), undefined)
  const delimiter = Buffer.from('ab')
  const made = rule({ frame: 'delimiter', delimiter })
  delimiter.fill('x')
  t.equal(made.delimiter.toString(), 'ab', 'a copy: the program may change its own')
  t.end()
})
