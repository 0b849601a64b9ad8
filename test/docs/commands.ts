/** The commands in `sh` blocks: whether they name scripts, programs and files that exist. */
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ROOT } from './blocks.js'

const CLI = join(ROOT, 'dist/lib/cli.js')
/** Programs of the reader's machine. */
const OTHERS = ['telnet', 'nc', 'git', 'cd', 'ls', 'cat', 'export']
/** What npm does by itself. */
const NPM = ['ci', 'install', 'i', 'pack', 'uninstall']

const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
  scripts: Readonly<Record<string, string>>
}

/** The commands of a block, as words; without comments, prompts and variables set for them. */
export function commandsOf(code: string): string[][] {
  const lines = code.split('\n').map((line) => line.replace(/^\$ /, '').replace(/(^|\s)#.*$/, ''))
  const commands = lines.flatMap((line) => line.split(/&&|\|\||[|;]/))
  return commands
    .map((command) => command.trim().split(/\s+/).filter((word) => !/^[A-Z_]+=/.test(word)))
    .filter(([program]) => program !== undefined && program !== '')
}

/** What is wrong with a command; `undefined` if nothing is. */
export function commandProblem([program, ...args]: readonly string[]): string | undefined {
  switch (program) {
    case 'npm':
      return npmProblem(args)
    case 'npx':
      return args[0] === 'marketplace' ? cliProblem(args.slice(1)) : binProblem(args[0])
    case 'marketplace':
      return cliProblem(args)
    case 'node':
      return nodeProblem(args)
    default:
      return OTHERS.includes(program) ? undefined : `nobody knows the program '${program}'`
  }
}

function npmProblem([command, ...args]: readonly string[]): string | undefined {
  if (NPM.includes(command)) return undefined
  const script = command === 'run' ? args.find((arg) => !arg.startsWith('-')) : command
  if (script !== undefined && Object.hasOwn(manifest.scripts, script)) return undefined
  return `there is no npm script '${script}'`
}

function binProblem(name: string | undefined): string | undefined {
  return name !== undefined && existsSync(join(ROOT, 'node_modules/.bin', name))
    ? undefined
    : `there is no program '${name}' in node_modules`
}

function nodeProblem(args: readonly string[]): string | undefined {
  const file = args.find((arg) => !arg.startsWith('-'))
  return file === undefined || existsSync(join(ROOT, file)) ? undefined : `there is no file ${file}`
}

const cli = (...args: string[]) => spawnSync(process.execPath, [CLI, ...args], { encoding: 'utf8' })

/** Asks the command line what it knows. */
function cliProblem([command = '--help', ...args]: readonly string[]): string | undefined {
  const known = cli(command.startsWith('-') ? '--help' : command, '--help').stdout
  if (!command.startsWith('-') && !known.startsWith(`Usage: marketplace ${command} `)) {
    return `there is no command '${command}'`
  }
  const option = args.find((arg) => arg.startsWith('-') && !new RegExp(`${arg}\\b`).test(known))
  return option === undefined ? undefined : `unknown option '${option}'`
}
