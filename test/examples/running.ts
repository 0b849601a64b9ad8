/** A server of the examples in a process of its own, as its users run it. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { Test } from 'tap'
import { cleanEnvironment } from '../support/cli.js'
import { until } from '../support/util.js'

/** A program of the examples that runs. */
export class Running {
  out = ''
  errors = ''
  code: number | string | undefined
  readonly child: ChildProcessWithoutNullStreams

  constructor(t: Test, name: string, ...args: string[]) {
    const path = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
    this.child = spawn(process.execPath, [path, ...args], { env: cleanEnvironment() })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => { this.out += text })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => { this.errors += text })
    this.child.on('close', (code, signal) => { this.code = code ?? signal ?? 'unknown' })
    t.teardown(() => this.child.kill('SIGKILL'))
  }

  async port(): Promise<number> {
    const line = /^listening on .*:(\d+)$/m
    await until(() => line.test(this.out) || this.code !== undefined)
    return Number(line.exec(this.out)?.[1])
  }

  async end(): Promise<number | string> {
    await until(() => this.code !== undefined)
    return this.code ?? ''
  }
}
