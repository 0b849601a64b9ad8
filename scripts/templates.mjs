/**
 * `node scripts/templates.mjs` makes the JavaScript templates of `marketplace new` from the TypeScript ones, by taking
 * the types out; with `--check` it fails if they are others. Owns how a stripped file is made fit to be read.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import tsBlankSpace from 'ts-blank-space'
import { ROOT, StepFailed, main } from './steps.mjs'

const FILES = ['main', 'server', 'server.test']

/** JavaScript as a person would have written it: where types were, ts-blank-space leaves room. */
export function stripped(typescript) {
  const before = typescript.split('\n')
  const after = tsBlankSpace(typescript.replaceAll('dist/main.js', 'main.js')).split('\n')
  // What has no type left but a semicolon, which it puts where one could be missed.
  const tidy = after.map((line, i) => before[i].endsWith(';') ? line : line.trimEnd().replace(/;$/, ''))
  const kept = tidy.filter((line, i) => line.trim() !== '' || before[i].trim() === '')
  return kept.map((line) => {
    const [, indent, rest] = /^( *)(.*)$/.exec(line)
    return (indent + rest.replace(/ {2,}(?=[(])/g, '').replace(/ {2,}/g, ' ').replace(/ (?=[,);:])/g, '')).trimEnd()
  }).join('\n')
}

await main(() => {
  const check = process.argv[2] === '--check'
  for (const file of FILES) {
    const path = join(ROOT, 'templates/javascript', `${file}.js`)
    const made = stripped(readFileSync(join(ROOT, 'templates/typescript/src', `${file}.ts`), 'utf8'))
    if (!check) writeFileSync(path, made)
    else if (readFileSync(path, 'utf8') !== made) {
      throw new StepFailed(`templates/javascript/${file}.js is not what node scripts/templates.mjs makes`)
    }
  }
})
