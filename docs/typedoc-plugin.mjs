/**
 * For TypeDoc: what the site needs beyond its options.
 *
 * - Source files and folders that a page links to become pages below it. As files they would be downloaded,
 *   and a `.ts` file would be taken for a film.
 * - The entry points go by the names that programs import.
 * - Comments of Node's types link to events, which have no place here; they become code.
 */
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { dirname, extname, join, relative, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Converter, DocumentReflection } from 'typedoc'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const EVENT = /^'\w+'$/
const ENTRY_POINTS = { index: 'marketplace-native', net: 'marketplace-native/net', tls: 'marketplace-native/tls' }
/** What the site shows as code, and the language that it is coloured as. */
const LANGUAGES = {
  '.ts': 'ts', '.mjs': 'js', '.js': 'js', '.json': 'json', '.c': 'text', '.h': 'text', '.cc': 'text',
}

function plain(parts = []) {
  return parts.map((part) => part.kind === 'inline-tag' && EVENT.test(part.text)
    ? { kind: 'code', text: `\`${part.text}\`` }
    : part)
}

function withoutEvents({ project }) {
  for (const { comment } of Object.values(project.reflections)) {
    if (comment === undefined) continue
    comment.summary = plain(comment.summary)
    for (const tag of comment.blockTags) tag.content = plain(tag.content)
  }
}

function nameEntryPoints({ project }) {
  for (const child of project.children ?? []) child.name = ENTRY_POINTS[child.name] ?? child.name
}

/** A file as a block of code; the fence is longer than any that could be in it. */
function code(path) {
  const fence = '`'.repeat(8)
  return { kind: 'code', text: `${fence}${LANGUAGES[extname(path)]}\n${readFileSync(path, 'utf8')}${fence}` }
}

const text = (markdown) => ({ kind: 'text', text: markdown })

function sourceParts(path, title) {
  if (!statSync(path).isDirectory()) return [text(`# ${title}\n\n`), code(path)]
  const files = readdirSync(path).filter((file) => extname(file) in LANGUAGES).sort()
  const parts = files.flatMap((file) => [text(`\n\n## ${file}\n\n`), code(join(path, file))])
  return [text(`# ${title}\n`), ...parts]
}

/** What a link of a page leads to, if the site can show it as code. */
function sourceOf(part, page) {
  const path = resolve(dirname(page), decodeURIComponent(part.text.split('#')[0]))
  const found = statSync(path, { throwIfNoEntry: false })
  return found !== undefined && (found.isDirectory() || extname(path) in LANGUAGES) ? path : undefined
}

function pagesOfSources(_context, page) {
  const { project } = page
  const path = project.files.getReflectionPath(page)
  const pages = new Map()
  for (const part of page.content) {
    const source = part.kind === 'relative-link' ? sourceOf(part, path) : undefined
    if (source === undefined) continue
    if (!pages.has(source)) {
      const within = relative(dirname(path), source)
      const name = within.startsWith('..') ? relative(ROOT, source) : within
      const title = statSync(source).isDirectory() ? `${name}/` : name
      const made = new DocumentReflection(title, page, sourceParts(source, title), {})
      page.addChild(made)
      project.registerReflection(made, undefined, source)
      pages.set(source, project.files.registerAbsolute(source).target)
    }
    part.target = pages.get(source)
  }
}

export function load({ converter }) {
  converter.on(Converter.EVENT_CREATE_DOCUMENT, pagesOfSources)
  converter.on(Converter.EVENT_RESOLVE_BEGIN, withoutEvents)
  converter.on(Converter.EVENT_RESOLVE_END, nameEntryPoints)
}
