/** Runs programs of the pages as a reader would: in a process of their own. */
import { spawn, type ChildProcess } from 'node:child_process'
import { connect } from 'node:net'
import { sleep, until } from '../support/util.js'
import { ROOT, type Block } from './blocks.js'

/** How long a program may take. Most take less than half a second. */
const LIMIT = 15_000
/** How long a server is given that says nothing, and listens on no port that the page tells. */
const READY = 500

export interface Ran {
  readonly stdout: string
  readonly stderr: string
  /** Exit code, or the signal that ended it, or 'too slow'. */
  readonly result: number | string
}

/** Without what tap and npm put into it: they change what a child does. */
function cleanEnvironment(): NodeJS.ProcessEnv {
  const theirs = /^(npm_|TAP|_TAPJS|NODE_OPTIONS$|MARKETPLACE_)/
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !theirs.test(name)))
}

class Program {
  stdout = ''
  stderr = ''
  result: number | string | undefined
  readonly child: ChildProcess
  private readonly deadline: NodeJS.Timeout

  constructor(file: string, args: readonly string[] = []) {
    const child = spawn(process.execPath, [file, ...args], {
      cwd: ROOT, env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.child = child
    this.deadline = setTimeout(() => {
      this.result = 'too slow'
      child.kill('SIGKILL')
    }, LIMIT)
    child.stdout.setEncoding('utf8').on('data', (text: string) => (this.stdout += text))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (this.stderr += text))
    child.on('close', (code, signal) => {
      clearTimeout(this.deadline)
      this.result ??= code ?? signal ?? 'unknown'
    })
  }

  async ended(): Promise<Ran> {
    await until(() => this.result !== undefined)
    return { stdout: this.stdout, stderr: this.stderr, result: this.result ?? 'unknown' }
  }
}

export function runToEnd(file: string, args: readonly string[] = []): Promise<Ran> {
  return new Program(file, args).ended()
}

/** Starts a server, talks to it once it listens, and interrupts it. */
export async function serve(file: string, { code, talk, output }: Block): Promise<Ran> {
  const program = new Program(file)
  const started = Date.now()
  const told = /tcpListener\(([1-9]\d+)\)/.exec(code)?.[1]
  const silent = talk === undefined && output === undefined && told === undefined
  for (;;) {
    if (program.result !== undefined || /(?:listening|ready)\b.*\n/i.test(program.stdout)) break
    if (told !== undefined && (await accepts(Number(told)))) break
    if (silent && Date.now() - started > READY) break
    await sleep(10)
  }
  const port = /listening on .*:(\d+)/.exec(program.stdout)?.[1] ?? told
  if (talk !== undefined && program.result === undefined) await converse(Number(port), talk)
  program.child.kill('SIGINT')
  return program.ended()
}

/** Whether somebody listens on a port of this machine. */
function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' })
    socket.once('connect', () => { resolve(true) }).once('error', () => { resolve(false) })
    socket.once('connect', () => socket.destroy())
  })
}

/** Sends the lines behind `> `, and waits for those behind `< `. */
async function converse(port: number, talk: readonly string[]): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' })
  let received = ''
  let failed: Error | undefined
  socket.setEncoding('utf8').on('data', (text: string) => (received += text))
  socket.on('error', (error) => { failed = error })
  for (const line of talk) {
    const text = `${line.slice(2)}\n`
    if (line.startsWith('> ')) {
      socket.write(text)
    } else {
      const deadline = Date.now() + 5000
      while (!received.startsWith(text)) {
        if (failed !== undefined) throw failed
        if (Date.now() > deadline) throw new Error(`expected ${line}, got ${JSON.stringify(received)}`)
        await sleep(5)
      }
      received = received.slice(text.length)
    }
  }
  socket.destroy()
}
