/** The list of Node's tests that may differ: reasons, rows, and how it is compared. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import t from 'tap'
import { ROOT } from '../docs/blocks.js'

interface Entry {
  readonly tests: readonly string[]
  readonly row: string
  readonly why: string
  readonly on?: readonly string[]
}

type Results = Map<string, Map<string, { outcome: string }>>

interface Differences {
  expectedDifferences(): Entry[]
  compare(results: Results, list: readonly Entry[]): {
    onNode: string[]
    backends: Record<'variant' | 'passed' | 'expected' | 'unexpected' | 'refuted', unknown>[]
  }
}

const script = pathToFileURL(join(ROOT, 'scripts/node-tests/differences.mjs')).href
const { compare, expectedDifferences } = await import(script) as Differences

void t.test('each entry has tests, a reason, and a row that says it differs', async (t) => {
  const page = readFileSync(join(ROOT, 'docs/net-compat.md'), 'utf8')
  const rows = new Map([...page.matchAll(/^\| ([^|]+) \| ([^|]+) \|/gm)]
    .map(([, name, is]) => [name.replaceAll('`', ''), is]))
  const all = expectedDifferences().flatMap(({ tests }) => tests)
  t.ok(all.length > 10)
  t.equal(new Set(all).size, all.length, 'no test is in two entries')
  for (const { tests, row, why, on = [] } of expectedDifferences()) {
    t.ok(tests.length > 0 && why.length > 5, row)
    t.ok(rows.has(row) && rows.get(row) !== 'same', row)
    for (const backend of on) t.match(backend, /^(epoll|io_uring)$/)
    for (const test of tests) t.match(test, /^[a-z-]+\/test-[\w.-]+$/)
  }
})

void t.test('the comparison', async (t) => {
  const outcomes = (...list: string[]): Map<string, { outcome: string }> => (
    new Map(list.map((outcome, i) => [`t${i}`, { outcome }]))
  )
  const results: Results = new Map([
    ['node:net', outcomes('passed', 'passed', 'passed', 'skipped', 'failed', 'passed')],
    ['epoll', outcomes('passed', 'failed', 'timeout', 'skipped', 'failed', 'passed')],
    ['io_uring', outcomes('passed', 'passed', 'failed', 'skipped', 'passed', 'failed')],
  ])
  const list = [{ tests: ['t2', 't4'], row: '', why: '' }, { tests: ['t5'], on: ['epoll'], row: '', why: '' }]
  const { onNode, backends } = compare(results, list)
  t.strictSame(onNode, ['t0', 't1', 't2', 't3', 't5'])
  t.strictSame(backends, [
    { variant: 'epoll', passed: ['t0', 't3', 't5'], expected: ['t2'], unexpected: ['t1'], refuted: ['t5'] },
    { variant: 'io_uring', passed: ['t0', 't1', 't3'], expected: ['t2'], unexpected: ['t5'], refuted: [] },
  ])
})
