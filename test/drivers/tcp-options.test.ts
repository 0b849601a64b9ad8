/** Options of the TCP drivers: what is refused, and in which words. */
import { collectLog } from '../vm/log-records.js'
import { host, TRANSPORTS } from './tcp-program.js'
import { connect } from 'node:net'
import t from 'tap'
import {
  _, endpoint, groundVm, tcp, tcpBare, tcpChannel, tcpListener, tcpListening, udp, udpListener, udpPacket,
  type FlowControlledTcpOptions,
} from 'marketplace-native'
import { until } from '../support/util.js'

type Make = (options: unknown) => unknown

const makers: readonly [string, Make][] = [
  ['tcpBare', tcpBare as Make],
  ['tcp', tcp as Make],
]

const numbers = {
  backlog: '2147483647',
  maxConnections: '2147483647',
  localPort: '65535',
  userTimeout: '2147483647 milliseconds',
  halfCloseTimeout: '2147483647 milliseconds',
  closeTimeout: '2147483647 milliseconds',
  maxQueuedBytes: '9007199254740991 bytes',
  maxQueuedBytesTotal: '9007199254740991 bytes',
}
const names = Object.keys(numbers)

const wrong: readonly [Record<string, unknown>, string][] = [
  [{ hots: 'localhost' }, "unknown option 'hots'; did you mean 'host'?"],
  [{ nodelay: true }, "unknown option 'nodelay'; did you mean 'noDelay'?"],
  [{ keepalive: true }, "unknown option 'keepalive'; did you mean 'keepAlive'?"],
  [{ ipv6only: true }, "unknown option 'ipv6only'; did you mean 'ipv6Only'?"],
  [{ colour: 'red' }, "unknown option 'colour'; there are transport, host, *"],
  [{ transport: 'udp' }, "options.transport must be 'native', 'node' or 'auto'; got 'udp'"],
  [{ transport: null }, "options.transport must be 'native', 'node' or 'auto'; got null"],
  [{ overflow: 'drop' }, "options.overflow must be 'abort' or 'pause'; got 'drop'"],
  [{ host: 5 }, 'options.host must be a name or an address; got 5'],
  [{ ref: 1 }, 'options.ref must be a boolean; got 1'],
  [{ busyPoll: 1001 }, 'options.busyPoll must be an integer from 0 to 1000 microseconds or \'adaptive\'; got 1001'],
  [{ engine: {} }, 'options.engine must be made by tcpEngine; got {}'],
  [{ onTransport: 'x' }, "options.onTransport must be a function; got 'x'"],
  [{ allowHalfOpen: 0 }, 'options.allowHalfOpen must be a boolean; got 0'],
  [{ keepAlive: { idle: 0.5 } }, 'options.keepAlive.idle must be an integer from 1 to 32767000 *; got 0.5'],
  [{ keepAlive: { ilde: 5 } }, "unknown option 'ilde' of options.keepAlive; did you mean 'idle'?"],
  [{ localAddress: 'here' }, "options.localAddress must be an IP address; got 'here'"],
  [{ ipv6Only: true, host: '127.0.0.1' }, 'options.ipv6Only must be false with the IPv4 address *'],
  [{ exclusive: true, reusePort: true }, 'options.exclusive must be false with reusePort; got true'],
  ...Object.entries(numbers).flatMap(([name, most]): [Record<string, unknown>, string][] =>
    [[-1, '-1'], [1.5, '1.5'], ['5', "'5'"], [Infinity, 'Infinity']].map(([value, shown]) =>
      [{ [name]: value }, `options.${name} must be an integer from 0 to ${most}; got ${shown}`])),
]

/** A text with `*` for whatever. */
const like = (text: string): RegExp =>
  new RegExp(`^${text.split('*').map((part) => part.replace(/[.()?{}]/g, '\\$&')).join('.*')}$`)

for (const [name, make] of makers) {
  t.test(`${name}: wrong options are told`, async (t) => {
    for (const [options, message] of wrong) {
      t.throws(() => make(options), {
        name: /^(Type|Range)Error$/,
        code: /^ERR_(INVALID_ARG_|OUT_OF_RANGE)/,
        message: like(`${name}: ${message}`),
      }, message)
    }
    t.throws(() => make(5), { message: `${name}: options must be an object; got 5` })
    t.throws(() => make(null), { message: `${name}: options must be an object; got null` })
  })

  t.test(`${name}: right options are taken, undefined is the default`, async (t) => {
    const others = ['transport', 'host', 'onTransport', 'engine', 'ref', 'keepAlive', 'noDelay', 'reusePort']
    t.doesNotThrow(() => make(Object.fromEntries([...names, ...others].map((key) => [key, undefined]))))
    t.doesNotThrow(() => make(undefined))
    t.doesNotThrow(() => make(Object.fromEntries(names.map((key) => [key, 0]))))
  })
}

t.test('what is no option, but is said elsewhere: the error tells where', async (t) => {
  const misplaced: readonly [make: () => unknown, told: RegExp][] = [
    [() => tcpBare({ port: 5000 } as object), /^tcpBare: unknown option 'port'; .* tcpListener\(port\) to listen/],
    [() => tcp({ port: 5000 } as object), /^tcp: unknown option 'port'; .* tcpAddress\(host, port\) to connect/],
    [() => tcpBare({ path: '/x' } as object), /^tcpBare: unknown option 'path'; .* unixListener\(path\)/],
    [() => tcpBare({ mode: 'lines' } as object), /^tcpBare: unknown option 'mode'; it is an option of tcp\(\) only/],
    [() => tcp({ credit: 5 } as object), /^tcp: unknown option 'credit'; .* sendFeedback with tcpMode/],
    [() => tcp({ highWaterMark: 5 } as object), /^tcp: unknown option 'highWaterMark'; it is an option of tcpBare/],
    [() => udp({ port: 5000 } as object), /^udp: unknown option 'port'; .* udpListener\(port\)/],
  ]
  for (const [make, told] of misplaced) t.throws(make, { name: 'TypeError', message: told })
})

t.test('each driver has a number of its own, which is checked like the others', async (t) => {
  t.throws(() => tcpBare({ maxLineLength: 5 } as object), TypeError)
  t.doesNotThrow(() => tcp({ maxLineLength: 5 }))
  t.throws(() => tcp({ highWaterMark: 5 } as object), TypeError)
  t.doesNotThrow(() => tcpBare({ highWaterMark: 5 }))
  for (const highWaterMark of ['5', -1, NaN] as number[]) {
    t.throws(() => tcpBare({ highWaterMark }), { message: /^tcpBare: options.highWaterMark must be an/ })
  }
  for (const maxLineLength of ['5', -1, NaN] as number[]) {
    t.throws(() => tcp({ maxLineLength }), { message: /^tcp: options.maxLineLength must be an integer/ })
  }
})

t.test('options are in an object of them, and not in a promise, a list or another thing', async (t) => {
  const one = tcpListener(5000)
  for (const [name, make] of [...makers, ['udp', udp as Make]] as const) {
    for (const none of [[], [1], Promise.resolve({}), new Map([['host', 'x']]), new Date(), one, 5, () => ({})]) {
      t.throws(() => make(none), { name: 'TypeError', message: /: options must be an object; got / }, name)
    }
    class Settings { readonly host = '127.0.0.1' }
    for (const some of [new Settings(), Object.create(null), Object.create({ host: '::1' })] as object[]) {
      t.doesNotThrow(() => make(some), name)
    }
  }
  for (const none of [[], Promise.resolve({})] as object[]) {
    t.throws(() => tcp({ limits: none }), { message: /^tcp: options.limits must be an object; got / })
    t.throws(() => tcp({ keepAlive: none }), { message: /^tcp: options.keepAlive must be an object; got / })
  }
})

t.test('an async function whose answer is wanted at once fails its connection, and nobody else', async (t) => {
  const failing = (): never => Promise.reject(new Error('async fault')) as never
  const cases: Record<string, FlowControlledTcpOptions> = {
    'tcp: options.mode() must be given at once, by a function that is not async; got Promise': { mode: failing },
    'tcp: options.tls() must be given at once, by a function that is not async; got Promise': { tls: failing },
    'async fault': { onTransport: failing },
  }
  for (const transport of TRANSPORTS) {
    for (const [told, options] of Object.entries(cases)) {
      const { records, end } = collectLog()
      const here = tcpListener(0)
      const vm = groundVm(() => [
        tcp({ host, transport, ...options }),
        endpoint.subscriber(tcpChannel(_, here, _), { interest: 'observer' }),
        endpoint.subscriber(tcpListening(here, _), {
          onPresence: ({ address }) => { connect(address.port, host).on('error', () => undefined).resume() },
        }),
      ])
      await until(() => records.some(({ fields }) => String(fields['reason'] ?? fields['error']).includes(told)))
      await vm.stop()
      end()
    }
  }
  const { records, end } = collectLog()
  const vm = groundVm(() => [
    udp({ host, onTransport: failing }), endpoint.subscriber(udpPacket(_, udpListener(0), _)),
  ])
  await until(() => records.some(({ fields }) => String(fields['reason']).includes('async fault')))
  await vm.stop()
  end()
  t.pass('it goes on')
})
