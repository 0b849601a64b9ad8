/** The harness itself: comparisons must be able to fail, and the notation must read what it prints. */
import { readdirSync, readFileSync } from 'node:fs'
import t from 'tap'
import { quit, sendMessage } from 'marketplace-native'
import { golden, perform, type Scenario, type Stage } from './harness.js'
import { Notation, v } from './notation.js'
import {
  adjacent, besidesClients, chunks, compareTraces, exact, inSequence, perLabel, shuffled, type Order,
} from './orders.js'

const ROOT = new URL('../../../', import.meta.url)

/** An order, golden lines, permutations that it permits, and traces that it must refuse. */
const orders: Readonly<Record<string, readonly [Order, string, readonly string[], readonly string[]]>> = {
  exact: [exact, 'a b c', ['a b c'], ['a c b', 'a b', 'a b c d', '']],
  shuffled: [shuffled, 'a b b', ['b a b'], ['a b', 'a a b', 'a b b b']],
  chunks: [chunks(2), 'a b c d', ['c d a b'], ['a c b d', 'b a c d', 'a b']],
  adjacent: [adjacent(shuffled, ['a', 'b']), 'a b c', ['c a b'], ['a c b', 'c b a', 'a b']],
  inSequence: [
    inSequence([1, exact], [2, shuffled]), 'a b c d', ['a c b d'], ['b a c d', 'a b c', 'a c b e'],
  ],
  perLabel: [perLabel, 'L:1 M:1 L:2', ['M:1 L:1 L:2'], ['L:2 L:1 M:1', 'L:1 M:1']],
  besidesClients: [
    besidesClients(exact), 'L:1 client:1 L:2', ['client:1 L:1 L:2'], ['L:2 L:1 client:1', 'L:1 L:2'],
  ],
}

const lines = (text: string): string[] =>
  text === '' ? [] : text.split(' ').map((line) => line.replace(':', ': '))

for (const [name, [order, expected, permitted, refused]] of Object.entries(orders)) {
  void t.test(`order: ${name}`, (t) => {
    t.equal(order(lines(expected), lines(expected)), undefined, 'the golden trace is permitted')
    const compare = (trace: string): string | undefined => order(lines(expected), lines(trace))
    for (const trace of permitted) t.equal(compare(trace), undefined, `${trace}: permitted`)
    for (const trace of refused) t.type(compare(trace), 'string', `${trace}: refused`)
    t.end()
  })
}

void t.test('sections are compared in their order, each with its own', (t) => {
  const expected = ['a', '-- step 1', 'b', 'c', '-- step 2', 'd', 'ground VM returned']
  const byStep = { 'step 1': shuffled }
  const check = (...trace: string[]): string | undefined => compareTraces(expected, trace, byStep)
  t.equal(check('a', '-- step 1', 'c', 'b', '-- step 2', 'd', 'ground VM returned'), undefined)
  t.type(check('-- step 1', 'a', 'c', 'b', '-- step 2', 'd', 'ground VM returned'), 'string')
  t.type(check('a', '-- step 1', 'c', 'b', '-- step 2', 'd'), 'string')
  t.type(check('a', '-- step 1', 'c', '-- step 2', 'b', 'd', 'ground VM returned'), 'string')
  t.type(check('a', '-- step 1', 'c', 'b', '-- step 2', 'd', 'END'), 'string')
  t.type(check(...expected, '-- step 3'), 'string')
  t.equal(compareTraces(['x because <exn: ...>'], ['x because <exn: whatever>']), undefined)
  t.type(compareTraces(['x because <exn: ...>'], ['y because <exn: whatever>']), 'string')
  t.end()
})

/** Scenario 01, or something like it. */
function similar(topic: unknown, more: (s: Stage) => unknown = () => undefined): Scenario {
  return {
    start: (s) => [
      s.process('A', s.subscriber('A.a', v`(x ?)`)),
      s.process('B', [], { 1: () => [s.publisher('B.b', topic), more(s) as undefined] }),
    ],
  }
}

void t.test('a scenario that differs in anything is refused', async (t) => {
  const [expected = []] = golden('01-presence-both')
  const compare = async (scenario: Scenario): Promise<string | undefined> =>
    compareTraces(expected, (await perform(scenario, 'plain')).lines)
  t.equal(await compare(similar(v`(x 1)`)), undefined, 'the scenario itself')
  t.type(await compare(similar(v`(x 2)`)), 'string', 'another topic')
  t.type(await compare(similar(v`(y 1)`)), 'string', 'no meeting')
  t.type(await compare(similar(v`(x 1)`, () => sendMessage(v`(x 1)`))), 'string', 'a message more')
  t.type(await compare(similar(v`(x 1)`, () => quit())), 'string', 'an absence more')
  const reversed = await perform({
    start: (s) => [
      s.process('B', s.publisher('B.b', v`(x 1)`)),
      s.process('A', [], { 1: () => s.subscriber('A.a', v`(x ?)`) }),
    ],
  }, 'plain')
  t.type(compareTraces(expected, reversed.lines), 'string', 'the other order')
})

void t.test('the notation reads what it prints', (t) => {
  const notation = new Notation()
  const texts = [
    '(x 1)', '()', '(x (y "a b") #"a\\nb" #t #f 12n -3)', 'addr{"h" 80}', '#(v #(1) (2))',
    'pt{1 addr{"h" 2}}',
  ]
  for (const text of texts) t.equal(notation.show(v(Object.assign([text], { raw: [text] }))), text)
  t.equal(notation.show(v`(a ${'b'} ${[1]})`), '(a "b" (1))')
  t.equal(notation.show(new Error('why')), '<exn: why>')
  t.equal(notation.show(undefined), '#f')
  for (const text of ['(a', 'a)', '', 'a b', '{a}']) {
    t.throws(() => v(Object.assign([text], { raw: [text] })), SyntaxError, text)
  }
  t.end()
})

void t.test('ports are named in order of appearance', (t) => {
  const notation = new Notation()
  notation.namePort(40000, 7073)
  t.equal(notation.show(v`tcp-listener{40000}`), 'tcp-listener{7073}')
  t.equal(notation.show(v`addr{"h" 50001}`), 'addr{"h" port#1}')
  t.equal(notation.show(v`addr{"h" 50000}`), 'addr{"h" port#2}')
  t.equal(notation.show(v`addr{"h" 50001}`), 'addr{"h" port#1}')
  t.end()
})

void t.test('every golden trace has its scenario, and its row in the documentation', (t) => {
  const folder = new URL('test/conformance/', ROOT)
  const sources = readdirSync(folder)
    .filter((name) => name.endsWith('.test.ts'))
    .map((name) => readFileSync(new URL(name, folder), 'utf8'))
    .join('\n')
  const documentation = readFileSync(new URL('docs/conformance.md', ROOT), 'utf8')
  for (const file of readdirSync(new URL('golden/', folder))) {
    const name = file.replace('.txt', '')
    t.ok(sources.includes(`cenario('${name}'`), `${name}: test`)
    t.match(documentation, new RegExp(`^\\| ${name.slice(0, 2)} \\|`, 'm'), `${name}: row`)
  }
  t.end()
})
