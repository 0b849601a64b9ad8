/**
 * `npm run bench:redis`: redis-benchmark against examples/redis and the same on `node:net`: processes of
 * their own, in turns, medians. CPU is the server's, from the kernel. An argument is the number of rounds.
 */
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { choosePinning } from '../lib/machine.js'
import { startServer, type Server } from '../lib/server.js'
import { median } from '../lib/stats.js'
import { table } from '../lib/table.js'

const ROUNDS = Number(process.argv[2] ?? 5)
const LOADS = [
  { name: 'PING', args: ['-t', 'ping_mbulk'], depth: 1, requests: 50_000 },
  { name: 'SET', args: ['-t', 'set'], depth: 1, requests: 50_000 },
  { name: 'GET', args: ['-t', 'get'], depth: 1, requests: 50_000 },
  { name: 'GET, 16 in flight', args: ['-t', 'get'], depth: 16, requests: 400_000 },
  { name: 'SET, 16 in flight', args: ['-t', 'set'], depth: 16, requests: 400_000 },
] as const

const has = (program: string): boolean => spawnSync(program, ['--version']).status === 0

/** Microseconds that a process used so far: the kernel counts hundredths of seconds. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1].split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

interface Figures {
  readonly rate: number
  readonly cpu: number
}

function measure(server: Server, pin: readonly string[], load: typeof LOADS[number]): Figures {
  const { args, depth, requests } = load
  const [file, ...rest] = [
    ...pin, 'redis-benchmark', '-p', String(server.port), '-c', '50', '-P', String(depth),
    '-n', String(requests), '--csv', ...args,
  ]
  const before = cpuOf(server.pid)
  const { stdout, status, stderr } = spawnSync(file, rest, { encoding: 'utf8', timeout: 120_000 })
  const rate = /^"[^"]*","([\d.]+)"/m.exec(stdout.split('\n').slice(1).join('\n'))?.[1]
  if (status !== 0 || rate === undefined) throw new Error(`redis-benchmark: ${stderr || stdout}`)
  return { rate: Number(rate), cpu: (cpuOf(server.pid) - before) / requests }
}

const node = [process.execPath]
const commands: Readonly<Record<string, readonly string[]>> = {
  'in the VM': [...node, 'dist/examples/redis.js', '--port', '0'],
  'on node:net': [...node, 'dist/bench/examples/redis-net.js', '0'],
}

if (!has('redis-benchmark')) {
  console.log('skip: there is no redis-benchmark (Debian: redis-tools)')
  process.exit(0)
}
const pinning = choosePinning()
const servers = new Map<string, Server>()
for (const [name, command] of Object.entries(commands)) {
  servers.set(name, await startServer({ command }, pinning.server))
}
const rows = [['', ...LOADS.map(({ name }) => name)]]
const results = new Map([...servers.keys()].map((name) => [name, LOADS.map((): Figures[] => [])]))
for (let round = -1; round < ROUNDS; round++) {
  for (const [i, load] of LOADS.entries()) {
    for (const [name, server] of servers) {
      const figures = measure(server, pinning.client, load)
      // The first round warms up.
      if (round >= 0) results.get(name)?.[i].push(figures)
    }
  }
}
for (const server of servers.values()) await server.stop()
for (const [name, loads] of results) {
  const cpu = loads.map((figures) => median(figures.map((each) => each.cpu)).toFixed(2))
  const rates = loads.map((figures) => Math.round(median(figures.map((each) => each.rate))))
  const rate = rates.map((each) => each.toLocaleString('en-US'))
  rows.push([`${name}, CPU us/request`, ...cpu], [`${name}, requests/s`, ...rate])
}
console.log(table(rows))
console.log(`medians of ${ROUNDS} rounds in turns; 50 connections; ${pinning.text}`)
