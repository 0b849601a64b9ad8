/** Options of the TCP drivers: what is refused, and in which words. */
import './tcp-program.js'
import t from 'tap'
import { tcp, tcpBare } from 'marketplace-native'

type Make = (options: unknown) => unknown

const makers: readonly [string, Make][] = [
  ['tcpBare', tcpBare as Make],
  ['tcp', tcp as Make],
]

const numbers = ['backlog', 'halfCloseTimeout', 'closeTimeout', 'maxQueuedBytes', 'maxQueuedBytesTotal']

const wrong: readonly [Record<string, unknown>, string][] = [
  [{ hots: 'localhost' }, "options must be made of *transport, host, *; got 'hots'"],
  [{ transport: 'udp' }, "options.transport must be 'native', 'node' or 'auto'; got 'udp'"],
  [{ transport: null }, "options.transport must be 'native', 'node' or 'auto'; got null"],
  [{ overflow: 'drop' }, "options.overflow must be 'abort' or 'pause'; got 'drop'"],
  [{ host: 5 }, 'options.host must be a string; got 5'],
  [{ engine: {} }, 'options.engine must be made by tcpEngine; got {}'],
  [{ onTransport: 'x' }, "options.onTransport must be a function; got 'x'"],
  ...numbers.flatMap((name): [Record<string, unknown>, string][] => [
    [{ [name]: -1 }, `options.${name} must be a non-negative integer; got -1`],
    [{ [name]: 1.5 }, `options.${name} must be a non-negative integer; got 1.5`],
    [{ [name]: '5' }, `options.${name} must be a non-negative integer; got '5'`],
    [{ [name]: Infinity }, `options.${name} must be a non-negative integer; got Infinity`],
  ]),
]

/** A text with `*` for whatever. */
const like = (text: string): RegExp =>
  new RegExp(`^${text.split('*').map((part) => part.replace(/[.()]/g, '\\$&')).join('.*')}$`)

for (const [name, make] of makers) {
  t.test(`${name}: wrong options are told`, async (t) => {
    for (const [options, message] of wrong) {
      t.throws(() => make(options), {
        name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: like(`${name}: ${message}`),
      }, message)
    }
    t.throws(() => make(5), { message: `${name}: options must be an object; got 5` })
    t.throws(() => make(null), { message: `${name}: options must be an object; got null` })
  })

  t.test(`${name}: right options are taken, undefined is the default`, async (t) => {
    const names = [...numbers, 'transport', 'host', 'onTransport', 'engine']
    t.doesNotThrow(() => make(Object.fromEntries(names.map((key) => [key, undefined]))))
    t.doesNotThrow(() => make(undefined))
    t.doesNotThrow(() => make(Object.fromEntries(numbers.map((key) => [key, 0]))))
  })
}

t.test('each driver has a number of its own, which is checked like the others', async (t) => {
  t.throws(() => tcpBare({ maxLineLength: 5 } as object), TypeError)
  t.doesNotThrow(() => tcp({ maxLineLength: 5 }))
  t.throws(() => tcp({ highWaterMark: 5 } as object), TypeError)
  t.doesNotThrow(() => tcpBare({ highWaterMark: 5 }))
  for (const highWaterMark of ['5', -1, NaN] as number[]) {
    t.throws(() => tcpBare({ highWaterMark }), TypeError)
  }
  for (const maxLineLength of ['5', -1, NaN] as number[]) {
    t.throws(() => tcp({ maxLineLength }), TypeError)
  }
})
