/** The functions that CONTRIBUTING names on the way of a chunk exist, in the files that it names. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from './blocks.js'

const HEADING = 'One chunk, there and back'

/** What is named as `file`: `function`, `function`, ... */
function named(text: string): { file: string, names: string[] }[] {
  const steps = text.matchAll(/`((?:src|native)\/[\w./-]+)`:((?:[,\s]+`[#\w:]+`)+)/g)
  return [...steps].map(([, file, list]) => ({ file, names: [...list.matchAll(/`([^`]+)`/g)].map(([, name]) => name) }))
}

/** Whether a function of this name is defined here, and not merely called. */
function defines(source: string, file: string, name: string): boolean {
  if (!file.endsWith('.ts')) return new RegExp(`^\\w[\\w:<>*& ]*[ *&]${name}\\(`, 'm').test(source)
  const ofFile = `^(?:export )?(?:async )?function ${name}\\b`
  const ofClass = `^  (?:(?:private|protected|override|async|get) )*${name}\\(.*[{(,]$`
  return new RegExp(`${ofFile}|${ofClass}`, 'm').test(source)
}

const missing = (text: string) => named(text).flatMap(({ file, names }) => {
  if (!existsSync(join(ROOT, file))) return [`there is no ${file}`]
  const source = readFileSync(join(ROOT, file), 'utf8')
  return names.filter((name) => !defines(source, file, name)).map((name) => `${file} defines no ${name}`)
})

t.test('the functions on the way of a chunk exist', (t) => {
  const section = readFileSync(join(ROOT, 'CONTRIBUTING.md'), 'utf8').split(`### ${HEADING}\n`)[1].split('\n## ')[0]
  const count = named(section).reduce((sum, { names }) => sum + names.length, 0)
  t.ok(count > 40, `${count} are named`)
  t.strictSame(missing(section), [])
  t.end()
})

t.test('one that is only called, or in a file that is no more, is missed', (t) => {
  t.strictSame(missing('`src/vm/vm.ts`: `hear`, `installEndpoint`; `src/vm/none.ts`: `x`'), [
    'src/vm/vm.ts defines no installEndpoint', 'there is no src/vm/none.ts',
  ])
  t.strictSame(missing('`native/engine/epoll.cc`: `EpollBackend::turn`,\n  `receive_into`'), [
    'native/engine/epoll.cc defines no receive_into',
  ])
  t.end()
})
