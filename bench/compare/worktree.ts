/**
 * Another revision of the repository, installed and built in a temporary work tree.
 *
 * Invariant: however this process ends short of SIGKILL, nothing of it stays behind: no directory, no entry
 * in `git worktree list`, no process that still installs or builds.
 */
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Worktree {
  readonly path: string
  /** The commit, abbreviated. */
  readonly commit: string
}

/** A failure that has been explained; its message is all there is to say. */
export class CompareError extends Error {
  constructor(
    message: string,
    readonly exitCode: number = 1,
    options?: ErrorOptions,
  ) {
    super(message, options)
  }
}

function git(repository: string, ...args: string[]): string {
  const { status, stdout, stderr, error } = spawnSync('git', args, { cwd: repository, encoding: 'utf8' })
  if (error !== undefined) throw new CompareError(`git: ${error.message}`)
  if (status !== 0) throw new CompareError(stderr.trim() || `git ${args[0]} ended with ${status}`)
  return stdout.trim()
}

/** The full name of a commit. */
export function resolveCommit(repository: string, ref: string): string {
  try {
    return git(repository, 'rev-parse', '--verify', '--quiet', '--end-of-options', `${ref}^{commit}`)
  } catch (error) {
    // With --quiet, git says nothing about a name that it doesn't know.
    if (!/^git rev-parse ended/.test((error as Error).message)) throw error
    throw new CompareError(`'${ref}' names no commit of this repository`, 2, { cause: error })
  }
}

/** The environment without what npm tells a script about the package that it runs for. */
function environment(): NodeJS.ProcessEnv {
  const ours = /^(npm_(package|lifecycle)_|npm_config_local_prefix$|npm_command$|INIT_CWD$)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !ours.test(name)))
}

function killGroup(pid: number | undefined): void {
  try {
    if (pid !== undefined) process.kill(-pid, 'SIGKILL')
  } catch {
    // It has just ended by itself.
  }
}

/** Runs a program in a process group of its own, which ends with this process. */
function run(cwd: string, what: string, command: readonly string[]): Promise<void> {
  const [file, ...args] = command
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env: environment(),
      detached: true,
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    let output = ''
    const keep = (text: string): void => {
      output = (output + text).slice(-4000)
    }
    child.stdout.setEncoding('utf8').on('data', keep)
    child.stderr.setEncoding('utf8').on('data', keep)
    const kill = (): void => killGroup(child.pid)
    // Before the directory goes that it works in.
    process.prependListener('exit', kill)
    child.on('error', (error) => reject(new CompareError(`${what}: ${error.message}`)))
    child.on('close', (code, signal) => {
      process.off('exit', kill)
      if (code === 0) resolve()
      else reject(new CompareError(`${what} ended with ${signal ?? code}:\n${output.trimEnd()}`))
    })
  })
}

/** npm, by way of its own entry point where npm started us. */
function npm(...args: string[]): string[] {
  const entry = process.env.npm_execpath
  return entry?.endsWith('.js') ? [process.execPath, entry, ...args] : ['npm', ...args]
}

function remove(repository: string, path: string): void {
  rmSync(path, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 })
  spawnSync('git', ['worktree', 'prune'], { cwd: repository })
}

/**
 * Checks out a commit, installs what its lockfile says, and builds it. It is removed when this process
 * exits: whoever calls this turns signals into exits.
 *
 * @param say is told what is being done
 */
export async function buildRevision(
  repository: string,
  commit: string,
  say: (what: string) => void,
): Promise<Worktree> {
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'marketplace-bench-')))
  process.on('exit', () => remove(repository, path))
  git(repository, 'worktree', 'add', '--quiet', '--detach', path, commit)
  const short = git(repository, 'rev-parse', '--short=12', commit)
  say(`${short}: installing`)
  const ci = npm('ci', '--include=dev', '--no-audit', '--no-fund', '--prefer-offline')
  await run(path, `${short}: npm ci`, ci)
  say(`${short}: building`)
  await run(path, `${short}: npm run build`, npm('run', 'build'))
  return { path, commit: short }
}
