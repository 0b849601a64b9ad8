/** `marketplace new`: makes a small project, with a server, a test and a benchmark, from `templates/`. */
import type { Command } from 'commander'
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { basename, dirname, join, relative, resolve } from 'node:path'
import { PACKAGE_ROOT } from '../support/package-root.js'
import { CommandError, firstLine } from './messages.js'

interface NewOptions {
  readonly typescript: boolean
  readonly from?: string
}

const TEMPLATES = join(PACKAGE_ROOT ?? '', 'templates')

/** npm leaves out files of this name when it packs. */
const RENAMED: Readonly<Partial<Record<string, string>>> = { gitignore: '.gitignore' }

/** What npm takes for the name of a package, without a scope. */
const NAME = /^[a-z0-9][a-z0-9._-]{0,213}$/

/** The files of a template, by their path in the project. */
function filesOf(template: string): Map<string, string> {
  const root = join(TEMPLATES, template)
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' })
  const files = paths.filter((path) => statSync(join(root, path)).isFile())
  return new Map(files.map((path) => {
    const name = RENAMED[basename(path)] ?? basename(path)
    return [join(dirname(path), name), readFileSync(join(root, path), 'utf8')]
  }))
}

/** A directory that isn't there yet, or is empty. */
function makeRoom(directory: string): void {
  try {
    mkdirSync(directory, { recursive: true })
    if (readdirSync(directory).length === 0) return
  } catch (error) {
    throw new CommandError(`${directory} can't be made: ${firstLine(error)}`)
  }
  throw new CommandError(`${directory} is not empty; nothing was written`)
}

/** What the project depends on: a release, or a tarball or a clone that is on this machine, as seen from there. */
function dependency(directory: string, from: string | undefined, version: string): string {
  if (from === undefined) return `^${version}`
  if (!existsSync(from)) throw new CommandError(`--from ${from}: there is no such file or folder`, 2)
  return `file:${relative(directory, from)}`
}

function createProject(directory: string, { typescript, from }: NewOptions, version: string): void {
  const name = basename(resolve(directory))
  if (!NAME.test(name)) {
    const rule = 'use lower-case letters, digits and - . _'
    throw new CommandError(`'${name}' can't be the name of a package: ${rule}`, 2)
  }
  const depends = dependency(directory, from, version)
  makeRoom(directory)
  const values: Readonly<Record<string, string>> = {
    name, version: depends, server: typescript ? 'src/server.ts' : 'server.js',
  }
  for (const template of ['common', typescript ? 'typescript' : 'javascript']) {
    for (const [path, text] of filesOf(template)) {
      const target = join(directory, path)
      mkdirSync(dirname(target), { recursive: true })
      writeFileSync(target, text.replace(/\{\{(\w+)\}\}/g, (_all, key: string) => values[key]))
    }
  }
  process.stdout.write([
    `made ${directory}: a server, its test and its benchmark. Next:`,
    `  cd ${directory}`, '  npm install', '  npm test', '  npm start', '',
  ].join('\n'))
}

export function addNew(
  program: Command, done: (code: Promise<number>) => Promise<void>, version: string,
): void {
  program
    .command('new')
    .summary('make a small project of your own')
    .description('Make a project: a server of a few lines, a test with a real client, a benchmark.')
    .argument('<directory>', 'where; its last part is the name of the package')
    .option('--typescript', 'in TypeScript instead of JavaScript', false)
    .option('--from <path>', 'depend on a tarball or a clone of marketplace-native, not on a release')
    .action((directory: string, options: NewOptions) =>
      done(Promise.resolve().then(() => {
        createProject(directory, options, version)
        return 0
      })))
}
