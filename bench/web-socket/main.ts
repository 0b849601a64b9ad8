/**
 * `npm run bench:ws`: what a WebSocket costs a server, ours and others in turns, with a load generator that knows no
 * library of WebSockets. Arguments: `ws-100`, `ws-broadcast`, `ws-idle`, for some of it; `--rounds 5`, `--seconds 3`.
 *
 * Printed is, for each server, the median over the rounds of its CPU time and of its instructions in user space (where
 * `perf` may count them) per message; the noise is the greatest distance from the median. Then the ratios.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { readArguments } from '../lib/arguments.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const LOAD = join(ROOT, 'build/bench/ws-load')

const NAMES = ['ws-100', 'ws-broadcast', 'ws-idle']
const USAGE = `usage: npm run bench:ws -- [${NAMES.join('] [')}] [--rounds 5] [--seconds 3]`
const { positionals, number } = readArguments(USAGE, { rounds: 5, seconds: 3 }, [], NAMES)

interface Server {
  readonly name: string
  readonly args: readonly string[]
}

const ours = (carrier: string) =>
  ({ name: `ours on ${carrier}`, args: ['dist/bench/web-socket/ours.js', '%', carrier] })
const SERVERS: readonly Server[] = [
  ours('uws'), ours('ws'), { name: 'bare uWebSockets.js', args: ['bench/peers/uws.mjs', '%'] },
  { name: 'ws on node:net', args: ['bench/peers/ws-node.mjs', '%'] },
]

const SCENARIOS = [
  { name: 'ws-100', mode: 'echo', connections: 100, size: 64, unit: 'echo' },
  { name: 'ws-broadcast', mode: 'broadcast', connections: 1_000, size: 64, unit: 'delivery' },
  { name: 'ws-idle', mode: 'idle', connections: 10_000, size: 1, unit: 'connection' },
] as const

interface Sample {
  /** Nanoseconds per message; of idle connections, bytes per connection. */
  readonly cost: number
  readonly instructions: number | undefined
}

const TICK_NS = 1e9 / Number(execFileSync('getconf', ['CLK_TCK'], { encoding: 'utf8' }))

/** CPU time in nanoseconds, of all threads. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * TICK_NS
}

function residentOf(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(line?.[1]) * 1024
}

const lineOf = async (child: ChildProcess): Promise<string> => {
  const lines = createInterface({ input: child.stdout as NodeJS.ReadableStream })
  const [line] = await once(lines, 'line') as [string]
  lines.close()
  return line
}

/** Counts instructions of a process until it is told to stop; undefined where that is not permitted. */
function count(pid: number): { stop(): Promise<number | undefined> } {
  const perf = spawn('perf', ['stat', '-x', ',', '-e', 'instructions:u', '-p', String(pid)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
  let text = ''
  perf.stderr.setEncoding('utf8').on('data', (part: string) => { text += part })
  const ended = new Promise<void>((resolve) => {
    for (const event of ['error', 'close']) perf.on(event, () => { resolve() })
  })
  return {
    stop: async () => {
      perf.kill('SIGINT')
      await ended
      const number = Number(text.split(',')[0])
      return number > 0 ? number : undefined
    },
  }
}

async function measure(server: Server, scenario: typeof SCENARIOS[number]): Promise<Sample> {
  const { mode, connections, size } = scenario
  const args = server.args.map((arg) => (arg === '%' ? (mode === 'idle' ? 'echo' : mode) : arg))
  const child = spawn(process.execPath, args, { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] })
  try {
    const port = await lineOf(child)
    const pid = Number(child.pid)
    const before = residentOf(pid)
    const seconds = mode === 'idle' ? '8' : String(number('seconds'))
    const load = spawn(LOAD, [port, mode, String(connections), String(size), seconds], {
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const lines = createInterface({ input: load.stdout })[Symbol.asyncIterator]()
    await lines.next()
    if (mode === 'idle') {
      // Time for a garbage collection, and for what trims the heap.
      await new Promise((resolve) => setTimeout(resolve, 7_000))
      const bytes = (residentOf(pid) - before) / connections
      load.kill()
      return { cost: bytes, instructions: undefined }
    }
    const counter = count(pid)
    const start = cpuOf(pid)
    const { value } = await lines.next() as { value: string | undefined }
    const cpu = cpuOf(pid) - start
    const instructions = await counter.stop()
    const messages = Number(value?.split(' ')[1])
    return { cost: cpu / messages, instructions: instructions === undefined ? undefined : instructions / messages }
  } finally {
    child.kill('SIGKILL')
    await once(child, 'exit')
  }
}

const median = (numbers: readonly number[]): number => [...numbers].sort((a, b) => a - b)[numbers.length >> 1] ?? NaN
const noise = (numbers: readonly number[]): number => {
  const middle = median(numbers)
  return Math.max(...numbers.map((number) => Math.abs(number - middle))) / middle
}

mkdirSync(join(ROOT, 'build/bench'), { recursive: true })
execFileSync(process.env['CC'] ?? 'gcc', ['-O2', '-o', LOAD, join(ROOT, 'bench/web-socket/load.c')])

for (const scenario of SCENARIOS) {
  if (positionals.length > 0 && !positionals.includes(scenario.name)) continue
  const idle = scenario.mode === 'idle'
  const samples = new Map<string, Sample[]>(SERVERS.map(({ name }) => [name, []]))
  const rounds = idle ? Math.min(3, number('rounds')) : number('rounds')
  for (let round = 0; round < rounds; round++) {
    for (const server of SERVERS) samples.get(server.name)?.push(await measure(server, scenario))
  }
  console.log(`\n${scenario.name}: ${scenario.connections} connections, ${scenario.size} B, ${rounds} rounds in turns`)
  const costs = new Map<string, { cost: number, instructions: number }>()
  for (const [name, all] of samples) {
    const cost = all.map((sample) => sample.cost)
    const instructions = all.map((sample) => sample.instructions ?? NaN)
    costs.set(name, { cost: median(cost), instructions: median(instructions) })
    const unit = idle ? 'bytes' : 'ns'
    const counted = Number.isNaN(median(instructions)) ? '' : `, ${median(instructions).toFixed(0)} instructions`
      + ` (noise ${(noise(instructions) * 100).toFixed(0)} %)`
    console.log(`  ${name.padEnd(20)} ${median(cost).toFixed(0).padStart(7)} ${unit} per ${scenario.unit}`
      + ` (noise ${(noise(cost) * 100).toFixed(0)} %)${counted}`)
  }
  for (const mine of ['ours on uws', 'ours on ws']) {
    for (const other of ['bare uWebSockets.js', 'ws on node:net']) {
      const [a, b] = [costs.get(mine), costs.get(other)]
      if (a === undefined || b === undefined) continue
      const ratio = (a.instructions / b.instructions).toFixed(2)
      const counted = Number.isNaN(a.instructions) ? '' : `, instructions ${ratio}`
      console.log(`  ${mine} / ${other}: ${(a.cost / b.cost).toFixed(2)}${counted}`)
    }
  }
}
