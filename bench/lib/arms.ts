/**
 * The arms: one entry per server that is measured. To add a peer, add an entry.
 *
 * Each arm is a program of its own that binds to 127.0.0.1, takes `--port 0`, and prints
 * `listening on HOST:PORT`.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { benchBuild, benchSources, cli } from './paths.js'

export interface Arm {
  readonly name: string
  /** As the tables show it. */
  readonly title: string
  /** The arm that this one is identical to; the two measure the noise. */
  readonly twinOf?: string
  readonly command: readonly string[]
  /** Files that must exist; the arm is skipped, with their names, where they don't. */
  readonly needs: readonly string[]
}

const bind = ['--host', '127.0.0.1', '--port', '0']
const epollEcho = join(benchBuild, 'c-epoll-echo')
const netEcho = join(benchSources, 'peers', 'node-net-echo.mjs')

function ours(name: string, transport: 'native' | 'node', title: string, backend?: string): Arm {
  const command = [process.execPath, cli, 'echo', ...bind, '--transport', transport]
  const set = backend === undefined ? [] : ['env', `MARKETPLACE_BACKEND=${backend}`]
  return { name, title, command: [...set, ...command], needs: [cli] }
}

export const arms: readonly Arm[] = [
  ours('native', 'native', 'marketplace, native'),
  ours('io_uring', 'native', 'marketplace, io_uring', 'io_uring'),
  ours('node', 'node', 'marketplace on node:net'),
  {
    name: 'node-net',
    title: 'node:net, no VM',
    command: [process.execPath, netEcho, ...bind],
    needs: [netEcho],
  },
  { name: 'c-epoll', title: 'C epoll', command: [epollEcho, ...bind], needs: [epollEcho] },
  {
    name: 'c-epoll-twin',
    title: 'C epoll, again',
    twinOf: 'c-epoll',
    command: [epollEcho, ...bind],
    needs: [epollEcho],
  },
]

/** The arms asked for, twins included; with no names, all. */
export function selectArms(names: readonly string[] | undefined): Arm[] {
  if (names === undefined) return [...arms]
  return arms.filter((arm) => names.includes(arm.name) || names.includes(arm.twinOf ?? ''))
}

export function missingFiles(arm: Arm): string[] {
  return arm.needs.filter((file) => !existsSync(file))
}
