/**
 * `npm run test:fairness`: the latency of 100 ping-pong connections to the echo program, without and with
 * a firehose beside them, in turns, on every backend. Prints one line per backend, and exits with 1 if a
 * median of the p99s is more than 3 times what it is without. For a quiet machine: with fewer cores than
 * processes the firehose itself takes CPU time away from the ping-pongs, whatever the server does.
 */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { readArguments } from '../../bench/lib/arguments.js'
import { Cli } from '../support/cli.js'

const BENCH = fileURLToPath(new URL('../../../bench', import.meta.url))
const LOAD = fileURLToPath(new URL('../../../build/bench/load', import.meta.url))
const ROUNDS = 5
const RATIO_MAX = 3

readArguments(`usage: npm run test:fairness
  takes 75 s, on a machine with nothing else to do; exits with 1 if a server is unfair`, {})

interface Latency {
  readonly p50: number
  readonly p99: number
}

async function pingPong(port: number): Promise<Latency> {
  const args = [
    '--mode', 'pingpong', '--port', String(port), '--connections', '100',
    '--duration', '2', '--warmup', '0.5',
  ]
  const { stdout } = await promisify(execFile)(LOAD, args)
  return (JSON.parse(stdout) as { latency_us: Latency }).latency_us
}

async function withFirehose(port: number): Promise<Latency> {
  const args = ['--mode', 'firehose', '--port', String(port), '--bytes', '1000000000000']
  const hose = spawn(LOAD, args, { stdio: 'ignore' })
  try {
    return await pingPong(port)
  } finally {
    hose.kill('SIGKILL')
  }
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[sorted.length >> 1] ?? NaN
}

const made = spawnSync('make', ['-s', '-C', BENCH, '../build/bench/load', 'BUILD=../build/bench'], {
  stdio: 'inherit',
})
if (made.status !== 0) throw new Error('the load generator was not built')

let unfair = false
for (const name of ['native epoll', 'native io_uring', 'node']) {
  const [transport, backend] = name.split(' ')
  const env = backend === undefined ? {} : { MARKETPLACE_BACKEND: backend }
  const server = new Cli(['echo', '--host', '127.0.0.1', '--port', '0', '--transport', transport], env)
  const port = await server.listening()
  const alone: Latency[] = []
  const beside: Latency[] = []
  for (let round = 0; round < ROUNDS; round += 1) {
    alone.push(await pingPong(port))
    beside.push(await withFirehose(port))
  }
  server.signal('SIGKILL')
  const [p50, p99] = [median(alone.map((one) => one.p50)), median(alone.map((one) => one.p99))]
  const [p50With, p99With] = [median(beside.map((one) => one.p50)), median(beside.map((one) => one.p99))]
  const ratio = p99With / p99
  unfair ||= ratio > RATIO_MAX
  console.log(`${name}: p50 ${p50} us, p99 ${p99} us; beside a firehose p50 ${p50With} us, `
    + `p99 ${p99With} us: ${ratio.toFixed(2)} times (at most ${RATIO_MAX})`)
}
process.exitCode = unfair ? 1 : 0
