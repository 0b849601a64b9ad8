/** docs/net-compat.md is true: to the tests beside it, and to what `node:net` and ours have. */
import { readdirSync, readFileSync } from 'node:fs'
import * as nodeNet from 'node:net'
import { join } from 'node:path'
import t from 'tap'
import * as ourNet from '../../src/net/index.js'
import { ROOT } from '../docs/blocks.js'

const page = readFileSync(join(ROOT, 'docs/net-compat.md'), 'utf8')

/** The rows of the table under a heading, as cells. */
function table(heading: string): string[][] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? ''
  return section.split('\n').filter((line) => line.startsWith('| ')).slice(2)
    .map((line) => line.split('|').slice(1, -1).map((cell) => cell.trim()))
}

/** Without the backquotes. */
const bare = (text: string): string => text.replaceAll('`', '')

/** The behaviours of the test files: the files by name. */
function tested(): Map<string, string[]> {
  const found = new Map<string, string[]>()
  const folder = join(ROOT, 'test/net')
  for (const file of readdirSync(folder).filter((name) => name.endsWith('.test.ts')).sort()) {
    const source = readFileSync(join(folder, file), 'utf8')
    const names = new Set([...source.matchAll(/^both\('([^']+)'/gm)].flatMap(([, list]) => list.split(' ')))
    for (const name of names) found.set(name, [...found.get(name) ?? [], file.replace('.test.ts', '')])
  }
  return found
}

void t.test('each behaviour that is tested has its row, with its files, and no other has one', async (t) => {
  const rows = new Map(table('Behaviours').map(([name, , files]) => [bare(name), bare(files).split(', ')]))
  t.strictSame(Object.fromEntries([...rows].sort()), Object.fromEntries([...tested()].sort()))
  t.ok(rows.size > 120)
})

void t.test('what does not apply says why, and is not tested', async (t) => {
  const names = tested()
  for (const [name, why] of table('Behaviours that do not apply')) {
    t.ok(why.length > 5 && !names.has(bare(name)), name)
  }
})

void t.test('what differs says how', async (t) => {
  for (const [name, is] of [...table('Behaviours'), ...table('Events')]) {
    t.match(is, /^(same|differs: .{5,}|absent: .{5,})$/, name)
  }
  for (const [name, is, why] of [...table('Members'), ...table('Options')]) {
    t.match(is, /^(same|differs|absent|added)$/, name)
    if (is !== 'same') t.ok(why.length > 5, name)
  }
})

void t.test('every member of node:net has a row, and what is said to be the same is there', async (t) => {
  const rows = new Map(table('Members').map(([name, is]) => [bare(name), is]))
  const groups = [
    ['net', [nodeNet], ourNet],
    ['server', [nodeNet.Server.prototype, new nodeNet.Server()], new ourNet.Server()],
    ['socket', [nodeNet.Socket.prototype, new nodeNet.Socket()], new ourNet.Socket()],
  ] as const
  for (const [group, theirs, ours] of groups) {
    for (const name of new Set(theirs.flatMap((object) => Object.getOwnPropertyNames(object)))) {
      // Newer Nodes have more internals.
      if (name === 'default' || (name.startsWith('_') && !rows.has(`${group}.${name}`))) continue
      const is = rows.get(`${group}.${name}`)
      t.ok(is !== undefined, `${group}.${name} has a row`)
      if (is === 'same' || is === 'absent') t.equal(name in ours, is === 'same', `${group}.${name} is ${is}`)
    }
  }
})
