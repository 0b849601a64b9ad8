/** The tables below the routing index: KeyTable against a Map, atoms and their leaks. */
import fc from 'fast-check'
import t from 'tap'
import { _, AtomTable, defineRecord, equal } from '../../src/topic/index.js'
import { hasAtom, WILD } from '../../src/topic/atom.js'
import { KeyTable } from '../../src/topic/key-table.js'
import { message } from './arbitraries.js'

type Command = readonly [kind: 'put' | 'remove' | 'find', key: number[]]

for (const width of [1, 2, 3, 5]) {
  t.test(`KeyTable of width ${width} does what a Map does`, async () => {
    const integer = fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 1, max: 0x7fffffff }))
    const part = width < 3 ? integer : fc.integer({ min: 1, max: 4 })
    const key = fc.array(part, { minLength: width, maxLength: width })
    const command = fc.tuple(fc.constantFrom<Command[0]>('put', 'put', 'remove', 'find'), key)
    fc.assert(
      fc.property(fc.array(command, { maxLength: 400, size: 'max' }), (commands) => agree(width, commands)),
      { numRuns: 150 },
    )
  })
}

/** Runs the commands on a table and on a Map, and compares all there is after each. */
function agree(width: number, commands: readonly Command[]): boolean {
  const table = new KeyTable<number>(width)
  const model = new Map<string, { readonly key: number[]; readonly value: number }>()
  for (const [n, [kind, key]] of commands.entries()) {
    const name = key.join()
    const index = table.find(key)
    if (index >= 0 !== model.has(name)) return false
    if (kind === 'put') {
      if (index < 0) table.add(key, n)
      else table.setAt(index, n)
      model.set(name, { key, value: n })
    } else if (kind === 'remove' && index >= 0) {
      table.removeAt(index)
      model.delete(name)
    }
    if (table.size !== model.size) return false
  }
  return [...model.values()].every(({ key, value }) => table.valueAt(table.find(key)) === value)
}

t.test('KeyTable grows and shrinks', async (t) => {
  const table = new KeyTable<number>(1)
  for (let i = 1; i <= 10_000; i++) table.add([i], i)
  for (let i = 1; i <= 10_000; i += 2) table.removeAt(table.find1(i))
  t.equal(table.size, 5000)
  for (let i = 1; i <= 10_000; i++) if (table.find1(i) >= 0 !== (i % 2 === 0)) t.fail(`key ${i}`)
  for (let i = 2; i <= 10_000; i += 2) table.removeAt(table.find1(i))
  t.equal(table.size, 0)
  table.add([7], 7)
  t.equal(table.valueAt(table.find([7])), 7)
})

t.test('atoms: one per value, as long as somebody holds it', async () => {
  fc.assert(
    fc.property(fc.array(message, { maxLength: 30 }), (values) => {
      const table = new AtomTable()
      const atoms = values.map((value) => table.acquire(value))
      const agree = values.every((a, i) => values.every((b, j) => equal(a, b) === (atoms[i] === atoms[j])))
      const found = values.every((value, i) => table.lookup(value) === atoms[i])
      const distinct = new Set(atoms).size === table.size
      const ids = new Set([...new Set(atoms)].map((atom) => atom.id)).size === table.size
      for (const atom of atoms) table.release(atom)
      const gone = table.size === 0 && values.every((value) => table.lookup(value) === undefined)
      return agree && found && distinct && ids && gone
    }),
    { numRuns: 500 },
  )
})

t.test('a record remembers its atom only while that lives, and only for its own table', async (t) => {
  const box = defineRecord('tables-test-box', ['content'])
  const record = box(1)
  const table = new AtomTable()
  const other = new AtomTable()
  const atom = table.acquire(record)
  t.equal(other.lookup(record), undefined)
  const others = other.acquire(record)
  t.not(others, atom)
  t.equal(table.lookup(record), atom)
  t.equal(other.lookup(record), others)
  table.release(atom)
  t.equal(table.lookup(record), undefined)
  t.equal(other.lookup(record), others)
  const filler = table.acquire('takes the free id')
  const again = table.acquire(box(1))
  t.not(again, filler)
  t.equal(table.lookup(record), again, 'found by value')
  t.equal(table.lookup(box(_)), WILD)
  t.equal(table.lookup(_), WILD)
  other.release(others)
  table.release(again)
  table.release(filler)
  t.equal(table.size + other.size, 0)
})

t.test('a frozen record, and one with parts that may change', async (t) => {
  const box = defineRecord('tables-test-box', ['content'])
  const table = new AtomTable()
  const frozen = Object.freeze(box('frozen'))
  const atom = table.acquire(frozen)
  t.equal(table.lookup(frozen), atom)
  const list = [1]
  const changing = box(box(list))
  const first = table.acquire(changing)
  t.equal(table.lookup(changing), first)
  list[0] = 2
  t.equal(table.lookup(changing), undefined)
  table.release(first)
  table.release(atom)
  t.equal(table.size, 0)
})

t.test('atoms that are let go by the thousand: what is held stays, what comes back is itself', async (t) => {
  const box = defineRecord('tables-test-box', ['content'])
  const table = new AtomTable()
  const held = Array.from({ length: 100 }, (_value, i) => table.acquire(box(`held ${i}`)))
  const records = Array.from({ length: 5000 }, (_value, i) => box(i))
  for (let round = 0; round < 3; round++) {
    const atoms = records.map((record) => table.acquire(record))
    t.equal(new Set([...held, ...atoms].map((atom) => atom.id)).size, 5100, 'no id twice')
    t.ok(records.every((record, i) => table.lookup(record) === atoms[i]))
    t.ok(records.every((_record, i) => table.lookup(box(i)) === atoms[i]), 'by value too')
    for (const atom of atoms) table.release(atom)
    t.equal(table.size, 100)
    t.ok(records.every((record, i) => (table.lookup(record) ?? table.lookup(box(i))) === undefined))
    // Let go of in between, and held again: it mustn't be swept away.
    const back = table.acquire(records[4999])
    for (const record of records.slice(1, 3000)) table.release(table.acquire(record))
    t.equal(table.lookup(box(4999)), back)
    table.release(back)
  }
  t.ok(held.every((atom, i) => table.lookup(box(`held ${i}`)) === atom))
  for (const atom of held) table.release(atom)
  t.equal(table.size, 0)
})

t.test("a record of an entry's topic with a list in it remembers its atom, another one is looked up", async (t) => {
  const box = defineRecord('tables-test-box', ['content'])
  const table = new AtomTable()
  const own = box(Object.freeze(['name', 1]))
  const atom = table.acquire(own)
  t.ok(hasAtom(own))
  const list = ['name', 1]
  const other = box(list)
  t.equal(table.lookup(other), atom)
  t.notOk(hasAtom(other), 'its list may change')
  list[1] = 2
  t.equal(table.lookup(other), undefined)
  let answer = 1
  const shifty = box(Object.freeze(Object.defineProperty(['name', 0], 1, { get: () => answer, enumerable: true })))
  t.equal(table.lookup(shifty), atom)
  answer = 2
  t.equal(table.lookup(shifty), undefined, 'what is frozen may still change')
  table.release(atom)
})
