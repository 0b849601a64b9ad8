/**
 * What programs can ask of drivers, with every value that nobody in his right mind would give: whoever asks
 * may fail, the drivers and everybody else's conversations, timers and sources live on.
 *
 * One table of values, one of actions; each action is done with each value by a process of its own.
 */
import { collectLog } from '../vm/log-records.js'
import { Duplex, PassThrough } from 'node:stream'
import { inspect } from 'node:util'
import t, { type Test } from 'tap'
import {
  _, atMetaLevel, cancelTimer, channelFor, deleteEndpoint, emitterSource, endpoint, eof, eventRelay,
  eventSource, fromChannel, groundVm, isGround as isGroundOrThrows, iterableSource, nestedVm, quit,
  sendFeedback, sendMessage, setTimer, spawn, spy, streamEnd, tcp, tcpAddress, tcpBare,
  tcpChannel, tcpCredit, tcpError,
  tcpHandle, tcpListener, tcpListening, tcpSpy, timerDriver, timerError, timerExpired, timerRelay, transition,
  udp, udpBound, udpHandle, udpListener, udpPacket, udpRemoteAddress,
  wild, yieldTurn, type Action, type ActionTree, type EventSink, type Release,
} from 'marketplace-native'
import { VARIANTS, type Variant } from '../support/transports.js'
import { client, deferred, freePort, until } from '../support/util.js'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import {
  anySetTimer, anyTcpAccepting, anyTcpAddress, anyTcpError, anyTcpListener, anyUdpAddress, anyUdpListener,
  anyUdpMembership, anyUnixAddress, anyUnixListener,
} from '../support/unchecked.js'
import { patient } from '../support/patience.js'

const trap = (): never => { throw new Error('trap') }
const cyclic: unknown[] = ['cyclic']
cyclic.push(cyclic)
let deep: unknown[] = []
for (let i = 0; i < 1500; i++) deep = [deep] // deeper than topics may be
const detached = new Uint8Array(8)
structuredClone(detached, { transfer: [detached.buffer] })

/** Any of them may stand wherever a program can put a value. */
const hostile: Readonly<Record<string, unknown>> = {
  undefined: undefined, null: null, true: true, NaN, 'minus zero': -0, negative: -1, half: 0.5,
  infinite: Infinity,
  huge: 1e308, 'a bigint': 10n, 'no port': 65536, 'a port as text': '80', 'a symbol': Symbol('hostile'), eof,
  'nothing in it': '', 'a zero byte': 'a\0b', 'a long text': 'x'.repeat(1 << 14),
  'half a surrogate': '\ud800',
  'a wildcard': _, 'a named wildcard': wild('x'), 'a wildcard inside': ['a', [_]],
  'a cyclic array': cyclic, 'a deep array': deep, 'a sparse array': new Array(3), 'an empty array': [],
  'a wide array': new Array<number>(2000).fill(1),
  'a function': () => trap(), 'an object': { host: 'x', port: 1 },
  'no prototype': Object.create(null) as object,
  'an instance': new (class Some { get host(): never { return trap() } })(), 'a date': new Date(NaN),
  'a getter that throws': { get length(): never { return trap() }, toString: trap, [inspect.custom]: trap },
  'a proxy of an array': new Proxy([], { get: trap }),
  'a proxy of an object': new Proxy({}, { get: trap, getPrototypeOf: trap }),
  'a revoked proxy': (() => {
    const { proxy, revoke } = Proxy.revocable([], {})
    revoke()
    return proxy
  })(),
  'a proxy of a record': new Proxy(tcpAddress('x', 1), { get: trap }),
  'a proxy of a handle': new Proxy(tcpHandle('x'), {}),
  'detached bytes': detached, 'shared bytes': new Uint8Array(new SharedArrayBuffer(4)),
  'other bytes': new Float64Array(2),
  'a data view': new DataView(new ArrayBuffer(2)), 'an array buffer': new ArrayBuffer(2),
  'an address': anyTcpAddress('', 80), 'a wild address': tcpAddress(_, 1), 'a listener': anyTcpListener(-1),
  'a handle of nothing': tcpHandle(undefined), 'a promise': Promise.resolve(1),
  'an error': new Error('hostile'),
}

/** For handlers of programs here: what meets them with a wildcard or without an end isn't meant for them. */
function isGround(message: unknown): boolean {
  try {
    return isGroundOrThrows(message)
  } catch {
    return false
  }
}

type Any = (value: never) => ActionTree

const fails = (value: unknown): never => { throw value }
const rejects = async (value: unknown): Promise<never> => fails(value)
async function* endsWith(value: unknown): AsyncGenerator {
  yield await Promise.resolve(1)
  fails(value)
}
const source = (activate: (sink: EventSink<unknown>) => unknown): Action =>
  endpoint.subscriber([eventSource('hostile', activate as (sink: EventSink<unknown>) => Release), _])

/** Everything that can be sent to a driver or be wanted of one, with a value in each place. */
const asks: Readonly<Record<string, Any>> = {
  'sendMessage(x)': (x) => [sendMessage(x), sendFeedback(x)],
  'setTimer(x, 1)': (x) => sendMessage(anySetTimer(x, 1, 'relative')),
  'setTimer(l, x)': (x) => sendMessage(anySetTimer('hostile', x, 'relative')),
  'setTimer(l, 1, x)': (x) => sendMessage(anySetTimer('hostile', 1, x)),
  'setTimer(x, x, x)': (x) => sendMessage(anySetTimer(x, x, x)),
  'cancelTimer(x)': (x) => sendMessage(cancelTimer(x)),
  'tcpAddress(x, 80)': (x) => endpoint.publisher(tcpChannel(tcpHandle('h'), anyTcpAddress(x, 80), _)),
  'tcpAddress(h, x)': (x) =>
    endpoint.subscriber(tcpChannel(anyTcpAddress('127.0.0.1', x), tcpHandle('p'), _)),
  'tcpHandle(x)': (x) => endpoint.publisher(tcpChannel(tcpHandle(x), tcpAddress('127.0.0.1', 9), _)),
  'unixAddress(x)': (x) => endpoint.publisher(tcpChannel(tcpHandle('u'), anyUnixAddress(x), _)),
  'tcpListener(x)': (x) => endpoint.subscriber(tcpChannel(_, anyTcpListener(x), _)),
  'unixListener(x)': (x) => endpoint.subscriber(tcpChannel(_, anyUnixListener(x), _)),
  'tcpChannel(x, l, _)': (x) => endpoint.subscriber(tcpChannel(x, tcpListener(0), _)),
  'tcpChannel(_, _, x)': (x) => [sendMessage(tcpChannel(_, _, x)), sendFeedback(tcpChannel(_, _, x))],
  'tcpChannel(x, x, x)': (x) => [sendMessage(tcpChannel(x, x, x)), sendFeedback(tcpChannel(x, x, x))],
  'tcpChannel(listener, _, x)': (x) => sendMessage(tcpChannel(tcpListener(0), _, x)),
  'tcpAccepting(x)': (x) =>
    [sendMessage(anyTcpAccepting(x, true)), sendMessage(anyTcpAccepting(anyTcpListener(x), true))],
  'tcpAccepting(l, x)': (x) => x !== false && sendMessage(anyTcpAccepting(tcpListener(0), x)),
  'tcpError(x, x, x)': (x) => sendMessage(anyTcpError(x, x, x)),
  'udpListener(x)': (x) => endpoint.subscriber(udpPacket(_, anyUdpListener(x), _)),
  'udpHandle(x)': (x) => endpoint.subscriber(udpPacket(_, udpHandle(x), _)),
  'udpPacket(x, x, x)': (x) => sendMessage(udpPacket(x, x, x)),
  'udpPacket(_, a, x)': (x) => sendMessage(udpPacket(_, udpRemoteAddress('127.0.0.1', 9), x)),
  'udpPacket(l, a, x)': (x) => sendMessage(udpPacket(udpListener(0), udpRemoteAddress('127.0.0.1', 9), x)),
  'udpRemoteAddress(x, 9)': (x) => sendMessage(udpPacket(udpListener(0), anyUdpAddress(x, 9), 'u')),
  'udpRemoteAddress(h, x)': (x) =>
    sendMessage(udpPacket(udpListener(0), anyUdpAddress('127.0.0.1', x), 'u')),
  'udpMembership(x, g, i)': (x) => endpoint.subscriber(anyUdpMembership(x, '224.0.0.9', undefined)),
  'udpMembership(l, x, x)': (x) => endpoint.subscriber(anyUdpMembership(udpListener(0), x, x)),
  '[source, x]': (x) => endpoint.subscriber([eventSource('hostile', (sink) => { sink.fire(x) }), _]),
  '[x, _]': (x) => endpoint.subscriber([x, _], { name: 'a source' }),
  'activation that throws x': (x) => source(() => fails(x)),
  'activation that returns x': (x) => source(() => x),
  'release that throws x': (x) => source(() => () => fails(x)),
  'release that rejects with x': (x) => source(() => () => rejects(x)),
  'release that returns x': (x) => source(() => () => x),
  'whenIdle that throws x': (x) => source((sink) => { sink.whenIdle(() => fails(x)) }),
  'onShutdown(x)': (x) => source((sink) => { sink.onShutdown(x) }),
  'emitter that throws x': (x) =>
    endpoint.subscriber([emitterSource({ on: () => fails(x), off: () => fails(x) } as never, 'x'), _]),
  'iterable that throws x': (x) => endpoint.subscriber([iterableSource(endsWith(x)), _]),
  'iterator that returns x': (x) =>
    endpoint.subscriber([iterableSource({ [Symbol.asyncIterator]: () => ({ next: () => x }) } as never), _]),
  'channelFor(d, x, l)': (x) => channelFor(new Duplex({ read: () => undefined }), x, streamEnd('hostile')),
  'fromChannel(x, h)': (x) => {
    const { stream, actions } = fromChannel(x, tcpHandle('hostile'))
    stream.on('error', () => undefined)
    return actions
  },
  'a topic x': (x) => [endpoint.subscriber(['topic', x]), endpoint.publisher(x, { interest: 'observer' })],
  'an endpoint called x': (x) => [endpoint.subscriber('n', { name: x }), deleteEndpoint(x, x)],
  'a peer of all that ends with x': (x) => [
    endpoint.publisher(tcpChannel(_, streamEnd(_), _), { name: 1 }), deleteEndpoint(1, x),
    endpoint.subscriber(tcpChannel(_, tcpListener(_), _), { name: 2 }), deleteEndpoint(2, x),
    endpoint.subscriber(tcpChannel(_, _, _), { name: 3 }), deleteEndpoint(3, x),
    endpoint.subscriber(udpPacket(_, _, _), { name: 4 }), deleteEndpoint(4, x),
    endpoint.subscriber([_, _], { name: 5 }), deleteEndpoint(5, x),
    endpoint.publisher(setTimer(_, _, _), { name: 6 }), deleteEndpoint(6, x),
    endpoint.subscriber(timerExpired(_, _), { name: 7 }), deleteEndpoint(7, x),
  ],
}

/** What a process itself may do with a value: never on behalf of the VM that it is in, which would end. */
const ends: Readonly<Record<string, Any>> = {
  'quit(x)': (x) => [endpoint.publisher(tcpChannel(_, _, _), { interest: 'observer' }), quit(x)],
  'a state x': (x) => transition(x) as never,
  'a handler that throws x': (x) => [endpoint.subscriber('n'), yieldTurn(() => fails(x))],
}

/** What has to do with sockets, and is tried on each transport; the rest is the same on all. */
const SOCKETS = /tcp|unix|udp|channel|peer/i

/** How many processes have tried something. */
let tried = 0

/** Each with each, in a process of its own, which is gone after some turns. */
function fuzz(which: RegExp, outside: boolean): ActionTree {
  const place = (tree: ActionTree): ActionTree => outside ? atMetaLevel(tree as Action) : tree
  const attempt = (name: string, ask: (value: never) => ActionTree): ActionTree =>
    Object.values(hostile).map((value) => spawn(() => {
      tried++
      return [ask(value as never), yieldTurn(() => yieldTurn(() => yieldTurn(() => quit())))]
    }, { name }))
  return [
    chosen(asks, which).map(([name, ask]) => attempt(name, (value) => place(ask(value)))),
    chosen(ends, which).map(([name, end]) => attempt(name, (value) => end(value))),
  ]
}

function chosen(table: Readonly<Record<string, Any>>, which: RegExp): [name: string, ask: Any][] {
  return Object.entries(table).filter(([name]) => which.test(name))
}

/** How many processes `fuzz` starts. */
function attempts(which: RegExp): number {
  return (chosen(asks, which).length + chosen(ends, which).length) * Object.keys(hostile).length
}

/** A user of timers and of a source, who wants to hear of his own and of nothing else. */
function bystander(where: string, ticks: unknown, heard: (what: string) => void): Action {
  const hears = (what: string) => (message: unknown) => { if (isGround(message)) heard(what) }
  return spawn(() => [
    endpoint.subscriber([ticks, _], { onMessage: hears(`${where} tick`) }),
    endpoint.subscriber(timerExpired(where, _), { onMessage: hears(`${where} timer`) }),
    endpoint.subscriber(timerError(where, _), { onMessage: hears(`${where} timer error`) }),
    endpoint.subscriber(['set', where, _], {
      onMessage: (message) =>
        isGround(message) && sendMessage(setTimer(where, message[2] as number, 'relative')),
    }),
  ], { name: where })
}

/** Answers a peer of either driver. */
function echo(peer: Parameters<typeof tcpChannel>[0], here: number): Action {
  const us = tcpListener(here)
  const grant = (): Action => sendFeedback(tcpChannel(peer, us, tcpCredit(100)))
  return spawn(() => [
    endpoint.subscriber(tcpChannel(peer, us, _), {
      onMessage: (message) =>
        isGround(message) && [sendMessage(tcpChannel(us, peer, message.subpacket)), grant()],
      onPresence: grant,
      onAbsence: (_topic, _state, _reason, who) => isGround(who.topic) && quit(),
    }),
    endpoint.publisher(tcpChannel(us, peer, _)),
  ], { name: 'echo' })
}

/** Chooses the backend of what is opened until the end of the test. */
function choose(t: Test, { name }: Variant): 'native' | 'node' {
  const before = process.env['MARKETPLACE_BACKEND']
  t.teardown(() => {
    if (before === undefined) delete process.env['MARKETPLACE_BACKEND']
    else process.env['MARKETPLACE_BACKEND'] = before
  })
  if (name === 'node') return 'node'
  process.env['MARKETPLACE_BACKEND'] = name.replace('native ', '')
  return 'native'
}

async function everybodyLives(
  t: Test, variant: Variant, start: typeof tcp | typeof tcpBare, which: RegExp,
): Promise<void> {
  const transport = choose(t, variant)
  const rejections: unknown[] = []
  const note = (reason: unknown): void => { rejections.push(reason) }
  process.on('unhandledRejection', note)
  const { records, end } = collectLog()
  t.teardown(() => {
    process.off('unhandledRejection', note)
    end()
  })
  // Others take part in what port 0 gives: who leaves a conversation closes it.
  const [here, there] = [await freePort(), await freePort()]
  const heard: unknown[] = []
  const told = new Set<string>()
  const port = deferred<number>()
  const udpPort = deferred<number>()
  const channel = deferred<Duplex>()
  let tick: (n: number) => void = () => undefined
  const ticks = eventSource<number>('ticks', (sink) => {
    tick = (n) => { sink.fire(n) }
    return () => { heard.push('source released') }
  })
  let tell: (action: ActionTree) => void = () => undefined
  const orders = eventSource<ActionTree>('orders', (sink) => { tell = (action) => { sink.fire(action) } })
  const hears = (what: string): void => { heard.push(what) }
  const failure = (what: string) => ({
    onMessage: (message: { error: unknown }) => { if (isGround(message)) told.add(what) },
  })
  const ground = groundVm(() => [
    start({ transport, host: '127.0.0.1' }), udp({ transport, host: '127.0.0.1' }), timerDriver(),
    spy('SPY', { print: () => undefined }), tcpSpy({ print: () => undefined }),
    bystander('ground', ticks, hears),
    nestedVm(() => [
      timerRelay('r'), eventRelay(), bystander('nested', ticks, hears),
      atMetaLevel(endpoint.subscriber(['fuzz', _], {
        onMessage: (message) => isGround(message) && fuzz(which, message[1] === 'outside'),
      })),
      atMetaLevel(endpoint.subscriber(['nested', _], {
        onMessage: (message) => isGround(message) && sendMessage(['set', 'nested', message[1]]),
      })),
    ]),
    endpoint.subscriber(tcpChannel(_, tcpListener(here), _), {
      interest: 'observer',
      onPresence: ({ source: peer }) => tcpAddress.is(peer) ? echo(peer, here) : undefined,
    }),
    endpoint.subscriber(tcpListening(tcpListener(here), _), {
      onPresence: ({ address }) => { port.resolve(address.port) },
    }),
    endpoint.subscriber(udpPacket(_, udpListener(there), _), {
      onMessage: (packet) =>
        isGround(packet) && sendMessage(udpPacket(udpListener(there), packet.source, packet.body)),
    }),
    endpoint.subscriber(udpBound(udpListener(there), _), {
      onPresence: ({ address }) => { udpPort.resolve(address.port) },
    }),
    channelFor(new PassThrough(), streamEnd('echo'), streamEnd('user'), {
      flow: start === tcp ? 'credit' : 'bare',
    }),
    spawn(() => {
      const { stream, actions } = fromChannel(streamEnd('echo'), streamEnd('user'))
      channel.resolve(stream)
      return actions
    }, { name: 'from-channel' }),
    endpoint.subscriber(tcpError(tcpHandle('p'), _, _), failure('no address')),
    endpoint.subscriber(tcpError(anyTcpListener(-1), _, _), failure('no port')),
    endpoint.subscriber(timerError('hostile', _), failure('no time')),
    endpoint.subscriber([orders, _], { onMessage: (order) => isGround(order) ? order[1] : undefined }),
  ])
  const sockets = await Promise.all(Array.from({ length: 4 }, () => port.promise.then((n) => client(n))))
  const stream = await channel.promise
  const ended: unknown[] = []
  for (const duplex of [...sockets, stream]) {
    for (const event of ['end', 'close', 'error']) duplex.on(event, () => ended.push(event))
  }
  const datagrams = createSocket('udp4').bind(0, '127.0.0.1')
  await once(datagrams, 'listening')

  /** Everybody is there and gets what is his. */
  const allIsWell = async (round: string): Promise<void> => {
    for (const duplex of [...sockets, stream]) {
      const answer = once(duplex, 'data') as Promise<[Buffer]>
      duplex.write(round)
      t.equal(String((await answer)[0]), round)
    }
    const answer = once(datagrams, 'message') as Promise<[Buffer]>
    datagrams.send(round, await udpPort.promise, '127.0.0.1')
    t.equal(String((await answer)[0]), round)
    heard.length = 0
    tick(1)
    tell([sendMessage(['set', 'ground', 1]), sendMessage(['nested', 1])])
    await until(() => heard.length >= 4)
    t.same([...heard].sort(), ['ground tick', 'ground timer', 'nested tick', 'nested timer'], round)
  }

  await allIsWell('before')
  // Timers that live through it all, neither called off nor told of by somebody else.
  tell([sendMessage(['set', 'ground', 500]), sendMessage(['nested', 500])])
  heard.length = 0
  tried = 0
  tell([fuzz(which, false), sendMessage(['fuzz', 'inside']), sendMessage(['fuzz', 'outside'])])
  await until(() => tried === 3 * attempts(which) && heard.length >= 2)
  t.same([...heard].sort(), ['ground timer', 'nested timer'], 'long timers expire, and nothing else comes')
  await allIsWell('after')
  t.same(ended, [], 'no connection has ended')
  t.same(rejections, [], 'no unhandled rejections')
  const expected = ['no address', 'no port', ...(which.test('setTimer') ? ['no time'] : [])]
  t.same([...told].sort(), expected, 'who asked is told')
  const drivers =
    /\((tcp|tcpBare|udp|timer|timer-relay|event-relay|(tcp-)?spy|main|ground|nested|echo)\).* (failed|quits)$/
  const endings = records.map(({ message }) => message).filter((message) => drivers.test(message))
  t.same(endings, [], 'nor any driver')
  t.notOk(records.some(({ level }) => level === 'fatal'))
  for (const socket of sockets) socket.destroy()
  datagrams.close()
  await ground.stop()
}

// What has nothing to do with sockets is tried on one of them.
const first = VARIANTS.find(({ skip }) => skip === false)
for (const variant of VARIANTS) {
  for (const start of [tcpBare, tcp]) {
    void t.test(
      `${start.name} on ${variant.name}, and all other drivers`,
      { skip: variant.skip, timeout: patient(60_000) },
      (t) => everybodyLives(t, variant, start, variant === first ? /./ : SOCKETS),
    )
  }
}
