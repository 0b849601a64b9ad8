/**
 * The package as users get it: packed, and installed into an empty project without scripts, compiler or
 * python. Owns the projects below build/package.
 */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { copyFileSync, existsSync, mkdirSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { ROOT, StepFailed } from '../steps.mjs'

export const WORK = join(ROOT, 'build/package')
const HERE = join(ROOT, 'scripts/package')
const TIMEOUT = 60_000

/** npm's own program, to be run by a Node of our choice. */
function npmProgram() {
  const beside = join(dirname(dirname(process.execPath)), 'lib/node_modules/npm/bin/npm-cli.js')
  const found = [process.env.npm_execpath, beside].find((path) => path?.endsWith('.js') && existsSync(path))
  if (found === undefined) throw new StepFailed('package: npm is not beside this Node; run it with npm run')
  return found
}

export function run(program, args, options) {
  const { status, signal, stdout, stderr, error } = spawnSync(program, args, { encoding: 'utf8', ...options })
  if (status === 0) return stdout
  const why = error?.message ?? `${stdout}${stderr}`.trim()
  throw new StepFailed(`package: ${program} ${args.join(' ')}: failed (${status ?? signal})\n${why}`)
}

/** Packs; the path of the tarball, and what npm says of it. */
export function pack(env = {}) {
  mkdirSync(WORK, { recursive: true })
  const args = [npmProgram(), 'pack', '--json', '--pack-destination', WORK]
  const text = run(process.execPath, args, { cwd: ROOT, env: { ...process.env, ...env } })
  const said = JSON.parse(text.slice(text.search(/^[[{]/m)))
  const about = Array.isArray(said) ? said[0] : Object.values(said)[0]
  return { tarball: join(WORK, about.filename), about }
}

/** An empty project with the tarball in it, and a PATH on which there is `node` and nothing else. */
export function installed(name, tarball, node = process.execPath) {
  const directory = join(WORK, name)
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(join(directory, 'bin'), { recursive: true })
  symlinkSync(node, join(directory, 'bin/node'))
  writeFileSync(join(directory, 'package.json'), '{"name": "empty", "private": true}\n')
  const env = { ...cleanEnvironment(), PATH: join(directory, 'bin') }
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', '--prefer-offline', tarball]
  run(process.execPath, [npmProgram(), ...args], { cwd: directory, env })
  for (const file of readdirSync(HERE).filter((file) => /^(esm|cjs|typed)\./.test(file))) {
    copyFileSync(join(HERE, file), join(directory, file))
  }
  return { directory, env, node }
}

/** Nothing of ours, and nothing that npm has set for the script that we are. */
function cleanEnvironment() {
  const ours = ([key]) => !/^(npm_package_|npm_lifecycle_|MARKETPLACE_|NODE_OPTIONS|NODE_PATH)/.test(key)
  return Object.fromEntries(Object.entries(process.env).filter(ours))
}

/** Sends to a port, and waits until as much has come back. */
async function echoed(port) {
  const socket = connect(port, '127.0.0.1')
  const sent = Buffer.alloc(100_000, 'marketplace ')
  socket.write(sent)
  const received = []
  let length = 0
  for await (const chunk of socket) {
    received.push(chunk)
    length += chunk.length
    if (length >= sent.length) break
  }
  if (Buffer.concat(received).equals(sent)) return
  throw new StepFailed(`package: ${length} bytes came back, not the same`)
}

/**
 * Runs an echo server until a real client has had its bytes back.
 * Resolves to what it printed as `{ transport, port, same, ... }`, and `errors`, all of its stderr.
 */
export async function serve({ directory, env, node }, args, more = {}) {
  const stdio = ['ignore', 'pipe', 'pipe']
  const child = spawn(node, args, { cwd: directory, env: { ...env, ...more }, stdio })
  const timer = setTimeout(() => child.kill('SIGKILL'), TIMEOUT)
  const said = { errors: '' }
  child.stderr.on('data', (chunk) => { said.errors += chunk })
  const ended = once(child, 'close')
  try {
    for await (const line of createInterface(child.stdout)) {
      const listening = /listening on .*?:(\d+)/.exec(line)
      const [, key, value] = listening ? [null, 'port', listening[1]] : /^(\w+): (.*)$/.exec(line) ?? []
      if (key !== undefined) said[key] = value
      if (said.port !== undefined) break
    }
    if (said.port === undefined) {
      await ended
      throw new StepFailed(`package: ${args.join(' ')} did not listen\n${said.errors}`)
    }
    await echoed(Number(said.port))
  } finally {
    clearTimeout(timer)
    child.kill('SIGKILL')
    await ended
  }
  return said
}
