/**
 * Builds the engine's tests with the address and undefined-behaviour sanitizers, and runs them.
 * TAP on stdout; exits with 1 when a test or the build fails, and skips where there is no Linux.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
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
const sources = (directory) => readdirSync(directory)
  .filter((name) => name.endsWith('.cc'))
  .map((name) => join(directory, name))
const output = join(root, 'build', 'test-native')

/** Runs a command with this process's output; stops at its failure. */
function run(command, args) {
  const { status, signal, error } = spawnSync(command, args, {
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  if (error !== undefined) console.error(`${command}: ${error.message}`)
  if (status !== 0) {
    if (signal !== null) console.error(`${command} was ended by ${signal}`)
    process.exit(1)
  }
}

mkdirSync(output, { recursive: true })
const program = join(output, 'engine-test')
const engine = join(root, 'native', 'engine')
run(compiler, [...flags, '-o', program, ...sources(engine), ...sources(here)])
run(program, [])
