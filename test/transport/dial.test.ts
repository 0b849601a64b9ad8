/** How outbound connections are tried: several addresses, limits of time, lookups of the program's own. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { blackHole } from '../support/black-hole.js'
import { onEveryTransport, type Station } from '../support/transports.js'
import { deferred, missing, until } from '../support/util.js'
import { Dial } from '../../src/transport/seam/dial.js'
import { socketError } from '../../src/support/errors.js'
import type {
  ConnectOptions, Lookup, SocketAddress, SocketError, TransportConnection,
} from '../../src/transport/seam/transport.js'

const NEVER = 0x7fffffff
const noHoles = process.platform === 'linux' ? missing('python3') : 'only Linux is known to drop them'

/** A lookup that finds these addresses. */
const found = (...addresses: string[]): Lookup => (_host, _options, callback) => {
  callback(null, addresses.map((address) => ({ address, family: address.includes(':') ? 6 : 4 })))
}

/** A server that listens on 127.0.0.1 only, so that other loopback addresses refuse its port. */
async function listen(t: Test): Promise<number> {
  const server = createServer((socket) => socket.on('error', () => undefined).resume())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

/** Connects; the peer's address, or the error. */
function outcome(station: Station, options: Partial<ConnectOptions>): Promise<string | SocketError> {
  return new Promise((resolve) => {
    station.connect({ host: 'somewhere.invalid', port: 1, ...options }, {
      connected: (connection) => {
        resolve(connection.remote?.address ?? '')
        connection.close()
      },
      closed: (_connection, error) => { resolve(error ?? 'closed') },
    })
  })
}

interface Attempted {
  readonly dial: Dial
  readonly tried: string[]
  readonly givenUp: number[]
  readonly failed: Promise<SocketError>
}

/** A dial whose attempts hang, but for those that `refuse` says. */
function attempted(options: Partial<ConnectOptions>, refuse: (address: string) => boolean): Attempted {
  const failed = deferred<SocketError>()
  const tried: string[] = []
  const givenUp: number[] = []
  const dial = new Dial(({ address, port }: SocketAddress) => {
    tried.push(address)
    return refuse(address) ? socketError(-111, 'connect', address, port) : tried.length
  }, (attempt) => { givenUp.push(attempt) }, failed.resolve, { host: 'name', port: 7, ...options })
  dial.start()
  return { dial, tried, givenUp, failed: failed.promise }
}

t.test('families take turns, beginning with that of the first address', async (t) => {
  const cases: [string[], string[]][] = [
    [['a::1', 'a::2', 'a::3', '1.1.1.1', '2.2.2.2'], ['a::1', '1.1.1.1', 'a::2', '2.2.2.2', 'a::3']],
    [['1.1.1.1', '2.2.2.2', 'a::1'], ['1.1.1.1', 'a::1', '2.2.2.2']],
    [['1.1.1.1', 'a::1', 'a::2', 'a::3'], ['1.1.1.1', 'a::1', 'a::2', 'a::3']],
    [['a::1'], ['a::1']],
  ]
  for (const [given, wanted] of cases) {
    const { tried, failed } = attempted({ lookup: found(...given) }, () => true)
    const error = await failed
    t.strictSame(tried, wanted)
    const address = wanted[wanted.length - 1]
    t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address, port: 7, errno: -111 })
    if (wanted.length === 1) continue
    t.ok(error instanceof AggregateError)
    t.strictSame(error.errors?.map((one) => one.address), wanted, 'every attempt is told of, in order')
    for (const one of wanted) t.ok(error.message.includes(one), error.message)
  }
})

t.test('the first that succeeds wins, the others are given up, late news is ignored', async (t) => {
  const { dial, tried, givenUp } = attempted(
    { lookup: found('1.1.1.1', '2.2.2.2', '3.3.3.3', '4.4.4.4'), attemptDelay: 10 }, (at) => at === '2.2.2.2')
  await until(() => tried.length === 4)
  dial.attemptFailed(1, -111)
  t.strictSame(dial.succeeded(3), { address: '3.3.3.3', family: 'IPv4', port: 7 })
  t.strictSame(givenUp, [4])
  dial.attemptFailed(4, -111)
  dial.cancel()
  t.strictSame(givenUp, [4])
})

t.test('only addresses of the family of the local address are tried', async (t) => {
  const lookup = found('a::1', '1.1.1.1', 'a::2')
  const { tried, failed } = attempted({ lookup, localAddress: '127.0.0.1' }, () => true)
  await failed
  t.strictSame(tried, ['1.1.1.1'])
})

onEveryTransport('an address that does not answer holds nothing up', async (t, open) => {
  const port = await listen(t)
  await blackHole(t, '127.0.0.2', port)
  const station = open()
  const lookup = found('127.0.0.2', '127.0.0.1')
  t.equal(await outcome(station, { port, lookup, attemptDelay: 10 }), '127.0.0.1')
  t.equal(await outcome(station, { port, lookup }), '127.0.0.1', 'with the default, too')
  const three = found('127.0.0.2', '127.0.0.3', '127.0.0.1')
  t.equal(await outcome(station, { port, lookup: three, attemptDelay: 10 }), '127.0.0.1')
  await until(() => station.transport.metrics.connections === 0)
}, { skip: noHoles })

onEveryTransport('after a failure the next address is tried at once', async (t, open) => {
  const port = await listen(t)
  const lookup = found('127.0.0.3', '127.0.0.4', '127.0.0.1')
  t.equal(await outcome(open(), { port, lookup, attemptDelay: NEVER }), '127.0.0.1')
})

onEveryTransport('when all attempts fail, the error tells of each', async (t, open) => {
  const port = await listen(t)
  const error = await outcome(open(), { port, lookup: found('127.0.0.3', '127.0.0.4') }) as SocketError
  t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.4', port, errno: Number })
  t.match(error.errors, [
    { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.3', port },
    { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.4', port },
  ])
})

onEveryTransport('a dial as a whole has a time limit', async (t, open) => {
  const port = await blackHole(t, '127.0.0.2')
  const station = open()
  const start = Date.now()
  const one = await outcome(station, { host: '127.0.0.2', port, connectTimeout: 60 }) as SocketError
  t.ok(Date.now() - start >= 59)
  t.match(one, { code: 'ETIMEDOUT', syscall: 'connect', address: '127.0.0.2', port, errors: undefined })
  t.equal(one.message, `connect ETIMEDOUT 127.0.0.2:${port}`)
  const lookup = found('127.0.0.3', '127.0.0.2')
  const both = await outcome(station, { port, lookup, connectTimeout: 60 }) as SocketError
  t.match(both, { code: 'ETIMEDOUT', address: '127.0.0.2', port })
  t.match(both.errors, [{ code: 'ECONNREFUSED', address: '127.0.0.3' }, { code: 'ETIMEDOUT' }])
  const waiting = await outcome(station, { host: 'slow', port, lookup: () => undefined, connectTimeout: 20 })
  t.match(waiting, { code: 'ETIMEDOUT', syscall: 'connect', address: 'slow', port })
}, { skip: noHoles })

onEveryTransport('a time limit that is kept changes nothing', async (t, open) => {
  const port = await listen(t)
  const closed = deferred<SocketError | undefined>()
  const connection = open().connect({ host: '127.0.0.1', port, connectTimeout: 2000 }, {
    closed: (_connection, error) => { closed.resolve(error) },
  })
  await until(() => connection.local !== undefined)
  connection.close()
  t.equal(await closed.promise, undefined)
})

onEveryTransport('lookups of the program: what they answer, and what they do wrong', async (t, open) => {
  const port = await listen(t)
  const station = open()
  const asked: unknown[] = []
  const single: Lookup = (host, options, callback) => {
    asked.push(host, options)
    setImmediate(() => {
      callback(null, '127.0.0.1', 4)
      callback(new Error('twice'))
    })
  }
  t.equal(await outcome(station, { host: 'name', port, lookup: single }), '127.0.0.1')
  t.strictSame(asked, ['name', { all: true, family: 0 }])
  const none: Lookup = () => { asked.push('called for an address') }
  t.equal(await outcome(station, { host: '127.0.0.1', port, lookup: none }), '127.0.0.1')
  t.equal(asked.length, 2)

  const wrong: [Lookup, object][] = [
    [() => { throw new Error('thrown') }, { message: 'thrown', code: 'ENOTFOUND', syscall: 'getaddrinfo' }],
    [(_h, _o, done) => { done(new Error('said')) }, { message: 'said', code: 'ENOTFOUND', errno: -3008 }],
    [(_h, _o, done) => { done(Object.assign(new Error('x'), { code: 'EAI_AGAIN' })) }, { code: 'EAI_AGAIN' }],
    [() => { throw 'thrown' as unknown as Error }, { message: "the lookup failed: 'thrown'", code: 'ENOTFOUND' }],
    [(_h, _o, done) => { done('said' as unknown as Error) }, { message: "the lookup failed: 'said'" }],
    [async () => { await Promise.reject(new Error('rejected')) }, { message: 'rejected', code: 'ENOTFOUND' }],
    ...[5, {}, [undefined], [5], [{ address: 5 }], ['127.0.0.1']].map((given): [Lookup, object] => [
      (_h, _o, done) => { done(null, given as never) }, { code: 'ERR_INVALID_IP_ADDRESS', syscall: 'getaddrinfo' },
    ]),
    [found(), { code: 'ENOTFOUND', syscall: 'getaddrinfo', message: 'getaddrinfo ENOTFOUND name' }],
    [(_h, _o, done) => { done(null) }, { code: 'ENOTFOUND' }],
    [found('127.0.0.1', 'localhost'), {
      code: 'ERR_INVALID_IP_ADDRESS',
      message: "connect: the lookup of 'name' must give IP addresses; got 'localhost'",
    }],
  ]
  for (const [lookup, error] of wrong) t.match(await outcome(station, { host: 'name', port, lookup }), error)
})

onEveryTransport('a dial can be given up at any time', async (t, open) => {
  const port = await blackHole(t, '127.0.0.2')
  const station = open()
  const answers: Parameters<Lookup>[2][] = []
  const late: Lookup = (_host, _options, callback) => { answers.push(callback) }
  const ways: ((connection: TransportConnection) => void)[] = [
    (connection) => { connection.abort() }, (connection) => { connection.close() },
  ]
  for (const way of ways) {
    for (const options of [{ host: 'name', lookup: late }, { host: '127.0.0.2' }]) {
      const closed = deferred<SocketError | undefined>()
      const connection = station.connect({ port, connectTimeout: 5000, ...options }, {
        closed: (_connection, error) => { closed.resolve(error) },
      })
      await new Promise(setImmediate)
      station.call(() => { way(connection) })
      t.equal(await closed.promise, undefined)
    }
  }
  t.equal(answers.length, 2)
  for (const answer of answers) answer(null, '127.0.0.2', 4)

  const failed = deferred<SocketError | undefined>()
  const patient = open({ closeTimeout: 50 })
  const connection = patient.connect({ host: '127.0.0.2', port }, {
    closed: (_connection, error) => { failed.resolve(error) },
  })
  connection.write('unsent')
  connection.close()
  t.match(await failed.promise, { code: 'ETIMEDOUT' }, 'what was written is not dropped silently')
  station.connect({ host: '127.0.0.2', port }, {})
  await new Promise(setImmediate)
  await station.transport.close()
}, { skip: noHoles })

onEveryTransport('wrong options of a dial are refused', async (t, open) => {
  const { transport } = open()
  const wrong: Record<string, unknown>[] = [
    { connectTimeout: -1 }, { connectTimeout: '5' }, { connectTimeout: 2 ** 31 }, { connectTimeout: NaN },
    { attemptDelay: 9 }, { attemptDelay: null }, { lookup: 'dns' },
  ]
  for (const options of wrong) {
    const [name] = Object.keys(options)
    const connect = (): unknown => transport.connect({ host: 'x', port: 1, ...options })
    t.throws(connect, { message: new RegExp(`^connect: ${name} must be `) })
  }
})
