/** How conversations end: what may not be sent, eof in both directions, half-open connections. */
import { host, onBoth, Remote, type Program } from './tcp-program.js'
import { once } from 'node:events'
import { createConnection, type Socket } from 'node:net'
import {
  _, abort, deleteEndpoint, endpoint, eof, quit, sendMessage, spawn, tcpChannel, tcpCredit, tcpListener, yieldTurn,
  type ActionTree, type SocketError, type TcpChannel, type TcpEnd,
} from 'marketplace-native'
import { client, pattern, readAll, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'

/** A session that does what it is told, and what a test has it do with each message. */
class Session {
  readonly remote = new Remote()
  readonly #program: Program
  readonly #react: (subpacket: TcpChannel['subpacket'], session: Session) => ActionTree
  #ends: { readonly them: TcpEnd, readonly us: TcpEnd } | undefined

  constructor(program: Program, react: (subpacket: TcpChannel['subpacket'], session: Session) => ActionTree) {
    this.#program = program
    this.#react = react
  }

  send(subpacket: unknown): ActionTree {
    return this.#ends && sendMessage(tcpChannel(this.#ends.us, this.#ends.them, subpacket as Buffer))
  }

  serve(): ActionTree {
    return endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => {
        this.#ends = { them, us }
        return spawn(() => [
          this.remote.ear,
          endpoint.subscriber(tcpChannel(them, us, _), this.#program.notes('in', ({ subpacket }) =>
            this.#react(subpacket, this))),
          endpoint.publisher(tcpChannel(us, them, _), this.#program.notes('out')),
        ])
      },
    })
  }
}

type Reaction = (subpacket: TcpChannel['subpacket'], session: Session) => ActionTree
type StartSession = (react?: Reaction, options?: object) => Promise<[Program, Session, Socket]>

function onBothWithSession(
  name: string, body: (t: Parameters<Parameters<typeof onBoth>[1]>[0], open: StartSession) => Promise<void>,
): void {
  onBoth(name, (t, start) => body(t, async (react = () => undefined, options = {}) => {
    const sessions: Session[] = []
    const program = start((p) => {
      sessions.push(new Session(p, react))
      return sessions[0].serve()
    }, options)
    const socket = await client(await program.port())
    t.teardown(() => socket.destroy())
    socket.on('error', () => undefined)
    await until(() => program.all('in', 'presence').length === 1)
    return [program, sessions[0], socket]
  }))
}

onBothWithSession('a subpacket that means nothing ends the connection, and is named', async (t, open) => {
  const illegal: readonly (readonly [unknown, RegExp])[] = [
    [5, /5/], [null, /null/], [[1, 2], /\[ ?1, 2 ?\]/], [{ a: 1 }, /a: 1/],
    [tcpCredit(3), /credit.*3/], [new Uint16Array(2), /Uint16Array/], [Symbol('eof'), /Symbol\(eof\)/],
  ]
  for (const [subpacket, text] of illegal) {
    const [program, session, socket] = await open()
    session.remote.do(session.send('before '), session.send(subpacket), session.send('after'))
    const reason = await program.reason('in') as Error
    t.type(reason, TypeError)
    t.match(reason.message, text)
    t.equal(await program.reason('out'), reason, 'both flows have the same reason')
    t.equal((await readAll(socket)).toString(), 'before ', 'closed, after what was sent before')
    t.ok(program.log.some(({ level, fields }) => level === 'warning' && fields['reason'] === reason))
  }
})

onBothWithSession('no subpacket at all sends nothing, and ends nothing', async (t, open) => {
  const [program, session, socket] = await open()
  session.remote.do(session.send('before '), session.send(undefined), session.send(undefined), session.send('after'))
  session.remote.do(session.send(eof))
  t.equal((await readAll(socket)).toString(), 'before after')
  const warnings = program.log.filter(({ level, message }) => level === 'warning' && message.includes('sends nothing'))
  t.equal(warnings.length, 1)
})

onBothWithSession('data after the program\'s own eof: EPIPE', async (t, open) => {
  const [program, session, socket] = await open()
  session.remote.do(session.send('all'), session.send(eof), session.send(eof))
  t.equal((await readAll(socket)).toString(), 'all')
  t.strictSame(program.all('in', 'absence'), [], 'eof twice is no error, the inbound flow is open')
  socket.write('go on')
  await until(() => program.bytes('in').toString() === 'go on')
  session.remote.do(session.send('too late'))
  const reason = await program.reason('in') as SocketError
  t.match(reason, { code: 'EPIPE', syscall: 'write' })
  t.ok(reason.errno < 0)
  t.equal(await program.reason('out'), reason)
  t.match(reason, { address: host, port: socket.localPort })
})

const ask = [deleteEndpoint('nobody')]

onBothWithSession('what is sent in reaction to the peer\'s eof is delivered', async (t, open) => {
  const bytes = pattern(5 * 1024 * 1024)
  const reactions: readonly [string, Reaction][] = [
    ['at once', (_subpacket, session) => session.send(bytes)],
    ['some turns later', (_subpacket, session) => [
      ask, yieldTurn(() => yieldTurn(() => yieldTurn(() => session.send(bytes)))),
    ]],
    ['by another process', (_subpacket, session) => spawn(() => spawn(() => session.send(bytes)))],
    ['and quits', (_subpacket, session) => [session.send(bytes), quit('done')]],
    ['with its own eof', (_subpacket, session) => [session.send(bytes), session.send(eof)]],
  ]
  for (const [name, react] of reactions) {
    const [program, , socket] = await open((subpacket, session) =>
      subpacket === eof && react(subpacket, session))
    socket.end('question')
    await sleep(20)
    t.ok((await readAll(socket)).equals(bytes), name)
    await until(() => program.connections === 0)
    t.equal(program.bytes('in').toString(), 'question')
  }
})

onBothWithSession('without a reaction the peer\'s eof closes the connection, in order', async (t, open) => {
  const [program, , socket] = await open()
  socket.end('last')
  t.equal((await readAll(socket)).length, 0)
  await until(() => program.all('out', 'absence').length === 1)
  t.equal(await program.reason('in'), undefined)
  const heard = program.heard.filter(({ who }) => who === 'in').map(({ what, topic }) =>
    (what === 'message' && topic.subpacket === eof ? 'eof' : what))
  t.equal(heard.join(' ').replace(/(message )+/, 'message '), 'presence message eof absence')
})

onBothWithSession('allowHalfOpen: the outbound flow is open until the program ends it', async (t, open) => {
  for (const end of ['eof', 'delete', 'quit'] as const) {
    const [program, session, socket] = await open(undefined, { allowHalfOpen: true })
    socket.end('question')
    const answer = readAll(socket)
    await until(() => program.all('in', 'message').some(({ topic }) => topic.subpacket === eof))
    for (const part of ['later ', 'and ', 'later ']) {
      await sleep(20)
      session.remote.do(session.send(part))
    }
    t.strictSame(program.all('in', 'absence'), [])
    if (end === 'eof') session.remote.do(session.send('end'), session.send(eof))
    if (end === 'delete') session.remote.do(session.send('end'), deleteEndpoint('in'), deleteEndpoint('out'))
    if (end === 'quit') session.remote.do(session.send('end'), quit())
    t.equal((await answer).toString(), 'later and later end', end)
    await until(() => program.connections === 0)
    if (end === 'eof') t.equal(await program.reason('in'), undefined)
  }
})

onBothWithSession('after the program\'s eof the peer\'s closes the connection', async (t, open) => {
  const [program, session, socket] = await open()
  session.remote.do(session.send(eof))
  t.equal((await readAll(socket)).length, 0)
  await sleep(30)
  t.equal(program.connections, 1, 'the peer may still send')
  socket.end('to the end')
  t.equal(await program.reason('in'), undefined)
  t.equal(program.bytes('in').toString(), 'to the end')
  await until(() => program.connections === 0)
})

onBothWithSession('halfCloseTimeout: a peer that does not end is reset', async (t, open) => {
  const [program, session, socket] = await open(undefined, { halfCloseTimeout: 100 })
  session.remote.do(session.send('bye'), session.send(eof))
  const begin = performance.now()
  socket.write('x')
  socket.resume()
  await program.reason('in')
  const waited = performance.now() - begin
  t.ok(waited > 90 && waited < patient(3000), `${waited} ms`)
  t.equal(program.connections, 0)
  // Having seen the end, the client notices the reset when it writes.
  await until(() => !socket.write('y') || socket.destroyed)

  const [second, polite, friend] = await open(undefined, { halfCloseTimeout: 100 })
  polite.remote.do(polite.send(eof))
  friend.resume().end()
  t.equal(await second.reason('in'), undefined, 'who ends in time ends in order')
})

onBothWithSession('a session that goes closes its connection after what it sent', async (t, open) => {
  const bytes = pattern(3 * 1024 * 1024)
  for (const gone of [deleteEndpoint('in'), deleteEndpoint('out'), quit(new Error('crash'))]) {
    const [program, session, socket] = await open()
    session.remote.do(session.send(bytes), gone)
    await sleep(20)
    t.ok((await readAll(socket)).equals(bytes))
    await until(() => program.connections === 0)
  }
})

onBoth('who spawns sessions can end the connection of one that does not boot', async (t, start) => {
  const program = start(() => endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => { throw new Error('boot') }, {
      parent: (_pid, _state, failure) => failure !== undefined && sendMessage(tcpChannel(us, them, abort)),
    }),
  }))
  // It may come so soon that the connect itself fails by it.
  const socket = createConnection(await program.port(), host)
  const [error] = await once(socket, 'error') as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNRESET')
  await until(() => program.connections === 0)
})
