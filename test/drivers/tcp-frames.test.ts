/**
 * Frames on real sockets: the same streams, cut at every byte, on both backends of the engine and on `node:net`;
 * what is sent, limits, modes that change in the middle, credit, and the ends of streams.
 */
import { Program, Remote, server, type ProgramOptions } from './tcp-program.js'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import {
  _, endpoint, eof, sendFeedback, sendMessage, spawn, tcpAddress, tcpChannel, tcpCredit, tcpHandle,
  tcpListener, tcpMode, unixAddress, unixListener, unixListening, type ActionTree, type FlowMode, type FrameMode,
  type TcpEnd,
} from 'marketplace-native'
import { patient } from '../support/patience.js'
import { VARIANTS } from '../support/variants.js'
import { client, pattern, randomSource, readAll, sleep, until } from '../support/util.js'
import { FRAMED, framesOf, streamOf, type Framed } from './frame-modes.js'

type Start = (boot: (program: Program) => ActionTree, options?: ProgramOptions) => Program

/** Registers a test per transport and backend. */
function onAll(name: string, body: (t: Test, start: Start, variant: string) => Promise<void>): void {
  for (const variant of VARIANTS) {
    void t.test(`${variant.name}: ${name}`, { skip: variant.skip, timeout: patient(60_000) }, async (t) => {
      const before = process.env.MARKETPLACE_BACKEND
      const [transport, backend = ''] = variant.name.split(' ')
      process.env.MARKETPLACE_BACKEND = backend
      const programs: Program[] = []
      t.teardown(async () => {
        await Promise.all(programs.map((program) => program.stop()))
        process.env.MARKETPLACE_BACKEND = before ?? ''
      })
      await body(t, (boot, options = {}) => {
        const program = new Program(boot, transport as 'native' | 'node', { driver: 'tcp', ...options })
        programs.push(program)
        return program
      }, variant.name)
    })
  }
}

/** What a conversation was given, and how a test works it from outside. */
class Session {
  readonly remote = new Remote()
  readonly got: (string | typeof eof)[] = []
  readonly buffers: Buffer[] = []
  accepted = 0
  over = false
  reason: unknown = undefined
  /** Said for each frame. */
  onFrame: ((frame: Buffer) => ActionTree) | undefined

  constructor(readonly them: TcpEnd, readonly us: TcpEnd, readonly first: readonly unknown[] = []) {}

  get port(): number | undefined {
    return (this.them as { readonly port?: number }).port
  }

  feedback(subpacket: unknown): ActionTree {
    return sendFeedback(tcpChannel(this.them, this.us, subpacket as Buffer))
  }

  send(subpacket: unknown): ActionTree {
    return sendMessage(tcpChannel(this.us, this.them, subpacket as Buffer))
  }

  do(...subpackets: unknown[]): void {
    this.remote.do(subpackets.map((subpacket) => this.feedback(subpacket)))
  }

  boot(): ActionTree {
    return [
      this.remote.ear,
      endpoint.subscriber(tcpChannel(this.them, this.us, _), {
        onAbsence: (_topic, _state, reason) => {
          this.over = true
          this.reason = reason
        },
        onMessage: ({ subpacket }) => {
          if (subpacket === eof) this.got.push(eof)
          else {
            this.got.push(subpacket.toString('hex'))
            this.buffers.push(subpacket)
            return this.onFrame?.(subpacket)
          }
          return undefined
        },
      }),
      endpoint.publisher(tcpChannel(this.us, this.them, _), {
        onMessage: ({ subpacket }: { subpacket: unknown }) => {
          if (tcpCredit.is(subpacket)) this.accepted += subpacket.amount
        },
      }),
      this.first.map((subpacket) => this.feedback(subpacket)),
    ]
  }
}

/** A server whose sessions are kept, and a way to connect to it, each time to another session. */
function sessions(start: Start, options: ProgramOptions = {}, first: readonly unknown[] = []) {
  const all: Session[] = []
  const program = start(() => server((them, us) => {
    const session = new Session(them, us, first)
    all.push(session)
    return session.boot()
  }), options)
  const byPort = (port: number): Session | undefined => all.find((session) => session.port === port)
  const open = async (): Promise<{ socket: Socket, session: Session }> => {
    const socket = await client(await program.port())
    socket.on('error', () => undefined)
    const { localPort } = socket
    await until(() => byPort(localPort as number) !== undefined)
    return { socket, session: byPort(localPort as number) as Session }
  }
  return { program, all, open }
}

const hex = (text: string): string => Buffer.from(text).toString('hex')

onAll('every mode: cut at every byte, and byte by byte', async (t, start) => {
  const everyCut = async (framed: Framed): Promise<void> => {
    const stream = streamOf(framed)
    const { program, open } = sessions(start, { mode: framed.mode }, [tcpCredit(1000)])
    const cuts = Array.from({ length: stream.length - 1 }, (_value, i) => i + 1)
    const opened = await Promise.all(cuts.map(open))
    const slow = await open()
    opened.forEach(({ socket }, i) => { socket.write(stream.subarray(0, cuts[i])) })
    for (const byte of stream) {
      slow.socket.write(Buffer.of(byte))
      await sleep(1)
    }
    slow.socket.end()
    opened.forEach(({ socket }, i) => { socket.end(stream.subarray(cuts[i])) })
    const ends = [...opened, slow]
    await until(() => ends.every(({ session }) => session.got.at(-1) === eof || session.over))
    const text = (all: readonly unknown[]): string => all.map(String).join()
    const expected = text([...framesOf(framed), eof])
    const wrong = ends.filter(({ session }) => text(session.got) !== expected)
    const shown = wrong.slice(0, 3).map(({ session }) => text(session.got))
    t.strictSame(shown, [], `${framed.name}: ${ends.length} streams`)
    for (const { socket } of ends) socket.destroy()
    await program.stop()
  }
  // Some at a time: waiting is most of it.
  for (let at = 0; at < FRAMED.length; at += 6) await Promise.all(FRAMED.slice(at, at + 6).map(everyCut))
})

onAll('every mode: in one piece with many others, and by random pieces with little credit', async (t, start) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  for (const framed of FRAMED) {
    const stream = Buffer.concat(Array.from({ length: 20 }, () => streamOf(framed)))
    const expected = Array.from({ length: 20 }, () => framesOf(framed)).flat()
    const buffers = (['owned', 'isolated', 'borrowed'] as const)[random(3)]
    const { program, open } = sessions(start, { mode: framed.mode, buffers })
    const { socket, session } = await open()
    session.onFrame = () => session.feedback(tcpCredit(1 + random(2)))
    const other = await open()
    other.session.do(tcpCredit(1_000_000))
    other.socket.end(stream)
    session.do(tcpCredit(1))
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random(400)
      socket.write(stream.subarray(at, end))
      at = end
      if (random(3) === 0) await sleep(1)
    }
    socket.end()
    await until(() => [session, other.session].every(({ got, over }) => got.at(-1) === eof || over))
    t.equal(session.got.length, expected.length + 1)
    t.ok(session.got.slice(0, -1).join() === expected.join(), `${framed.name} by pieces`)
    t.ok(other.session.got.slice(0, -1).join() === expected.join(), `${framed.name} at once`)
    await program.stop()
  }
})

onAll('every mode: what one end sends, the other gets; the bytes are those of the table', async (t, start) => {
  for (const framed of FRAMED.filter(({ sends }) => sends)) {
    const { mode, bodies, inProgram } = framed
    const { program, open } = sessions(start, { mode })
    const { socket, session } = await open()
    session.remote.do(bodies.map((body) => session.send(inProgram(body))), session.send(eof))
    t.strictSame((await readAll(socket)).toString('hex'), streamOf(framed).toString('hex'), framed.name)
    // What was sent in frames is credited as what it was.
    const sum = bodies.reduce((total, body) => total + inProgram(body).length, 0)
    await until(() => session.accepted >= sum)
    t.equal(session.accepted, sum, 'credit without headers and delimiters')
    await program.stop()
  }
})

onAll('handles and listeners, nested, over TCP and Unix sockets: an echo, framed on both ends', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-frames-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const mode: FrameMode = { frame: 'length', bytes: 2 }
  for (const unix of process.platform === 'linux' ? [false, true] : [false]) {
    for (const depth of [0, 2]) {
      const here = unix ? unixListener(join(folder, `socket-${depth}`)) : tcpListener(0)
      const echo = (them: TcpEnd, us: TcpEnd): ActionTree => [
        endpoint.subscriber(tcpChannel(them, us, _), {
          onMessage: ({ subpacket }) => [
            sendMessage(tcpChannel(us, them, subpacket)), sendFeedback(tcpChannel(them, us, tcpCredit(1))),
          ],
        }),
        sendFeedback(tcpChannel(them, us, tcpCredit(2))),
      ]
      let ready = false
      const program = start(() => [
        endpoint.subscriber(tcpChannel(_, here, _), {
          interest: 'observer', onPresence: ({ source, destination }) => spawn(() => echo(source, destination)),
        }),
        unix && endpoint.subscriber(unixListening(_), { onPresence: () => { ready = true } }),
      ], { mode, depth })
      if (unix) await until(() => ready)
      const there = unix ? unixAddress(join(folder, `socket-${depth}`)) : tcpAddress('127.0.0.1', await program.port())
      const session = new Session(there, tcpHandle('frames'), [])
      const bodies = ['', 'one', 'x'.repeat(5000), 'last'].map((text) => Buffer.from(text))
      let sent = false
      program.do(spawn(() => [
        session.boot(),
        endpoint.subscriber(tcpChannel(there, session.us, _), {
          onPresence: () => {
            if (sent) return undefined
            sent = true
            return [session.feedback(tcpCredit(100)), bodies.map((body) => session.send(body))]
          },
        }),
      ]))
      await until(() => session.got.length >= bodies.length)
      t.strictSame(session.got, bodies.map((body) => body.toString('hex')), `${unix ? 'Unix' : 'TCP'}, ${depth} deep`)
      await program.stop()
    }
  }
})

onAll('a mode for each listener and handle; a function that fails does so for its own connection', async (t, start) => {
  const peer = createServer((socket) => socket.end('a|bc|')).listen(0, '127.0.0.1')
  t.teardown(() => peer.close())
  await once(peer, 'listening')
  const there = tcpAddress('127.0.0.1', (peer.address() as AddressInfo).port)
  const handles = new Map([['bars', 0], ['bytes', 0], ['trap', 0], ['nonsense', 0]])
  const all = [...handles.keys()].map((name) => new Session(there, tcpHandle(name), [tcpCredit(100)]))
  start(() => all.map((session) => spawn(() => session.boot())), {
    mode: (local) => {
      if (!tcpHandle.is(local)) return 'lines'
      if (local.id === 'trap') throw new Error('trapped')
      if (local.id === 'nonsense') return 'nonsense' as FlowMode
      return local.id === 'bars' ? { frame: 'delimiter', delimiter: '|' } : 'bytes'
    },
  })
  // What is said before the connection is there is for nobody.
  await until(() => all.slice(2).every(({ over }) => over))
  t.match(all[2].reason, { message: 'trapped' })
  t.match(all[3].reason, { message: /options\.mode must be 'bytes', 'lines' or/ })
  all[0].do(tcpCredit(100))
  all[1].do(tcpCredit(100))
  await until(() => all.slice(0, 2).every(({ got }) => got.at(-1) === eof))
  t.strictSame(all[0].got, [hex('a'), hex('bc'), eof])
  t.equal(all[1].got.slice(0, -1).join(''), hex('a|bc|'))
})

onAll('too long, or no frame: absence with an error, after the frames before it', async (t, start) => {
  const cases: readonly [FlowMode, string, readonly string[], object][] = [
    [
      { frame: 'length', bytes: 1, max: 5 }, '\x03abc\x06abcdef', ['abc'],
      { code: 'EMSGSIZE', syscall: 'read', message: /a frame of 6 bytes is longer than 5 bytes, which is max of/ }
    ],
    [
      { frame: 'length', bytes: 1 }, '\x03abc\x15', ['abc'],
      { code: 'EMSGSIZE', message: /20 bytes, which is maxFrameLength/ }
    ],
    [{ frame: 'varint' }, '\x03abc\x95\x01', ['abc'], { code: 'EMSGSIZE', message: /maxFrameLength/ }],
    [
      { frame: 'varint' }, '\x01a\x80\x80\x80\x80\x80\x80', ['a'],
      { code: 'EPROTO', message: /a varint is longer than 5 bytes/ }
    ],
    [{ frame: 'length', bytes: 1, inclusive: true }, '\x02a\x00', ['a'], { code: 'EPROTO', message: /a length of 0/ }],
    [
      { frame: 'delimiter', delimiter: '||' }, `ab||${'x'.repeat(21)}`, ['ab'],
      { code: 'EMSGSIZE', message: /longer than 20 bytes, which is maxFrameLength/ }
    ],
    [
      'lines', `ab\r\n${'x'.repeat(11)}`, ['ab'],
      { code: 'EMSGSIZE', message: /a line is longer than 10 bytes, which is maxLineLength/ }
    ],
    [
      { frame: 'lines', max: 3 }, 'ab\nabcd\n', ['ab'],
      { code: 'EMSGSIZE', message: /3 bytes, which is max of the mode/ }
    ],
  ]
  for (const [mode, text, frames, error] of cases) {
    for (const apart of [false, true]) {
      const { program, open } = sessions(start, { mode, maxFrameLength: 20, maxLineLength: 10 })
      const { socket, session } = await open()
      for (const byte of apart ? Buffer.from(text, 'latin1') : []) {
        socket.write(Buffer.of(byte))
        await sleep(1)
      }
      if (!apart) socket.write(Buffer.from(text, 'latin1'))
      await sleep(5)
      t.notOk(session.over, 'nothing is told without credit')
      session.do(tcpCredit(100))
      await until(() => session.over)
      t.strictSame(session.got, frames.map(hex))
      t.match(session.reason, { ...error, address: '127.0.0.1', port: session.port }, JSON.stringify(mode))
      t.equal((await readAll(socket)).length, 0)
      await program.stop()
    }
  }
})

onAll('the end of a stream within a frame is an error; a line may lack its end', async (t, start) => {
  const cases: readonly [FlowMode, string][] = [
    [{ frame: 'length', bytes: 2 }, '\0\x02ab\0\x05abc'], [{ frame: 'length', bytes: 4 }, '\0\0\0\x02ab\0'],
    [{ frame: 'varint' }, '\x02ab\x80'], [{ frame: 'delimiter', delimiter: '||' }, 'ab||cd|'],
    [{ frame: 'fixed', bytes: 2 }, 'abc'],
  ]
  for (const [mode, text] of cases) {
    for (const credit of [100, 1, 0]) {
      const { program, open } = sessions(start, { mode })
      const { socket, session } = await open()
      session.do(tcpCredit(credit))
      socket.end(Buffer.from(text, 'latin1'))
      if (credit === 0) {
        await sleep(10)
        t.notOk(session.over, 'what is whole waits for credit')
      }
      // Without any nothing more may be read, and so the end not be noticed.
      if (credit < 2) session.do(tcpCredit(2))
      await until(() => session.over)
      t.strictSame(session.got, [hex('ab')], 'what is whole is told, and no end')
      const message = /the stream ended within a frame, of which \d+ bytes/
      t.match(session.reason, { code: 'EPROTO', syscall: 'read', message })
      await program.stop()
    }
  }
  const { open } = sessions(start, { mode: 'lines' }, [tcpCredit(100)])
  const { socket, session } = await open()
  socket.end('line\nrest')
  await until(() => session.over)
  t.strictSame(session.got, [hex('line'), hex('rest'), eof])
  t.equal(session.reason, undefined)
})

onAll('what can\'t be sent is told to its sender, and nothing of it is written', async (t, start) => {
  const cases: readonly [FrameMode, Buffer, object][] = [
    [
      { frame: 'length', bytes: 1 }, Buffer.alloc(256),
      { code: 'EMSGSIZE', syscall: 'write', message: /256 bytes are too many for a length of 1 byte/ }
    ],
    [{ frame: 'length', bytes: 2 }, Buffer.alloc(65536), { code: 'EMSGSIZE', message: /a length of 2 bytes/ }],
    [{ frame: 'length', bytes: 1, inclusive: true }, Buffer.alloc(255), { code: 'EMSGSIZE' }],
    [
      { frame: 'length', bytes: 1, adjust: 5 }, Buffer.alloc(4),
      { code: 'EPROTO', message: /would need a length of -1/ }
    ],
    [
      { frame: 'length', bytes: 1, strip: false }, Buffer.of(2, 0),
      { code: 'EPROTO', message: /not one frame with its header/ }
    ],
    [{ frame: 'varint', strip: false }, Buffer.of(2, 0, 0, 0), { code: 'EPROTO' }],
    [{ frame: 'fixed', bytes: 3 }, Buffer.alloc(4), { code: 'EMSGSIZE', message: /4 bytes are no frame of 3 bytes/ }],
    [{ frame: 'fixed', bytes: 3 }, Buffer.alloc(2), { code: 'EPROTO' }],
    [
      { frame: 'delimiter', delimiter: 'ab' }, Buffer.from('xabx'),
      { code: 'EPROTO', message: /the delimiter is in what is to be sent/ }
    ],
    [{ frame: 'delimiter', delimiter: 'aa' }, Buffer.from('xa'), { code: 'EPROTO' }],
    [
      { frame: 'delimiter', delimiter: 'ab', strip: false }, Buffer.from('x'),
      { code: 'EPROTO', message: /with its delimiter/ }
    ],
  ]
  for (const [mode, body, error] of cases) {
    const { program, open } = sessions(start, { mode })
    const { socket, session } = await open()
    session.remote.do(session.send(body))
    t.equal((await readAll(socket)).length, 0, 'nothing was written')
    await until(() => session.over)
    t.match(session.reason, error, JSON.stringify(mode))
    await program.stop()
  }
})

onAll('modes that change in the middle: what came and was not delivered is cut anew', async (t, start) => {
  const { open } = sessions(start)
  const { socket, session } = await open()
  session.do(tcpMode('lines'), tcpCredit(1))
  socket.write('UPGRADE length\r\n\0\x03abc\0\x04defg\x02hi1|2|3|raw bytes')
  await until(() => session.got.length === 1)
  session.do(tcpMode({ frame: 'length', bytes: 2 }), tcpCredit(2))
  await until(() => session.got.length === 3)
  session.do(tcpMode({ frame: 'varint' }), tcpCredit(1))
  await until(() => session.got.length === 4)
  session.do(tcpMode({ frame: 'delimiter', delimiter: '|' }), tcpCredit(3))
  await until(() => session.got.length === 7)
  session.do(tcpMode('bytes'), tcpCredit(3))
  await until(() => session.got.length === 8)
  session.do(tcpMode({ frame: 'fixed', bytes: 2 }), tcpCredit(3))
  await until(() => session.got.length === 11)
  t.strictSame(session.got, ['UPGRADE length', 'abc', 'defg', 'hi', '1', '2', '3', 'raw', ' b', 'yt', 'es'].map(hex))
  // And with the begin of a frame on the way.
  session.do(tcpMode({ frame: 'length', bytes: 1 }), tcpCredit(1))
  socket.write('\x09beg')
  await sleep(20)
  session.do(tcpMode('bytes'), tcpCredit(100))
  await until(() => session.got.slice(11).join('') === hex('\x09beg'))
  socket.write('in')
  await until(() => session.got.slice(11).join('') === hex('\x09begin'))
  session.do(tcpMode({ frame: 'fixed', bytes: 4 }), tcpCredit(1))
  socket.write('abcdef')
  await until(() => session.got.join('').endsWith(hex('abcd')))
  session.do(tcpMode({ frame: 'fixed', bytes: 3 }), tcpCredit(10))
  socket.end('g')
  await until(() => session.over)
  t.strictSame(session.got.slice(-2), [hex('efg'), eof])
})

onAll('a mode that changes for what came in one turn with the end', async (t, start) => {
  const cases = [
    [{ frame: 'fixed', bytes: 4 }, 'AAAABB', ['AAAA', 'BB']],
    [{ frame: 'delimiter', delimiter: ';', max: 4 }, 'AAA;BBBBBBBB', ['AAA', 'BB', 'BB', 'BB', 'BB']],
  ] as const
  for (const [mode, stream, frames] of cases) {
    const { program, open } = sessions(start, { mode }, [tcpCredit(1)])
    const opened = await Promise.all(Array.from({ length: 20 }, open))
    for (const { socket, session } of opened) {
      session.onFrame = () => {
        session.onFrame = undefined
        return [session.feedback(tcpMode({ frame: 'fixed', bytes: 2 })), session.feedback(tcpCredit(100))]
      }
      socket.end(stream)
    }
    await until(() => opened.every(({ session: { got, over } }) => got.at(-1) === eof || over))
    const expected = [[...frames.map(hex), eof], undefined]
    for (const { session } of opened) t.strictSame([session.got, session.reason], expected)
    await program.stop()
  }
})

onAll('lent memory: frames that come in pieces, of many connections, to the byte', async (t, start) => {
  const mode: FrameMode = { frame: 'varint' }
  const { program, open } = sessions(start, { mode: 'lines', buffers: 'borrowed', poison: true }, [tcpCredit(1)])
  const opened = await Promise.all(Array.from({ length: 8 }, open))
  const random = randomSource(1)
  const bodies = Array.from({ length: 60 }, (_value, i) => Buffer.from(pattern(1 + random(400), i)))
  const heads = bodies.map(({ length }) => (length < 128 ? [length] : [(length & 127) | 128, length >> 7]))
  const stream = Buffer.concat(bodies.flatMap((body, i) => [Buffer.from(heads[i]), body]))
  await Promise.all(opened.map(async ({ socket, session }) => {
    session.onFrame = () => [
      session.got.length === 1 && session.feedback(tcpMode(mode)), session.feedback(tcpCredit(1)),
    ]
    socket.write('begin\n')
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random(150)
      socket.write(stream.subarray(at, end))
      at = end
      await sleep(1)
    }
    socket.end()
    await until(() => session.got.at(-1) === eof || session.over)
    t.ok(session.got.slice(1, -1).join() === bodies.map((body) => body.toString('hex')).join(), 'as they were sent')
  }))
  await program.stop()
})

onAll('a mode that changes with frames that wait, and the begin of another one behind them', async (t, start) => {
  for (const mode of [{ frame: 'fixed', bytes: 5 }, 'bytes', { frame: 'length', bytes: 1, adjust: -94 }] as const) {
    const { open } = sessions(start, { mode: { frame: 'delimiter', delimiter: '|' } }, [tcpCredit(1)])
    const { socket, session } = await open()
    socket.write('a|b|xyz')
    await until(() => session.got.length === 1)
    await sleep(5)
    session.do(tcpMode(mode), tcpCredit(100))
    await until(() => session.got.slice(1).join('').endsWith(hex('xyz').slice(mode === 'bytes' ? 0 : -2)))
    t.equal(session.got.slice(1).join(''), mode === 'bytes' || mode.frame === 'fixed' ? hex('b|xyz') : hex('|xyz'))
    socket.destroy()
  }
})

onAll('modes that change at random places, in a stream that comes in random pieces', async (t, start) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const chosen = FRAMED.filter(({ mode }) => mode.frame !== 'lines')
  const { open } = sessions(start)
  await Promise.all(Array.from({ length: 10 }, async (_value, which) => {
    const { socket, session } = await open()
    const parts = Array.from({ length: 12 }, () => chosen[random(chosen.length)])
    const stream = Buffer.concat(parts.map(streamOf))
    const expected = parts.flatMap(framesOf)
    let part = -1
    let left = 0
    const next = (): ActionTree => {
      if (left > 0) return session.feedback(tcpCredit(1))
      if (++part === parts.length) return undefined
      left = parts[part].bodies.length
      return [session.feedback(tcpMode(parts[part].mode)), session.feedback(tcpCredit(1))]
    }
    session.onFrame = () => {
      left--
      return next()
    }
    session.remote.do(next())
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random(random(3) === 0 ? 2000 : 40)
      socket.write(stream.subarray(at, end))
      at = end
      if (random(2) === 0) await sleep(1)
    }
    await until(() => session.over || session.got.length >= expected.length)
    t.ok(session.got.join() === expected.join(), `stream ${which}: ${parts.map(({ name }) => name).join(', ')}`)
    socket.destroy()
  }))
})

onAll('credit counts frames; without it, little is taken in, and the sender waits', async (t, start) => {
  const { program, open } = sessions(start, { mode: { frame: 'length', bytes: 4 } })
  const { socket, session } = await open()
  const body = pattern(100)
  const frame = Buffer.concat([Buffer.of(0, 0, 0, 100), body])
  const many = Buffer.concat(Array.from({ length: 200_000 }, () => frame))
  socket.write(many)
  await sleep(50)
  t.strictSame(session.got, [])
  session.do(tcpCredit(3))
  await until(() => session.got.length === 3)
  await sleep(30)
  t.equal(session.got.length, 3)
  t.ok(program.transports[0].metrics.bytesIn < many.length / 4, `${program.transports[0].metrics.bytesIn} bytes`)
  session.got.length = 0
  session.do(tcpCredit(1_000_000))
  socket.end()
  await until(() => session.got.length === 200_000 - 3 + 1)
  t.equal(session.got.at(-1), eof)
  t.ok(session.buffers.every((each) => each.equals(body)))
})

onAll('frames of any length, whole and in pieces, to the byte', async (t, start) => {
  const seed = Date.now() % 1_000_000
  t.comment(`seed ${seed}`)
  const random = randomSource(seed)
  const length = { frame: 'length', bytes: 4 } as const
  const modes = [length, { frame: 'varint' }, { frame: 'delimiter', delimiter: 'aaaab' }] as const
  for (const mode of modes) {
    const { program, open } = sessions(start, { mode }, [tcpCredit(1000)])
    const { socket, session } = await open()
    const sizes = [0, 1, 2047, 2048, 2049, 16383, 16384, 16385, 65536, 131072, 300_000, 1024 * 1024, 5, 0]
      .concat(Array.from({ length: 30 }, () => random(40_000)))
    const bodies = sizes.map((size, i) => Buffer.from(pattern(size, i + 1).map((byte) => byte & 0x1f)))
    const wire = bodies.map((body) => {
      if (mode.frame === 'delimiter') return Buffer.concat([body, Buffer.from('aaaab')])
      const head = Buffer.alloc(4)
      head.writeUInt32BE(body.length)
      if (mode.frame === 'length') return Buffer.concat([head, body])
      const varint: number[] = []
      let rest = body.length
      for (; rest > 127; rest = Math.floor(rest / 128)) varint.push(rest % 128 + 128)
      return Buffer.concat([Buffer.from([...varint, rest]), body])
    })
    const stream = Buffer.concat(wire)
    for (let at = 0; at < stream.length;) {
      const end = at + 1 + random([10, 3000, 100_000][random(3)])
      if (!socket.write(stream.subarray(at, end))) await once(socket, 'drain')
      at = end
      if (random(4) === 0) await sleep(1)
    }
    socket.end()
    await until(() => session.over)
    t.equal(session.reason, undefined)
    t.equal(session.buffers.length, bodies.length)
    t.ok(session.buffers.every((each, i) => each.equals(bodies[i])), mode.frame)
    await program.stop()
  }
})

onAll('half-close: frames after our own end, and ours after theirs', async (t, start) => {
  const { open } = sessions(start, { mode: { frame: 'length', bytes: 1 }, allowHalfOpen: true }, [tcpCredit(100)])
  const ours = await open()
  ours.session.remote.do(ours.session.send(Buffer.from('bye')), ours.session.send(eof))
  t.equal((await readAll(ours.socket)).toString(), '\x03bye')
  ours.socket.write('\x02a')
  await sleep(5)
  ours.socket.end('b\x01c')
  await until(() => ours.session.over)
  t.strictSame(ours.session.got, [hex('ab'), hex('c'), eof])
  const theirs = await open()
  theirs.socket.end('\x01x')
  await until(() => theirs.session.got.length === 2)
  theirs.session.remote.do(theirs.session.send(Buffer.from('late')), theirs.session.send(eof))
  t.equal((await readAll(theirs.socket)).toString(), '\x04late')
})

onAll('one mode for what comes, and another for what goes', async (t, start) => {
  const { open } = sessions(start, { mode: 'lines' }, [tcpCredit(100)])
  const { socket, session } = await open()
  session.remote.do(
    session.send(Buffer.from('as it is\n')), session.send(tcpMode({ frame: 'length', bytes: 1 })),
    session.send(Buffer.from('framed')), session.send(tcpMode('bytes')), session.send(Buffer.from('raw')),
    session.send(eof),
  )
  socket.write('a line\n')
  t.equal((await readAll(socket)).toString(), 'as it is\n\x06framedraw')
  await until(() => session.got.length === 1)
  t.strictSame(session.got, [hex('a line')])
  await until(() => session.accepted === 18)
  const refused = await open()
  refused.session.remote.do(refused.session.send(tcpCredit(5)))
  await until(() => refused.session.over)
  t.match(refused.session.reason, { message: /a subpacket can't be/ })
})

onAll('a peer that ends a connection in mid-frame by a reset costs nobody else anything', async (t, start) => {
  const { open } = sessions(start, { mode: { frame: 'length', bytes: 4 } }, [tcpCredit(100)])
  const [bad, good] = [await open(), await open()]
  bad.socket.write(Buffer.of(0, 0, 1, 0, 1, 2, 3))
  await sleep(10)
  bad.socket.resetAndDestroy()
  await until(() => bad.session.over)
  t.match(bad.session.reason, { code: 'ECONNRESET' })
  good.socket.end(Buffer.of(0, 0, 0, 1, 7))
  await until(() => good.session.over)
  t.strictSame(good.session.got, ['07', eof])
  t.equal(good.session.reason, undefined)
})
