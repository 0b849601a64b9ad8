/**
 * `npm run docs`: builds the site in build/docs with TypeDoc, from the docstrings and the pages in docs/.
 * Fails on warnings, on unresolved `{@link}`s and on broken links: those of the Markdown pages and of the
 * README as they stand in the repository, and those of the site. Links to other sites are not followed.
 * `npm run docs -- links` looks at the Markdown files only.
 */
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'
import { install } from './install.mjs'
import { ROOT, StepFailed, filesBelow, main, say, step } from './steps.mjs'

const SITE = 'build/docs'
const TYPEDOC = 'node_modules/typedoc/bin/typedoc'

const elsewhere = (target) => /^([a-z][a-z+.-]*:|\/\/)/i.test(target)

/** The id that GitHub gives a heading. */
export function slug(heading) {
  const text = heading.replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1').replace(/[`*]/g, '')
  return text.trim().toLowerCase().replace(/[^\p{L}\p{N}\p{M}_ -]/gu, '').replace(/ /g, '-')
}

/** Text without its code: what looks like a link there is none. */
function withoutCode(markdown) {
  const prose = markdown.replace(/^(`{3,}|~{3,})[^]*?^\1\s*$/gm, '')
  return prose.replace(/(`+)[^`]([^]*?[^`])?\1(?!`)/g, (code) => (code.includes('\n\n') ? code : 'code'))
}

function markdownFile(text) {
  const headings = text.replace(/^(`{3,}|~{3,})[^]*?^\1\s*$/gm, '').matchAll(/^#{1,6}\s+(.+?)\s*#*$/gm)
  const ids = new Set()
  for (const [, heading] of headings) {
    const id = slug(heading)
    let unique = id
    for (let n = 1; ids.has(unique); n++) unique = `${id}-${n}`
    ids.add(unique)
  }
  const prose = withoutCode(text)
  for (const [, id] of prose.matchAll(/<a\s[^>]*?(?:id|name)="([^"]+)"/g)) ids.add(id)
  const inline = [...prose.matchAll(/\[[^\]]*\]\(\s*<?([^)\s>]+)>?[^)]*\)/g)]
  const references = [...prose.matchAll(/^ {0,3}\[[^\]]+\]:\s+<?([^\s>]+)/gm)]
  const html = [...prose.matchAll(/<(?:a|img)\s[^>]*?(?:href|src)="([^"]+)"/g)]
  return { ids, links: [...inline, ...references, ...html].map(([, target]) => target) }
}

const entities = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'" }
const decoded = (text) => text.replace(/&(amp|lt|gt|quot|#39);/g, (_all, name) => entities[name])

function htmlFile(text) {
  const attributes = (names) => [...text.matchAll(new RegExp(`\\s(?:${names})="([^"]*)"`, 'g'))]
  return {
    ids: new Set(attributes('id|name').map(([, id]) => decoded(id))),
    links: attributes('href|src').map(([, target]) => decoded(target)),
  }
}

const known = new Map()

/** Ids and links of a file. */
function contents(path) {
  let found = known.get(path)
  if (found === undefined) {
    const parse = path.endsWith('.md') ? markdownFile : path.endsWith('.html') ? htmlFile : undefined
    found = parse?.(readFileSync(join(ROOT, path), 'utf8')) ?? { ids: undefined, links: [] }
    known.set(path, found)
  }
  return found
}

/** What is wrong with a link; `undefined` if nothing is. */
function problem(from, target) {
  if (target === '' || elsewhere(target)) return undefined
  const [file, id] = target.split('#').map(decodeURIComponent)
  const path = file === '' ? from : relative(ROOT, resolve(ROOT, dirname(from), file.split('?')[0]))
  if (path.startsWith('..') || !existsSync(join(ROOT, path))) return `there is no ${path}`
  if (id === undefined || id === '' || statSync(join(ROOT, path)).isDirectory()) return undefined
  const { ids } = contents(path)
  return ids === undefined || ids.has(id) ? undefined : `there is no #${id} in ${path}`
}

function checkLinks(name, files) {
  let links = 0
  const broken = []
  for (const file of files) {
    for (const target of contents(file).links) {
      links++
      const reason = problem(file, target)
      if (reason !== undefined) broken.push(`${file}: ${target}: ${reason}`)
    }
  }
  if (broken.length > 0) {
    process.stderr.write(`${broken.join('\n')}\n`)
    throw new StepFailed(`${name}: ${broken.length} of ${links} links are broken`)
  }
  say(`${name}: ${links} links in ${files.length} files checked`)
}

function markdownFiles() {
  const pages = ['README.md', 'CONTRIBUTING.md', ...filesBelow('docs')]
  return pages.filter((file) => file.endsWith('.md') && existsSync(join(ROOT, file)))
}

await main(async () => {
  const [only] = process.argv.slice(2)
  if (only !== undefined && only !== 'links') throw new StepFailed(`docs: can't do '${only}', only 'links'`)
  checkLinks('pages', markdownFiles())
  if (only === 'links') return
  await install()
  rmSync(join(ROOT, SITE), { recursive: true, force: true })
  await step('typedoc', process.execPath, [TYPEDOC, '--out', SITE])
  checkLinks('site', filesBelow(SITE).filter((file) => file.endsWith('.html')))
})
