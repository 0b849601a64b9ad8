/** Runs the real command line as a child process. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { until } from './util.js'

export const MAIN = fileURLToPath(new URL('../../src/cli/main.js', import.meta.url))

/** A command that runs, or has run. */
export class Cli {
  stdout = ''
  stderr = ''
  /** The exit code, or the signal that ended it; `undefined` while it runs. */
  result: number | string | undefined
  readonly child: ChildProcessWithoutNullStreams

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
    this.child = spawn(process.execPath, [MAIN, ...args], { env: { ...cleanEnvironment(), ...env } })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    this.child.stdin.on('error', () => undefined)
    this.child.on('close', (code, signal) => { this.result = code ?? signal ?? 'unknown' })
  }

  async ended(): Promise<number | string> {
    await until(() => this.result !== undefined)
    return this.result ?? 'unknown'
  }

  /** Waits for the line that says where a server listens; its port. */
  async listening(): Promise<number> {
    const line = /^listening on .*:(\d+)$/m
    await until(() => line.test(this.stdout) || this.result !== undefined)
    const port = line.exec(this.stdout)?.[1]
    if (port === undefined) throw new Error(`no server: ${this.stderr}`)
    return Number(port)
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name)
  }
}

/** Without what tap and npm put into it: they change what a child does. */
export function cleanEnvironment(): NodeJS.ProcessEnv {
  const theirs = /^(npm_|TAP|_TAPJS|NODE_OPTIONS$|MARKETPLACE_)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !theirs.test(name)))
}
