/**
 * The machine: which CPUs the server and the client get, and what a report says about where and
 * on what it was made.
 */
import { execFileSync, spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'
import { root } from './paths.js'

export interface Pinning {
  readonly server: readonly string[]
  readonly client: readonly string[]
  /** For the report. */
  readonly text: string
}

export interface Environment {
  /** How to measure the same again; without the options that say where the results go. */
  readonly command: string
  readonly date: string
  readonly commit: string
  readonly cpu: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly kernel: string
  readonly node: string
  readonly pinning: string
}

/** `0-2,5` as numbers. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [from, to = from] = part.split('-').map(Number)
      return Array.from({ length: to - from + 1 }, (_, i) => from + i)
    })
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** Descriptors that a process may have at most; no limit that can be read: any number. */
export function readDescriptorLimit(): number {
  const line = /^Max open files\s+\S+\s+(\d+)/m.exec(readText('/proc/self/limits'))
  return line === null ? Infinity : Number(line[1])
}

function allowedCpus(): number[] {
  const line = /^Cpus_allowed_list:\s*(\S+)/m.exec(readText('/proc/self/status'))
  return line === null ? [] : parseCpuList(line[1])
}

/** Server and client on different CPUs, on different cores where there are enough. */
export function choosePinning(): Pinning {
  const none = (why: string): Pinning => ({ server: [], client: [], text: `not pinned: ${why}` })
  const allowed = allowedCpus()
  if (allowed.length < 2) return none('fewer than two CPUs')
  if (spawnSync('taskset', ['--version']).status !== 0) return none('no taskset')
  const [server, ...others] = allowed
  const siblingsFile = `/sys/devices/system/cpu/cpu${server}/topology/thread_siblings_list`
  const siblings = parseCpuList(readText(siblingsFile))
  const client = others.find((cpu) => !siblings.includes(cpu)) ?? others[0]
  const shared = siblings.includes(client) ? ' (two threads of one core)' : ''
  return {
    server: ['taskset', '-c', String(server)],
    client: ['taskset', '-c', String(client)],
    text: `server on CPU ${server}, client on CPU ${client}${shared}`,
  }
}

function commit(): string {
  try {
    const git = (...args: string[]): string =>
      execFileSync('git', args, {
        cwd: root,
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'ignore'],
      })
    const changed = git('status', '--porcelain', '--untracked-files=no').trim() !== ''
    return git('rev-parse', '--short=12', 'HEAD').trim() + (changed ? ' with changes' : '')
  } catch {
    return 'unknown'
  }
}

/** The command line that measures the same, of the program's arguments. `name`: what `npm run` calls it. */
export function commandOf(args: readonly string[], name = 'bench'): string {
  const kept: string[] = []
  for (let i = 0; i < args.length; i += 1) {
    if (/^--(json|report)$/.test(args[i])) i += 1
    else if (!/^--(json|report)=/.test(args[i])) kept.push(args[i])
  }
  return [`npm run ${name}`, ...(kept.length > 0 ? ['--', ...kept] : [])].join(' ')
}

export function describeEnvironment(pinning: Pinning, name = 'bench'): Environment {
  const all = cpus()
  return {
    command: commandOf(process.argv.slice(2), name),
    date: new Date().toISOString(),
    commit: commit(),
    cpu: all[0]?.model.trim() ?? 'unknown',
    cpus: all.length,
    memoryBytes: totalmem(),
    kernel: release(),
    node: process.version,
    pinning: pinning.text,
  }
}
