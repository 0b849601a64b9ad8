/**
 * The protocol, RFC 6455, over each carrier: the cases that Autobahn's suite names (framing, pings, reserved bits,
 * opcodes, fragments, UTF-8, closing), and random streams of frames beside a model.
 */
import { _, endpoint, sendMessage, wsChannel, type WsEnd, type WsPeer } from 'marketplace-native'
import { pattern, randomSource, until } from '../support/util.js'
import { onEachCarrier, RawClient, server, type Start, type WsProgram } from './web-socket-program.js'

const TEXT = 1
const BINARY = 2
const CLOSE = 8
const PING = 9
const PONG = 10

function echoServer(start: Start): WsProgram {
  return start((program) => server((them: WsPeer, us: WsEnd) => endpoint.subscriber(wsChannel(them, us, _), {
    ...program.notes('session', ({ message }) => sendMessage(wsChannel(us, them, message))),
  })), { maxPayload: 1024 * 1024 })
}

/** A client, and the program's notes of its connection alone. */
async function opened(program: WsProgram): Promise<RawClient> {
  const url = await program.url()
  await until(() => program.all('session', 'absence').length === program.all('session', 'presence').length)
  program.heard.length = 0
  const raw = await RawClient.open(url)
  await until(() => program.all('session', 'presence').length === 1)
  return raw
}

/** Writes in pieces of such lengths, each of which is a segment of its own if the kernel pleases. */
function inPieces(raw: RawClient, bytes: Buffer, length: () => number): void {
  for (let at = 0; at < bytes.length;) {
    const end = Math.min(bytes.length, at + length())
    raw.socket.write(bytes.subarray(at, end))
    at = end
  }
}

const messagesOf = ({ frames }: RawClient): [number, string][] => frames
  .filter(({ opcode }) => opcode === TEXT || opcode === BINARY)
  .map(({ opcode, payload }) => [opcode, payload.toString('latin1')])

const pongsOf = ({ frames }: RawClient): string[] =>
  frames.filter(({ opcode }) => opcode === PONG).map(({ payload }) => payload.toString('latin1'))

onEachCarrier('framing: messages of all lengths of headers, whole and in pieces', async (t, start) => {
  const raw = await opened(echoServer(start))
  const expected: [number, string][] = []
  for (const length of [0, 1, 125, 126, 127, 128, 65_535, 65_536, 131_072]) {
    for (const opcode of [TEXT, BINARY]) {
      const payload = opcode === TEXT ? Buffer.alloc(length, '*') : pattern(length)
      for (const piece of [Infinity, length < 1000 ? 1 : 997]) {
        inPieces(raw, RawClient.frame(opcode, payload), () => piece)
        expected.push([opcode, payload.toString('latin1')])
      }
    }
  }
  await until(() => raw.frames.length === expected.length)
  t.same(messagesOf(raw), expected)
  t.ok(raw.frames.every(({ fin, rsv }) => fin && rsv === 0))
  raw.destroy()
})

onEachCarrier('pings and pongs: answered with what they have, in order; a pong that nobody asked for is nothing',
  async (t, start) => {
    const program = echoServer(start)
    const raw = await opened(program)
    const payloads = [Buffer.alloc(0), Buffer.from('hello'), Buffer.of(0, 255, 254, 253), Buffer.alloc(125, 0xfe)]
    for (const payload of payloads) raw.send(PING, payload)
    raw.send(PONG, 'unsolicited')
    for (let i = 0; i < 10; i++) inPieces(raw, RawClient.frame(PING, `ping ${i}`), () => i < 5 ? Infinity : 1)
    raw.text('after')
    await until(() => raw.texts.length === 1)
    const numbered = Array.from({ length: 10 }, (_none, i) => `ping ${i}`)
    t.same(pongsOf(raw), [...payloads.map((payload) => payload.toString('latin1')), ...numbered])
    t.same(program.messages('session'), ['after'])
    raw.destroy()
  })

onEachCarrier('fragments: put together, empty ones too, with pings between them', async (t, start) => {
  const program = echoServer(start)
  const raw = await opened(program)
  raw.send(TEXT, 'frag', { fin: false })
  raw.send(PING, 'between')
  await until(() => raw.frames.length === 1)
  t.match(raw.frames[0], { opcode: PONG }, 'answered before the message is whole')
  raw.send(0, 'ment', { fin: false })
  raw.send(0, '', { fin: false })
  raw.send(0, '')
  raw.send(BINARY, '', { fin: false })
  raw.send(0, Buffer.of(1, 2), { fin: false })
  raw.send(PONG, 'nothing')
  raw.send(0, Buffer.of(3))
  raw.send(TEXT, '', { fin: false })
  raw.send(0, '')
  await until(() => raw.frames.length === 4)
  t.same(messagesOf(raw), [[TEXT, 'fragment'], [BINARY, '\x01\x02\x03'], [TEXT, '']])
  raw.destroy()
})

/** Text at the bounds of UTF-8's lengths, and what is valid though it looks strange. */
const VALID = [
  'κόσμε', '\0', '\x7f', '\u0080', '\u07ff', '\u0800', '\ud7ff', '\ue000', '\ufffd', '\uffff', '\u{10000}',
  '\u{10ffff}', '\ufeff', '\u{1f600}', 'a\u0300',
]

onEachCarrier('UTF-8 that is valid, cut at each byte, within a frame and into fragments', async (t, start) => {
  const program = echoServer(start)
  const raw = await opened(program)
  const expected: string[] = []
  for (const text of VALID) {
    const bytes = Buffer.from(text)
    for (let cut = 0; cut <= bytes.length; cut++) {
      raw.send(TEXT, bytes.subarray(0, cut), { fin: false })
      raw.send(0, bytes.subarray(cut))
      expected.push(text)
    }
    inPieces(raw, RawClient.frame(TEXT, bytes), () => 1)
    expected.push(text)
  }
  await until(() => raw.texts.length === expected.length)
  t.same(raw.texts, expected)
  t.same(program.messages('session'), expected)
  raw.destroy()
})

/** Overlong, beyond the last code point, surrogates, and bytes that are alone or nothing. */
const INVALID = [
  [0xc0, 0xaf], [0xe0, 0x80, 0xaf], [0xf0, 0x80, 0x80, 0xaf], [0xf8, 0x80, 0x80, 0x80, 0xaf],
  [0xfc, 0x80, 0x80, 0x80, 0x80, 0xaf], [0xc1, 0xbf], [0xe0, 0x9f, 0xbf], [0xf0, 0x8f, 0xbf, 0xbf],
  [0xf4, 0x90, 0x80, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xed, 0xa0, 0x80], [0xed, 0xbf, 0xbf],
  [0xed, 0xa0, 0x80, 0xed, 0xb0, 0x80], [0x80], [0xbf], [0x80, 0xbf], [0xc3], [0xe2, 0x82], [0xf0, 0x9f, 0x98], [0xfe],
  [0xff], [0xce, 0xba, 0xe1, 0xbd, 0xb9, 0xcf, 0x83, 0xce, 0xbc, 0xce, 0xb5, 0xed, 0xa0, 0x80, 0x65],
]

onEachCarrier('UTF-8 that is not valid: 1007, and nothing is delivered', async (t, start, carrier) => {
  const program = echoServer(start)
  for (const bytes of INVALID) {
    const raw = await opened(program)
    raw.send(TEXT, Buffer.from([0x61, ...bytes]))
    const { code } = await program.reason('session')
    // uWebSockets.js doesn't always say why it has cut somebody off.
    t.ok(code === 1007 || (carrier === 'uws' && code === 1006), `${Buffer.from(bytes).toString('hex')}: ${code}`)
    t.same(program.messages('session'), [])
    raw.destroy()
  }
})

onEachCarrier('closing: each code that may be sent comes back, and is the reason', async (t, start, carrier) => {
  const program = echoServer(start)
  const codes = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999]
  for (const [i, code] of codes.entries()) {
    const raw = await opened(program)
    const why = ['', 'bye', 'ü'.repeat(61) + 'x'][i % 3]
    raw.close(code, why)
    raw.text('too late')
    // uWebSockets.js takes these for invalid.
    const unknown = carrier === 'uws' && code >= 3000 && code < 4000
    if (!unknown) t.same(await raw.closed(), { code, reason: why }, String(code))
    t.match(await program.reason('session'), unknown ? { code: 1006 } : { code, reason: why }, String(code))
    t.same(program.messages('session'), [], 'what comes after a close is nothing')
    await until(() => raw.ended)
    raw.destroy()
  }
  const raw = await opened(program)
  raw.send(CLOSE)
  t.same((await raw.closed())?.code, 1005, 'without a code, the answer has none')
  t.match(await program.reason('session'), { code: 1005 })
  raw.destroy()
  const half = await opened(program)
  half.send(TEXT, 'never ', { fin: false })
  half.close()
  t.match(await program.reason('session'), { code: 1000 }, 'in the middle of a message')
  t.same(program.messages('session'), [])
  half.destroy()
})

onEachCarrier('what must not be sent ends the connection: codes, reserved bits, opcodes', async (t, start) => {
  const program = echoServer(start)
  const wrong: [string, (raw: RawClient) => void][] = []
  for (const code of [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]) {
    wrong.push([`code ${code}`, (raw) => { raw.close(code) }])
  }
  for (let rsv = 1; rsv < 8; rsv++) wrong.push([`bits ${rsv}`, (raw) => { raw.send(BINARY, 'x', { rsv }) }])
  for (const opcode of [3, 4, 5, 6, 7, 11, 12, 13, 14, 15]) {
    wrong.push([`opcode ${opcode}`, (raw) => { raw.send(opcode, 'x') }])
  }
  wrong.push(['a reason that is too long', (raw) => { raw.close(1000, 'x'.repeat(124)) }])
  for (const [what, deed] of wrong) {
    const raw = await opened(program)
    raw.text('before')
    await until(() => raw.texts.length === 1)
    deed(raw)
    raw.text('after')
    const { code } = await program.reason('session')
    t.ok([1002, 1005, 1006].includes(code), `${what}: ${code}`)
    t.same(program.messages('session'), ['before'], `${what}: nothing is delivered any more`)
    await until(() => raw.ended)
    raw.destroy()
  }
})

onEachCarrier('random streams of frames, in random pieces: each message once, in order', async (t, start) => {
  const program = echoServer(start)
  for (const seed of [1, 2, 3, 4]) {
    const below = randomSource(seed)
    const raw = await opened(program)
    const expected: [number, string][] = []
    const pings: string[] = []
    const stream: Buffer[] = []
    const maybePing = (): void => {
      if (below(4) > 0) return
      const payload = Buffer.alloc(below(126), below(256))
      stream.push(RawClient.frame(PING, payload))
      pings.push(payload.toString('latin1'))
    }
    for (let i = 0; i < 150; i++) {
      const opcode = below(2) === 0 ? TEXT : BINARY
      const length = [below(10), below(300), below(70_000)][below(3)]
      const text = VALID[below(VALID.length)]
      const payload = opcode === TEXT ? Buffer.from(text.repeat(Math.ceil(length / 8))) : pattern(length)
      expected.push([opcode, payload.toString('latin1')])
      const cuts = Array.from({ length: below(4) }, () => below(payload.length + 1)).sort((a, b) => a - b)
      const bounds = [0, ...cuts, payload.length]
      for (let part = 1; part < bounds.length; part++) {
        maybePing()
        const last = part === bounds.length - 1
        const piece = payload.subarray(bounds[part - 1], bounds[part])
        stream.push(RawClient.frame(part === 1 ? opcode : 0, piece, { fin: last }))
      }
    }
    inPieces(raw, Buffer.concat(stream), () => 1 + below(below(2) === 0 ? 30 : 100_000))
    await until(() => raw.frames.length === expected.length + pings.length)
    t.same(messagesOf(raw), expected, `seed ${seed}`)
    t.same(pongsOf(raw), pings)
    raw.destroy()
  }
})

onEachCarrier('streams that are damaged anywhere harm nobody else', async (t, start) => {
  const program = echoServer(start)
  const other = await opened(program)
  const url = await program.url()
  const below = randomSource(5)
  for (let round = 0; round < 120; round++) {
    const frames = Array.from({ length: 1 + below(5) }, () =>
      RawClient.frame([0, TEXT, BINARY, CLOSE, PING, PONG][below(6)], pattern(below(200)), {
        fin: below(4) > 0, rsv: below(10) === 0 ? below(8) : 0, masked: below(10) > 0,
      }))
    const bytes = Buffer.concat(frames)
    for (let n = below(6); n > 0; n--) bytes[below(bytes.length)] = below(256)
    const raw = await RawClient.open(url)
    inPieces(raw, bytes.subarray(0, below(bytes.length + 1)), () => 1 + below(100))
    if (below(2) === 0) raw.socket.end()
    else raw.destroy()
  }
  other.text('still there')
  await until(() => other.texts.length === 1)
  await until(() => program.all('session', 'absence').length === program.all('session', 'presence').length - 1)
  t.notOk(program.ended)
  other.destroy()
})
