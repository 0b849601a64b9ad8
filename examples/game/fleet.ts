/**
 * A fleet of bots that plays the game, and what the server says of its ticks meanwhile.
 *
 *   node dist/examples/game/fleet.js --players 500 --seconds 30
 *
 * Without `--url` it starts a server of its own, in another process, and ends it.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { availableParallelism, loadavg } from 'node:os'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { numberOf } from '../support/run.js'
import { Bot, STEERS_EVERY } from './bot.js'
import { describe, type TickReport } from './ticks.js'
import { AREA_POINTS, AREAS_MAX } from './world.js'

/** Connected at the same time. */
const AT_ONCE = 25

const usage = `usage: fleet.js [--players 500] [--seconds 30: measured, 60 at most]
  --warm-up 10      seconds before that
  --url URL         http://127.0.0.1:8090/, of a server that runs; default: one of its own
  --carrier auto    of that: uws, ws, or auto`

const options = {
  url: { type: 'string' },
  players: { type: 'string', default: '500' },
  seconds: { type: 'string', default: '30' },
  'warm-up': { type: 'string', default: '10' },
  carrier: { type: 'string', default: 'auto' },
  help: { type: 'boolean', short: 'h', default: false },
} as const

/** A server in another process, whose players arrive anywhere; and where it is. */
async function startServer(carrier: string): Promise<{ readonly child: ChildProcess, readonly url: string }> {
  const program = fileURLToPath(new URL('../game.js', import.meta.url))
  const args = ['--port', '0', '--spread', String(AREAS_MAX * AREA_POINTS), '--carrier', carrier]
  const child = spawn(process.execPath, [program, ...args], { stdio: ['ignore', 'pipe', 'inherit'] })
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /^listening on .*:(\d+)$/.exec(line)?.[1]
    if (port !== undefined) {
      child.stdout.resume()
      return { child, url: `http://127.0.0.1:${port}/` }
    }
  }
  throw new Error('the server has not come up')
}

/** @throws Error if one of them can't connect */
async function connectAll(url: string, count: number): Promise<Bot[]> {
  const bots: Bot[] = []
  const play = new URL('play', url.replace(/^http/, 'ws')).href
  while (bots.length < count) {
    const next = Array.from({ length: Math.min(AT_ONCE, count - bots.length) }, () => new Bot(play))
    bots.push(...next)
    for (const bot of await Promise.all(next.map((one) => one.joined()))) bot.wander()
  }
  return bots
}

const sum = (bots: readonly Bot[], what: 'messages' | 'bytes'): number =>
  bots.reduce((all, bot) => all + bot[what], 0)

/** @returns how many connections were lost meanwhile */
async function drive(url: string, count: number, seconds: number, warmUp: number): Promise<number> {
  const bots = await connectAll(url, count)
  console.log(`${count} players, each steers ${1000 / STEERS_EVERY} times a second; warming up for ${warmUp} s`)
  await sleep(1000 * warmUp)
  const before = { messages: sum(bots, 'messages'), bytes: sum(bots, 'bytes') }
  await sleep(1000 * seconds)
  const [messages, bytes] = [sum(bots, 'messages') - before.messages, sum(bots, 'bytes') - before.bytes]
  const answer = await fetch(new URL(`ticks?seconds=${seconds}`, url), { headers: { connection: 'close' } })
  const report = await answer.json() as TickReport
  const lost = bots.filter(({ closed }) => closed !== undefined)
  const seen = bots.reduce((all, { mirror }) => all + mirror.seen.size, 0) / bots.length
  console.log(`server: ${describe(report)}`)
  const perSecond = (all: number): number => Math.round(all / seconds)
  console.log(`fleet: ${perSecond(messages)} messages and ${perSecond(bytes / 1000)} kB per second; `
    + `a player sees ${seen.toFixed(0)}; ${lost.length} connections lost`)
  console.log(`machine: ${availableParallelism()} cores, load average ${loadavg()[0].toFixed(1)}`)
  for (const bot of bots) bot.leave()
  return lost.length
}

/** @returns the exit code: 1 if connections were lost */
async function main(): Promise<number> {
  const { values } = parseArgs({ options })
  if (values.help) {
    console.log(usage)
    return 0
  }
  const players = numberOf(values, 'players', 60_000)
  const seconds = numberOf(values, 'seconds', 60)
  const warmUp = numberOf(values, 'warm-up', 3600)
  const own = values.url === undefined ? await startServer(values.carrier) : undefined
  try {
    return await drive(own?.url ?? String(values.url), players, seconds, warmUp) > 0 ? 1 : 0
  } finally {
    if (own?.child.exitCode === null) {
      own.child.kill('SIGTERM')
      await once(own.child, 'exit')
    }
  }
}

process.exit(await main().catch((error: unknown) => {
  process.stderr.write(`error: ${error instanceof Error ? error.message : String(error)}\n`)
  return 2
}))
