/**
 * The site as `npm run docs` builds it: everything that a page leads to is a page, the side bar has the
 * pages' own titles, and the search's index holds the text of all of them. It is opened from disk, so
 * the index must be a script: a page of `file:` may not fetch.
 */
import { execFile } from 'node:child_process'
import { readFileSync, readdirSync, rmSync } from 'node:fs'
import { dirname, extname, join, resolve } from 'node:path'
import { promisify } from 'node:util'
import { inflateSync } from 'node:zlib'
import t from 'tap'
import { ROOT } from './blocks.js'

const OUT = 'build/docs-test'
const site = join(ROOT, OUT)
const { projectDocuments } = JSON.parse(readFileSync(join(ROOT, 'typedoc.json'), 'utf8')) as
  { projectDocuments: string[] }
const titleOf = (file: string) => /^title: (.+)$/m.exec(readFileSync(join(ROOT, file), 'utf8'))?.[1] ?? file

/** What TypeDoc's scripts hold: `window.NAME = "…"`, JSON that is compressed and in Base64. */
function dataOf(name: string, script: string): unknown {
  const text = readFileSync(join(site, 'assets', `${script}.js`), 'utf8')
  const base64 = new RegExp(`^window\\.${name} = "([^"]+)"`).exec(text)?.[1] ?? ''
  return JSON.parse(inflateSync(Buffer.from(base64, 'base64')).toString('utf8'))
}

function htmlFiles(): string[] {
  const all = readdirSync(site, { recursive: true, encoding: 'utf8' })
  return all.filter((file) => file.endsWith('.html'))
}

t.teardown(() => { rmSync(site, { recursive: true, force: true }) })

// Everything of src is read for it: on a busy machine that takes a while.
t.setTimeout(300_000)
await promisify(execFile)(process.execPath, [join(ROOT, 'scripts/docs.mjs'), '--out', OUT], { cwd: ROOT })

t.test('what a page leads to is a page', (t) => {
  const files = htmlFiles()
  t.ok(files.length > projectDocuments.length)
  const raw = new Set<string>()
  for (const file of files) {
    for (const [, target] of readFileSync(join(site, file), 'utf8').matchAll(/\shref="([^"#?]+)/g)) {
      if (/^[a-z]+:/i.test(target) || ['.html', '.css', '.js', '.svg'].includes(extname(target))) continue
      raw.add(`${file}: ${target}`)
    }
  }
  t.strictSame([...raw], [])
  t.end()
})

t.test('the side bar has all pages, by their titles; entry points go by the names of imports', (t) => {
  const links = dataOf('navigationData', 'navigation') as { text: string, path?: string }[]
  t.strictSame(links.map(({ text }) => text), [
    ...projectDocuments.map(titleOf), 'marketplace-native', 'marketplace-native/net', 'marketplace-native/tls',
  ])
  t.ok(links.every(({ path }) => path !== undefined), 'nothing in it is only a folder')
  t.end()
})

t.test('the sources of the examples are pages below theirs, with their code', (t) => {
  const examples = join(site, 'documents/Examples.html')
  const html = readFileSync(examples, 'utf8')
  const target = />chat<\/a>/.exec(html) === null ? '' : /href="([^"]+)">chat<\/a>/.exec(html)?.[1] ?? ''
  const page = readFileSync(resolve(dirname(examples), target), 'utf8')
  const text = page.replace(/<[^>]+>/g, '').replace(/&nbsp;/g, ' ')
  t.match(text, 'export const chatServer = (port: number')
  t.end()
})

t.test('the search knows the pages and what they say', (t) => {
  const { rows, index } = dataOf('searchData', 'search') as
    { rows: { name: string }[], index: { invertedIndex: [word: string, where: unknown][] } }
  const names = rows.map(({ name }) => name)
  t.strictSame(projectDocuments.map(titleOf).filter((title) => !names.includes(title)), [])
  const words = new Set(index.invertedIndex.map(([word]) => word))
  t.ok(words.has('handshak') || words.has('handshake'), 'a word that only pages have')
  t.end()
})
