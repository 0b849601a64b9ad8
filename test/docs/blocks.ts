/** The code blocks of the Markdown pages: what they are, how they are found, and where their code goes. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** What an info string may say after the language. */
const FLAGS = ['fragment', 'error', 'server', 'logs'] as const
export type Flag = (typeof FLAGS)[number]

/** A fenced block, as it stands in a page. */
interface Fence {
  readonly page: string
  /** Number of the line with the opening fence, from 1. */
  readonly line: number
  readonly language: string
  readonly words: readonly string[]
  readonly code: string
}

/**
 * A program of a page.
 * - no flag: it runs, and ends by itself with exit code 0 and without a word on stderr
 * - `logs`: the same, but it writes to stderr
 * - `server`: it runs until it is interrupted, which happens when it has printed `listening` or `ready`, or
 *   listens on the port in its code; before that, it is talked to if the page says how
 * - `fragment`: it compiles
 * - `error`: it doesn't compile
 */
export interface Block extends Fence {
  readonly flags: ReadonlySet<Flag>
  /** File name without extension: `tcp-120`. */
  readonly id: string
  /** What it has to print, from a block `text output` that comes next. */
  readonly output: string | undefined
  /** Lines to send (`> `) and lines to expect (`< `), from a block `text talk` that comes next. */
  readonly talk: readonly string[] | undefined
}

/** README.md and the pages in docs/, as paths from the root. */
export function pages(): string[] {
  const docs = readdirSync(join(ROOT, 'docs')).filter((name) => name.endsWith('.md'))
  return ['README.md', 'CONTRIBUTING.md', ...docs.sort().map((name) => `docs/${name}`)]
}

export function fencesOf(page: string, text = readFileSync(join(ROOT, page), 'utf8')): Fence[] {
  const fences: Fence[] = []
  let open: { line: number; marker: string; info: string; code: string[] } | undefined
  text.split('\n').forEach((content, i) => {
    const fence = /^(`{3,}|~{3,})\s*(.*)$/.exec(content)
    if (open === undefined) {
      if (fence !== null) open = { line: i + 1, marker: fence[1], info: fence[2].trim(), code: [] }
      return
    }
    if (fence?.[2] !== '' || !fence[1].startsWith(open.marker)) {
      open.code.push(content)
      return
    }
    const [language = '', ...words] = open.info.split(/\s+/)
    fences.push({ page, line: open.line, language, words, code: `${open.code.join('\n')}\n` })
    open = undefined
  })
  if (open !== undefined) throw new Error(`${page}:${open.line}: this block has no end`)
  return fences
}

function flagsOf({ page, line, words }: Fence): Set<Flag> {
  for (const word of words) {
    if (!FLAGS.includes(word as Flag)) throw new Error(`${page}:${line}: unknown flag '${word}'`)
  }
  return new Set(words as Flag[])
}

/** The programs of a page, in TypeScript and JavaScript. */
export function blocksOf(page: string, text?: string): Block[] {
  const fences = fencesOf(page, text)
  return fences.flatMap((fence, i) => {
    if (!['ts', 'js'].includes(fence.language)) return []
    const next = fences.at(i + 1)
    const follows = next?.language === 'text' ? next : undefined
    const output = follows?.words[0] === 'output' ? follows.code : undefined
    const talk = follows?.words[0] === 'talk' ? follows.code.trimEnd().split('\n') : undefined
    const name = page.replace(/^docs\//, '').replace(/\.md$/, '').toLowerCase()
    return [{ ...fence, flags: flagsOf(fence), id: `${name}-${fence.line}`, output, talk }]
  })
}

export const place = ({ page, line }: Fence): string => `${page}:${line}`
