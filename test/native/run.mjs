/**
 * Builds the engine's tests with the address and undefined-behaviour sanitizers, and runs them: a process for each
 * backend, side by side, as they wait most of their time. On epoll and on io_uring; `all` as an argument adds io_uring
 * as older kernels have it. TAP on stdout; exits with 1 when a test or the build fails, and skips where there is no
 * Linux.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')
const [which] = process.argv.slice(2)
const backends = ['epoll', 'io_uring', ...which === 'all' ? ['io_uring, whole buffers', 'io_uring, bare'] : []]

if (process.platform !== 'linux') {
  console.log('1..0 # SKIP the engine is for Linux')
  process.exit(0)
}

const compiler = process.env.CXX ?? 'g++'
const flags = [
  '-std=c++20', '-O1', '-g1', '-fsanitize=address,undefined', '-fno-sanitize-recover=all',
  '-fno-omit-frame-pointer', '-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wconversion',
]
const files = (directory, ending) => readdirSync(directory)
  .filter((name) => name.endsWith(ending))
  .map((name) => join(directory, name))
const output = join(root, 'build', 'test-native')

/** Runs a command with this process's output, or gives its lines to `onLine`. @returns its exit code */
async function run(command, args, onLine) {
  const child = spawn(command, args, { stdio: ['ignore', onLine === undefined ? 'inherit' : 'pipe', 'inherit'] })
  if (onLine !== undefined) createInterface({ input: child.stdout }).on('line', onLine)
  return new Promise((resolve) => {
    child.on('error', (error) => {
      console.error(`${command}: ${error.message}`)
      resolve(1)
    })
    child.on('close', (code, signal) => {
      if (signal !== null) console.error(`${command} ${args.join(' ')} was ended by ${signal}`)
      resolve(code ?? 1)
    })
  })
}

async function compile(args) {
  if (await run(compiler, [...flags, ...args]) !== 0) process.exit(1)
}

const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0

mkdirSync(output, { recursive: true })
const program = join(output, 'engine-test')
const engine = join(root, 'native', 'engine')
const sources = [...files(engine, '.cc'), ...files(here, '.cc')]
const headers = [...files(engine, '.h'), ...files(here, '.h')]
const changed = Math.max(...headers.map(changedAt), changedAt(fileURLToPath(import.meta.url)))
const objectOf = (source) => join(output, `${basename(dirname(source))}-${basename(source, '.cc')}.o`)

// The headers of C++ are read once: more than half of the time goes there. Those of the system (.h) are not: some of
// them can't be had together.
const common = join(output, 'common.h')
const includesOf = (file) => readFileSync(file, 'utf8').match(/^#include <\w+>$/gm) ?? []
const included = new Set([...sources, ...headers].flatMap(includesOf))
const text = `${[...included].sort().join('\n')}\n`
if (changedAt(`${common}.gch`) < changed || readFileSync(common, 'utf8') !== text) {
  writeFileSync(common, text)
  await compile(['-x', 'c++-header', '-o', `${common}.gch`, common])
}

const newest = Math.max(changed, changedAt(`${common}.gch`))
const waiting = sources.filter((source) => changedAt(objectOf(source)) < Math.max(changedAt(source), newest))
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let source = waiting.pop(); source !== undefined; source = waiting.pop()) {
      await compile(['-include', common, '-c', '-o', objectOf(source), source])
    }
  }),
)
await compile(['-o', program, ...sources.map(objectOf)])

let number = 0
const codes = await Promise.all(backends.map((backend) => run(program, [backend], (line) => {
  // One plan for them all.
  if (/^1\.\.\d+$/.test(line)) return
  console.log(line.replace(/^((?:not )?ok) \d+/, (_all, result) => `${result} ${++number}`))
})))
console.log(`1..${number}`)
process.exit(codes.every((code) => code === 0) ? 0 : 1)
