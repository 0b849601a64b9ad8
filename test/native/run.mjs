/**
 * Builds the engine's tests with the address and undefined-behaviour sanitizers, and runs them.
 * TAP on stdout; exits with 1 when a test or the build fails, and skips where there is no Linux.
 */
import { spawn } from 'node:child_process'
import { mkdirSync, readdirSync, statSync } from 'node:fs'
import { availableParallelism } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const root = join(here, '..', '..')

if (process.platform !== 'linux') {
  console.log('1..0 # SKIP the engine is for Linux')
  process.exit(0)
}

const compiler = process.env.CXX ?? 'g++'
const flags = [
  '-std=c++20', '-O1', '-g', '-fsanitize=address,undefined', '-fno-sanitize-recover=all',
  '-fno-omit-frame-pointer', '-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wconversion',
]
const files = (directory, ending) => readdirSync(directory)
  .filter((name) => name.endsWith(ending))
  .map((name) => join(directory, name))
const output = join(root, 'build', 'test-native')

/** Runs a command with this process's output; stops at its failure. */
async function run(command, args) {
  const status = await new Promise((resolve) => {
    const child = spawn(command, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    child.on('error', (error) => {
      console.error(`${command}: ${error.message}`)
      resolve(1)
    })
    child.on('close', (code, signal) => {
      if (signal !== null) console.error(`${command} was ended by ${signal}`)
      resolve(code ?? 1)
    })
  })
  if (status !== 0) process.exit(1)
}

const changedAt = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0

mkdirSync(output, { recursive: true })
const program = join(output, 'engine-test')
const engine = join(root, 'native', 'engine')
const sources = [...files(engine, '.cc'), ...files(here, '.cc')]
const headersChanged = Math.max(...[...files(engine, '.h'), ...files(here, '.h')].map(changedAt))
const objectOf = (source) => join(output, `${basename(dirname(source))}-${basename(source, '.cc')}.o`)

const waiting = sources.filter(
  (source) => changedAt(objectOf(source)) < Math.max(changedAt(source), headersChanged),
)
await Promise.all(
  Array.from({ length: availableParallelism() }, async () => {
    for (let source = waiting.pop(); source !== undefined; source = waiting.pop()) {
      await run(compiler, [...flags, '-c', '-o', objectOf(source), source])
    }
  }),
)
await run(compiler, [...flags, '-o', program, ...sources.map(objectOf)])
await run(program, [])
