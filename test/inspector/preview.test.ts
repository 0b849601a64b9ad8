/** Previews: hostile values are shown within the budget, and none of the program's code is run. */
import t from 'tap'
import { _, defineRecord, eventSource, tcpAddress, wild } from 'marketplace-native'
import { patient } from '../support/patience.js'
import { preview, textOf } from '../../src/inspector/preview.js'

const boom = (): never => { throw new Error('the program\'s code was run') }

t.test('values as they are', (t) => {
  const says = defineRecord('preview-says', ['who', 'what'])
  const shown: readonly [unknown, unknown][] = [
    ['text', 'text'], [1.5, 1.5], [true, true], [null, null], [undefined, { $: 'undefined' }],
    [NaN, { $: 'number', value: 'NaN' }], [-0, { $: 'number', value: '-0' }], [5n, { $: 'bigint', value: '5' }],
    [-Infinity, { $: 'number', value: '-Infinity' }],
    [Symbol('s'), { $: 'symbol', value: 's' }], [_, { $: '_' }], [wild('x'), { $: 'wildcard', name: 'x' }],
    [[1, ['two']], [1, ['two']]],
    [says('joe', _), {
      $: 'record', label: 'preview-says', fields: ['who', 'what'], values: ['joe', { $: '_' }],
    }],
    [tcpAddress('h', 1), { $: 'record', label: 'tcp-address', fields: ['host', 'port'], values: ['h', 1] }],
    [Buffer.from('hi'), { $: 'bytes', length: 2, hex: '6869', text: 'hi' }],
    [{ a: 1, b: [2] }, { $: 'object', entries: [['a', 1], ['b', [2]]] }],
    [new Map([[1, 'a']]), { $: 'map', size: 1, entries: [[1, 'a']] }],
    [new Set(['x']), { $: 'set', size: 1, items: ['x'] }],
    [new Date(0), { $: 'date', value: '1970-01-01T00:00:00.000Z' }],
    [new Date(NaN), { $: 'date', value: 'invalid' }],
    [/x+/g, { $: 'regexp', value: '/x+/g' }],
    [eventSource('src', () => undefined), { $: 'source', name: 'src' }],
    [Promise.resolve(), { $: 'promise' }],
    [new WeakMap(), { $: 'object', class: 'WeakMap', entries: [] }],
    [new Float64Array(3), { $: 'bytes', class: 'Float64Array', length: 24 }],
    [new DataView(new ArrayBuffer(5)), { $: 'bytes', class: 'DataView', length: 5 }],
    [new ArrayBuffer(7), { $: 'bytes', class: 'ArrayBuffer', length: 7 }],
    [function named() { /* nothing */ }, { $: 'function', name: 'named' }],
    // eslint-disable-next-line no-sparse-arrays
    [[1, , 3], [1, { $: 'hole' }, 3]],
  ]
  for (const [value, expected] of shown) t.same(preview(value), expected)
  const error = Object.assign(new RangeError('far', { cause: new Error('near') }), { code: 'EFAR' })
  t.match(preview(error), {
    $: 'error', name: 'RangeError', message: 'far', code: 'EFAR', stack: /far\n.*preview\.test/,
    cause: { $: 'error', message: 'near' },
  })
  t.end()
})

t.test('no code of the program is run', (t) => {
  const traps = ['get', 'has', 'ownKeys', 'getPrototypeOf', 'getOwnPropertyDescriptor', 'apply', 'construct']
  const trap = new Proxy({}, Object.fromEntries(traps.map((name) => [name, boom])))
  class Odd extends Uint8Array {
    override get buffer(): never { return boom() }
    override get byteOffset(): never { return boom() }
    override get byteLength(): never { return boom() }
    override get length(): never { return boom() }
  }
  class OddMap extends Map<number, number> {
    override get size(): never { return boom() }
    override entries(): never { return boom() }
  }
  class OddSet extends Set<number> {
    override get size(): never { return boom() }
    override values(): never { return boom() }
  }
  const error = new Error('e')
  for (const name of ['stack', 'message', 'cause', 'code', 'name']) Object.defineProperty(error, name, { get: boom })
  const values: readonly unknown[] = [
    trap, { trap }, [trap], Object.create(trap), new Map([[trap, trap]]), new Set([trap]),
    { get secret() { return boom() } }, Object.defineProperty([], 0, { get: boom, enumerable: true }),
    { toJSON: boom, toString: boom, valueOf: boom, [Symbol.toPrimitive]: boom, [Symbol.toStringTag]: 'x' },
    Object.defineProperty({}, Symbol.toStringTag, { get: boom }),
    Object.defineProperty({}, 'constructor', { get: boom }),
    { [Symbol.for('nodejs.util.inspect.custom')]: boom }, new Odd(3), new OddMap([[1, 2]]), new OddSet([1]), error,
    Object.defineProperty(() => undefined, 'name', { get: boom }), { then: boom },
    new (class { get x(): never { return boom() } })(), new Proxy(() => undefined, { apply: boom, get: boom }),
    Object.assign(Object.create(null) as object, { a: 1 }),
    Object.defineProperty(new Date(0), 'toISOString', { value: boom }),
  ]
  for (const value of values) {
    t.doesNotThrow(() => JSON.stringify(preview(value)), 'within an object')
    t.doesNotThrow(() => JSON.stringify(preview([value, { value }])), 'and further inside')
  }
  class OddPattern extends RegExp {
    override get source(): never { return boom() }
    override get flags(): never { return boom() }
    override get global(): never { return boom() }
  }
  t.same(preview(new OddPattern('a+', 'gi')), { $: 'regexp', value: '/a+/gi' })
  let named = 0
  class OddError extends Error { override get name(): string { named++; return 'odd' } }
  t.match(preview(new OddError('m')), { $: 'error', name: 'OddError', message: 'm' })
  t.equal(named, 0, 'nor for a stack, which is made when it is read')
  t.same(preview(trap), { $: 'proxy' })
  t.same(preview({ get x() { return boom() } }), { $: 'object', entries: [['x', { $: 'getter' }]] })
  t.end()
})

t.test('whatever the value, the preview is small, and soon there', (t) => {
  const cycle: unknown[] = [1]
  cycle.push(cycle, { cycle })
  t.same(preview(cycle), [1, { $: 'cycle', up: 1 }, { $: 'object', entries: [['cycle', { $: 'cycle', up: 2 }]] }])
  let deep: unknown = 'end'
  for (let i = 0; i < 100_000; i++) deep = [deep]
  const wide = Object.fromEntries(Array.from({ length: 100_000 }, (_none, i) => [`k${i}`, i]))
  const values = [
    deep, wide, 'x'.repeat(100 * 1024 * 1024), Buffer.alloc(100 * 1024 * 1024), new Array(1e7).fill(7), new Array(4e9),
    10n ** 100_000n, new Map(Object.entries(wide)), new Set(Object.keys(wide)), Symbol('s'.repeat(1e6)),
    new Error('m'.repeat(1e7)), { ['k'.repeat(1e6)]: 1 }, Array.from({ length: 1000 }, () => 'y'.repeat(1000)),
  ]
  for (const value of values) {
    const start = performance.now()
    const { length } = JSON.stringify(preview(value))
    t.ok(length < 40_000, `${length} bytes`)
    t.ok(performance.now() - start < patient(2000), 'in time')
  }
  t.match(preview('x'.repeat(5000)), { $: 'string', length: 5000, head: /^x{4096}$/ })
  t.match(preview(new Array(1e6).fill(1)), { $: 'array', length: 1e6 })
  t.same(preview([[[1]]], { depth: 2 }), [[{ $: 'more', of: 'Array(1)' }]])
  t.end()
})

t.test('a part that is shown keeps no whole in memory', { skip: globalThis.gc === undefined }, (t) => {
  const before = process.memoryUsage().heapUsed
  const kept = Array.from({ length: 60 }, (_none, i) => {
    const text = Buffer.alloc(1024 * 1024, 97 + i % 26).toString('latin1')
    const error = new Error(text)
    return [preview(text, { bytes: 100 }), preview(text.slice(10, 60)), preview(error, { bytes: 100 })]
  })
  globalThis.gc?.()
  const grown = process.memoryUsage().heapUsed - before
  t.ok(grown < 20 * 1024 * 1024, `${kept.length} texts of 1 MiB: ${grown} bytes more`)
  t.end()
})

t.test('texts of topics run no code, and have nothing in them that is to be redacted', (t) => {
  const custom = { [Symbol.for('nodejs.util.inspect.custom')]: boom }
  t.equal(textOf(['login', custom, _, wild('x'), 7n]), "['login', {}, _, ?x, 7n]")
  t.equal(textOf(tcpAddress('h', 1)), "tcp-address('h', 1)")
  t.ok(textOf('x'.repeat(1000)).length <= 120)
  const redact = (value: unknown): unknown => typeof value === 'string' && value.includes('secret') ? '***' : value
  t.equal(textOf(['login', 'secret'], redact), "['login', '***']")
  const shown = JSON.stringify(preview(new Error('the secret', { cause: new Error('secret') }), {}, redact))
  t.notMatch(shown, /secret/, 'nor do messages and stacks of errors')
  t.end()
})

t.test('what is to be redacted never gets out, also if the hook fails', (t) => {
  const login = defineRecord('preview-login', ['user', 'password'])
  const redact = (value: unknown, path: readonly (string | number)[]): unknown =>
    path.at(-1) === 'password' ? '***' : value
  t.same(preview({ list: [login('joe', 'secret')], password: 'top' }, {}, redact), {
    $: 'object',
    entries: [
      ['list', [{ $: 'record', label: 'preview-login', fields: ['user', 'password'], values: ['joe', '***'] }]],
      ['password', '***'],
    ],
  })
  t.notMatch(JSON.stringify(preview(['secret'], {}, boom)), /secret/)
  t.end()
})
