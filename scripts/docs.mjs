/**
 * `npm run docs`: builds the site in build/docs with TypeDoc, from the docstrings and the pages in docs/.
 * Fails on warnings, on unresolved `{@link}`s and on broken links: those of the Markdown pages and of the
 * README as they stand in the repository, and those of the site. Links to other sites are not followed.
 * Fails, too, on a page of the site whose title isn't its heading, and on a link of the site to a file that a
 * browser would show as it is, or download: Markdown and sources have pages.
 * `npm run docs -- links` looks at the Markdown files only; `npm run docs -- --out DIRECTORY` builds the site
 * elsewhere, below the root.
 */
import { existsSync, readFileSync, rmSync, statSync } from 'node:fs'
import { dirname, extname, join, relative, resolve } from 'node:path'
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

/** What a browser shows as a page, or a page is made of. */
const SHOWN = ['', '.html', '.css', '.js', '.svg', '.png']

/** A page that was left out of typedoc.json is copied as it is: its readers would see Markdown. */
function checkPages(files) {
  const raw = new Set()
  for (const file of files) {
    for (const target of contents(file).links) {
      const path = target.split(/[#?]/)[0]
      if (!elsewhere(target) && !SHOWN.includes(extname(path))) raw.add(`${file}: ${target}`)
    }
  }
  if (raw.size > 0) {
    process.stderr.write(`${[...raw].join('\n')}\n`)
    throw new StepFailed(`site: ${raw.size} links lead to files, not pages; is one missing in typedoc.json?`)
  }
}

/** The side bar shows titles, the page its heading: the same words, so that readers know where they are. */
function checkTitles() {
  const { projectDocuments } = JSON.parse(readFileSync(join(ROOT, 'typedoc.json'), 'utf8'))
  const wrong = projectDocuments.flatMap((file) => {
    const text = readFileSync(join(ROOT, file), 'utf8')
    const title = /^---\ntitle: (.+)\n---\n/.exec(text)?.[1]
    const heading = /^# (.+)$/m.exec(text)?.[1].replaceAll('`', '')
    return title === heading ? [] : [`${file}: its title is '${title}', its heading '${heading}'`]
  })
  if (wrong.length === 0) return
  process.stderr.write(`${wrong.join('\n')}\n`)
  throw new StepFailed(`pages: ${wrong.length} titles aren't the headings`)
}

function markdownFiles() {
  const others = ['README.md', 'CONTRIBUTING.md', 'bench/README.md', 'examples/README.md']
  const pages = [...others, ...filesBelow('docs')]
  return pages.filter((file) => file.endsWith('.md') && existsSync(join(ROOT, file)))
}

await main(async () => {
  const [only, directory] = process.argv.slice(2)
  const site = only === '--out' ? directory : SITE
  if (site === undefined) throw new StepFailed('docs: --out needs a directory')
  if (only !== undefined && only !== 'links' && only !== '--out') {
    throw new StepFailed(`docs: can't do '${only}', only 'links' and '--out DIRECTORY'`)
  }
  if (only !== 'links') await install()
  checkLinks('pages', markdownFiles())
  checkTitles()
  if (only === 'links') return
  rmSync(join(ROOT, site), { recursive: true, force: true })
  await step('typedoc', process.execPath, [TYPEDOC, '--out', site])
  const files = filesBelow(site).filter((file) => file.endsWith('.html'))
  checkPages(files)
  checkLinks('site', files)
})
