/** Records with values that make no sense are refused where they are made; wildcards may be in every place. */
import t from 'tap'
import * as everything from 'marketplace-native'
import { _, wild } from 'marketplace-native'

interface Constructor {
  (...fields: unknown[]): object
  readonly label: string
  readonly fields: readonly string[]
}

const isConstructor = (value: unknown): value is Constructor =>
  typeof value === 'function' && 'label' in value && 'fields' in value

const constructors = Object.fromEntries(Object.entries(everything).filter(([, value]) => isConstructor(value))) as
  Readonly<Record<string, Constructor>>

const {
  tcpAddress, tcpHandle, tcpListener, unixAddress, unixListener, udpHandle, udpListener, udpRemoteAddress, wsAddress,
  wsHandle, wsListener, fdListener,
} = everything
const [address, listener, handle] = [tcpAddress('host', 1), tcpListener(1), tcpHandle(1)]
const [udp, from] = [udpListener(1), udpRemoteAddress('host', 1)]
const [url, ws] = [wsAddress('ws://host/'), wsListener(1, '/')]
const error = new Error('x')

/** What each of them may be made of, and what not: the field that is wrong, and the values in its place. */
type Case = readonly [right: readonly unknown[], wrong: Readonly<Record<string, unknown[]>>]
const cases: Readonly<Record<string, Case>> = {
  tcpAddress: [['host', 1], { host: [5, '', undefined, address], port: ['80', -1, 65_536, 0.5, NaN, undefined] }],
  tcpListener: [[1], { port: ['80', -1, 65_536, undefined] }],
  unixAddress: [['/path'], { path: [5, '', '\0', 'a\0b', undefined] }],
  unixListener: [['\0name'], { path: [5, '', '\0', undefined] }],
  unixPeer: [[1], { id: ['1', -1] }],
  fdListener: [[3], { fd: ['3', -1] }],
  fdAddress: [[3], { fd: ['3', -1] }],
  tcpCredit: [[0], { amount: [-1, 1.5, Infinity, NaN, '5', undefined] }],
  tcpMode: [['lines'], { mode: ['line', 5, undefined] }],
  tcpListening: [[listener, address], { listener: [1, handle], address: ['host', handle] }],
  tcpProxied: [[address, listener, {}], { source: ['host'], destination: [1] }],
  tcpSecured: [[address, listener, {}], { source: ['host'], destination: [1] }],
  tcpAccepting: [[listener, true], { listener: [1, address], accepting: [1, undefined] }],
  tcpLimits: [[unixListener('/path'), {}], { listener: [1, address], changes: [5, null] }],
  unixListening: [[unixListener('/path')], { listener: ['/path', listener] }],
  fdListening: [[fdListener(3), unixAddress('/path')], { listener: [3], address: ['/path'] }],
  tcpError: [[listener, undefined, error], { local: [1, undefined], remote: ['host', null] }],
  udpRemoteAddress: [['host', 0], { host: [5, ''], port: ['80', -1, 65_536] }],
  udpListener: [[1], { port: ['80', -1, 65_536] }],
  udpBound: [[udpHandle(1), from], { local: [1, listener], address: ['host', address] }],
  udpMembership: [[udp, '224.0.0.9', undefined], { local: [1], group: [5, undefined], networkInterface: [5, null] }],
  udpError: [[udp, undefined, error], { local: [1], remote: ['host', address] }],
  setTimer: [['label', 5, 'relative'], { msecs: ['5', undefined] }],
  timerExpired: [['label', 5], { now: ['5', undefined] }],
  wsAddress: [['wss://host:1/path'], { url: ['http://x', 'host', '', 5, undefined, 'ws://host/#x'] }],
  wsListener: [[1, '/*'], { port: ['80', -1], path: ['path', 5] }],
  wsPeer: [[1, {}], { id: ['1', -1] }],
  wsClose: [[1000, ''], { code: [1, '1000'], reason: [5, 'x'.repeat(200)] }],
  wsClosed: [[1006, '', undefined], { code: ['1006'], reason: [5] }],
  wsCredit: [[1], { amount: [-1, 1.5, '5'] }],
  wsListening: [[ws, url], { listener: [1, listener], address: ['ws://host/', address] }],
  wsConnected: [[wsHandle(1), url, {}], { local: [1, handle], remote: ['ws://host/'] }],
  wsError: [[ws, undefined, error], { local: [1, listener], remote: ['ws://host/', address] }],
  httpRequest: [[_, 'GET', ['users', _], _], { method: [5, '', 'get'], path: ['/users', [], undefined] }],
  httpAnswer: [[[1, 1], 200, {}, ''], {
    id: [undefined, 1, [1], ['1', 1], { id: [1, 1] }], status: [100, '200'],
    headers: [5, ['a'], new Map(), 'text/html'], body: [5, undefined],
  }],
  httpPart: [[[1, 1], everything.eof], { id: [undefined, [1]], part: [5, undefined] }],
  relayNode: [['name'], { node: [5, ''] }],
  workerReady: [['server', 0], { server: [5], worker: ['0', -1] }],
  inspecting: [['http://host/'], { url: [5, undefined] }],
  supervising: [['name'], { supervisor: [5] }],
  childWanted: [['name', 'child'], { supervisor: [5], child: [5] }],
  childReady: [['name', 'child'], { supervisor: [5], child: [5] }],
  stopSupervisor: [['name'], { supervisor: [5] }],
}

/** One for each piece of data; or their fields may be anything. */
const UNCHECKED = [
  'tcpChannel', 'udpPacket', 'wsChannel', 'tcpHandle', 'streamEnd', 'udpHandle', 'wsHandle', 'cancelTimer',
  'timerError', 'question', 'answer', 'answerError',
]

void t.test('each constructor of records is checked, or one of those that take anything', async (t) => {
  t.same(Object.keys(constructors).sort(), [...Object.keys(cases), ...UNCHECKED].sort())
})

void t.test('wildcards may be in every place', async (t) => {
  for (const [name, make] of Object.entries(constructors)) {
    t.doesNotThrow(() => make(...make.fields.map(() => _)), name)
    t.doesNotThrow(() => make(...make.fields.map((field) => wild(field))), name)
    const [right] = cases[name] ?? [make.fields.map(() => 1)]
    make.fields.forEach((field, i) => {
      t.doesNotThrow(() => make(...right.map((value, j) => i === j ? wild('x') : value)), `${name}, ${field}`)
    })
  }
})

/** The error that this throws. */
function thrown(call: () => unknown): Error & { code?: string } {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  return new Error('nothing was thrown')
}

void t.test('what makes no sense is an error that says which field, what was expected, and begins here', async (t) => {
  for (const [name, [right, wrong]] of Object.entries(cases)) {
    const make = constructors[name]
    t.ok(make(...right), name)
    for (const [field, values] of Object.entries(wrong)) {
      for (const value of values) {
        const error = thrown(() => make(...right.map((it, i) => make.fields[i] === field ? value : it)))
        t.match(error.message, new RegExp(`^${name}: ${field} must be .*; got `, 's'))
        t.match(error.code, /^ERR_(INVALID_ARG_TYPE|OUT_OF_RANGE)$/, error.message)
        t.ok(error instanceof (error.code === 'ERR_OUT_OF_RANGE' ? RangeError : TypeError), error.message)
        t.match(/^ +at .*$/m.exec(error.stack ?? '')?.[0], /record-checks\.test\.[jt]s/, error.message)
      }
    }
  }
})
