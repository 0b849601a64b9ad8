/**
 * Measures the HTTP server against node:http, and the balancer against a proxy on node:net: in turns, medians
 * of the rounds. CPU is the measured process's own, all threads, user and kernel.
 *
 *   node dist/test/examples/measure/main.js [rounds]
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { readArguments } from '../../../bench/lib/arguments.js'
import { client, readAll, runProgram, until } from '../../support/util.js'

const { positionals } = readArguments(
  `usage: node dist/test/examples/measure/main.js [ROUNDS]
  the servers of examples/ beside the same on Node, in turns; 5 rounds, in about two minutes. Needs wrk`, {}, [], 1,
)
const ROUNDS = Number(positionals[0] ?? 5)
if (!Number.isInteger(ROUNDS) || ROUNDS < 1) {
  process.stderr.write(`error: ROUNDS is a whole number from 1 on, not '${positionals[0]}'\n`)
  process.exit(2)
}
const SECONDS = 3
const MIB = 512
const MESSAGES = 60_000
const CONNECTIONS = 50

const script = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const ticksPerSecond = Number(spawnSync('getconf', ['CLK_TCK']).stdout.toString())

/** However this process ends, its servers end, too: only a signal that nobody listens to would end it before that. */
const running = new Set<ChildProcess>()
process.once('exit', () => { for (const child of running) child.kill('SIGKILL') })
for (const [signal, number] of [['SIGINT', 2], ['SIGTERM', 15], ['SIGHUP', 1]] as const) {
  process.once(signal, () => process.exit(128 + number))
}

class Program {
  private constructor(readonly child: ChildProcess, readonly port: number) {}

  static async start(path: string, ...args: string[]): Promise<Program> {
    const child = spawn(process.execPath, [script(path), ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
    running.add(child)
    child.once('exit', () => running.delete(child))
    let out = ''
    child.stdout.on('data', (text) => { out += String(text) })
    const port = /listening on .*:(\d+)/
    await until(() => port.test(out) && (args[2] !== '--backend' || out.includes('is up')))
    return new Program(child, Number(port.exec(out)?.[1]))
  }

  /** Seconds of CPU so far. */
  get cpu(): number {
    const fields = readFileSync(`/proc/${this.child.pid}/stat`, 'utf8').replace(/^.*\) /, '').split(' ')
    return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond
  }

  stop(): void {
    this.child.kill('SIGKILL')
  }
}

interface Result { readonly cpu: number, readonly rate: number }

/** @param work returns how much it did. @returns CPU in microseconds per piece of work, pieces per second */
async function timed(program: Program, work: () => Promise<number>): Promise<Result> {
  const [cpu, time] = [program.cpu, performance.now()]
  const amount = await work()
  return {
    cpu: (program.cpu - cpu) * 1e6 / amount, rate: amount / ((performance.now() - time) / 1000),
  }
}

async function wrk({ port }: Program, ...args: string[]): Promise<number> {
  const { stdout } = await runProgram(
    'wrk', ['-t1', `-c${CONNECTIONS}`, `-d${SECONDS}`, ...args, `http://127.0.0.1:${port}/`], Buffer.alloc(0),
  )
  const text = stdout.toString()
  if (/Non-2xx|Socket errors/.test(text)) throw new Error(text)
  return Number(/(\d+) requests in/.exec(text)?.[1])
}

/** One stream of MiBs through a proxy. */
async function bulk({ port }: Program): Promise<number> {
  const socket = await client(port)
  const piece = Buffer.alloc(1024 * 1024, 'x')
  const count = readAll(socket)
  for (let sent = 0; sent < MIB; sent++) if (!socket.write(piece)) await once(socket, 'drain')
  socket.end()
  if (Number((await count).toString()) !== MIB * piece.length) throw new Error('bytes were lost')
  return MIB
}

/** Messages of 64 bytes that are sent back, one at a time on each connection. */
async function pingPong({ port }: Program): Promise<number> {
  const message = Buffer.alloc(64, 'x')
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const socket = await client(port)
    let left = MESSAGES / CONNECTIONS
    let bytes = 0
    await new Promise<void>((resolve) => {
      socket.on('data', (data) => {
        bytes += data.length
        if (bytes < message.length) return
        bytes -= message.length
        if (--left > 0) socket.write(message)
        else resolve()
      })
      socket.write(message)
    })
    socket.destroy()
  }))
  return MESSAGES
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1]

async function compare(
  what: string, unit: string, arms: Readonly<Record<string, Program>>,
  work: (program: Program) => Promise<number>,
): Promise<void> {
  const results = new Map<string, Result[]>(Object.keys(arms).map((name) => [name, []]))
  for (let round = 0; round <= ROUNDS; round++) {
    const names = Object.keys(arms)
    for (const name of round % 2 === 0 ? names : names.reverse()) {
      const result = await timed(arms[name], () => work(arms[name]))
      if (round > 0) results.get(name)?.push(result) // the first round warms up
    }
  }
  for (const [name, all] of results) {
    const cpus = all.map(({ cpu }) => cpu).sort((a, b) => a - b)
    const range = `${cpus[0].toFixed(1)} to ${(cpus.at(-1) ?? 0).toFixed(1)}`
    const rate = median(all.map((one) => one.rate)).toFixed(0)
    const cpu = median(cpus).toFixed(1)
    console.log(`${what}, ${name}: ${cpu} us of CPU per ${unit} (${range}), ${rate} per second`)
  }
  for (const program of Object.values(arms)) program.stop()
}

const peer = (...args: string[]) => Program.start('./peers.js', ...args)
const balancer = (port: number) =>
  Program.start('../../../examples/balancer.js', '--port', '0', '--backend', `127.0.0.1:${port}`, '--quiet')

const cookie = ['-H', `Cookie: ${'x'.repeat(2000)}`]
for (const [what, args] of [['HTTP', []], ['HTTP, 2 kB of cookies', cookie]] as const) {
  await compare(what, 'request', {
    'examples/http.js': await Program.start('../../../examples/http.js', '--port', '0', '--quiet'),
    'node:http': await peer('http'),
  }, (program) => wrk(program, ...args))
}
for (const [what, kind, unit, work] of [
  ['forwarding a stream', 'sink', 'MiB', bulk], ['forwarding 64 bytes', 'echo', 'message', pingPong],
] as const) {
  const behind = await peer(kind)
  await compare(what, unit, {
    'examples/balancer.js': await balancer(behind.port),
    'node:net, pipe': await peer('proxy', String(behind.port)),
  }, work)
  behind.stop()
}
