/** The game as it is played: the server in a process of its own, players that are real clients. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { endpoint, sendMessage } from 'marketplace-native'
import { Bot } from '../../examples/game/bot.js'
import { looks, player, steers } from '../../examples/game/records.js'
import { gameServer, socketOptions } from '../../examples/game/server.js'
import type { TickReport } from '../../examples/game/ticks.js'
import { AREA_POINTS } from '../../examples/game/world.js'
import { CARRIERS, missingCarrier, WsProgram, type CarrierName } from '../drivers/web-socket-program.js'
import { cleanEnvironment } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { unlessQuick } from '../support/quick.js'
import { until } from '../support/util.js'
import { Running } from './running.js'

const timeout = patient(40_000)

class Game {
  readonly program: Running
  readonly #t: Test
  #port = 0

  constructor(t: Test, carrier: CarrierName, ...args: string[]) {
    this.#t = t
    this.program = new Running(t, 'game', '--port', '0', '--carrier', carrier, ...args)
  }

  async started(): Promise<this> {
    this.#port = await this.program.port()
    return this
  }

  get page(): string {
    return `http://127.0.0.1:${this.#port}/`
  }

  get play(): string {
    return `ws://127.0.0.1:${this.#port}/play`
  }

  async join(): Promise<Bot> {
    const bot = new Bot(this.play)
    this.#t.teardown(() => { bot.socket.terminate() })
    return bot.joined()
  }
}

const start = (t: Test, carrier: CarrierName, ...args: string[]): Promise<Game> =>
  new Game(t, carrier, ...args).started()

const seenBy = (bot: Bot, other: Bot) => {
  const seen = bot.mirror.seen.get(other.mirror.number)
  return seen && [seen.x, seen.y]
}

/** Waits until both see each other where each sees itself. */
async function agree(one: Bot, two: Bot): Promise<void> {
  const same = (a: Bot, b: Bot): boolean => JSON.stringify(seenBy(a, b)) === JSON.stringify(seenBy(b, b))
  await until(() => same(one, two) && same(two, one))
}

/** Waits for some more deltas: time as the server has it. */
async function ticks(bot: Bot, count: number): Promise<void> {
  const [, , , before] = bot.mirror.counts
  await until(() => bot.mirror.counts[3] >= before + count)
}

/** @param quickly the carrier on which `npm test` has it; all, if it isn't given */
function onEach(name: string, body: (t: Test, carrier: CarrierName) => Promise<void>, quickly?: CarrierName): void {
  for (const carrier of CARRIERS) {
    const skip = missingCarrier(carrier) || ((quickly ?? carrier) !== carrier && unlessQuick)
    void t.test(`${carrier}: ${name}`, { timeout, skip }, (t) => body(t, carrier))
  }
}

onEach('join, move, the late one, leave; and SIGTERM', async (t, carrier) => {
  const game = await start(t, carrier, '--areas', '2', '--spread', '0')
  const ann = await game.join()
  t.strictSame(seenBy(ann, ann), [AREA_POINTS, AREA_POINTS], 'in the middle')
  t.strictSame([ann.mirror.areas, ann.mirror.rate], [2, 30])
  ann.move(127, 0)
  await ticks(ann, 5)
  ann.move(0, 0)
  await until(() => ann.mirror.self!.x > AREA_POINTS + 100)
  t.equal(ann.mirror.self!.y, AREA_POINTS)

  const bob = await game.join()
  await until(() => bob.mirror.counts[4] === 4)
  t.ok(bob.mirror.seen.has(ann.mirror.number), 'the late one is told of who was there')
  await agree(ann, bob)
  const [, , , quiet] = ann.mirror.counts
  bob.move(-90, 90)
  await ticks(ann, 10)
  t.ok(seenBy(ann, bob)![0] < AREA_POINTS && seenBy(ann, bob)![1] > AREA_POINTS)
  bob.move(0, 0)
  await agree(ann, bob)
  t.ok(ann.mirror.counts[3] >= quiet + 10)

  const headers = { connection: 'close' }
  const page = await fetch(game.page, { headers })
  t.equal(page.status, 200)
  t.match(page.headers.get('content-security-policy'), "default-src 'none'")
  t.match(await page.text(), '<canvas')
  const report = await (await fetch(`${game.page}ticks?seconds=1`, { headers })).json() as TickReport
  t.equal(report.players, 2)
  t.equal(report.rate, 30)
  t.ok(report.ticks > 0 && report.work.p50 > 0 && report.jitter.max >= report.jitter.p50)

  bob.leave()
  await until(() => !ann.mirror.seen.has(bob.mirror.number))
  game.program.child.kill('SIGTERM')
  await until(() => ann.closed !== undefined)
  t.strictSame(ann.closed, { code: 1001, reason: 'the server stops' })
  t.equal(await game.program.end(), 0)
  t.equal(game.program.errors, '')
  t.match(game.program.out, /^1 players, \d+ ticks at 30 Hz in [\d.]+ s, \d+ left out; jitter p50 [\d.]+, p99 /m)
})

onEach('more than may play are turned away, until somebody leaves', async (t, carrier) => {
  const game = await start(t, carrier, '--players', '1')
  const ann = await game.join()
  const [error] = await once(new WebSocket(game.play), 'error') as [Error]
  t.match(error.message, '503')
  ann.leave()
  await until(() => ann.closed !== undefined)
  const bob = await game.join()
  t.equal(bob.mirror.number, 2)
}, 'ws')

onEach('who walks away is heard no more, and is there again when he comes back', async (t, carrier) => {
  const game = await start(t, carrier, '--areas', '4', '--spread', '0')
  const [ann, bob] = [await game.join(), await game.join()]
  ann.move(-127, 0)
  await until(() => ann.mirror.self!.x < 2 * AREA_POINTS - 100)
  ann.move(0, 0)
  await agree(ann, bob)
  const { column } = bob.mirror
  bob.move(127, 0)
  await until(() => !ann.mirror.seen.has(bob.mirror.number) && !bob.mirror.seen.has(ann.mirror.number))
  t.equal(bob.mirror.column, column + 1, 'his view has gone with him')
  // What he sees there, himself too, is a message of its own.
  await until(() => (bob.mirror.self?.x ?? 0) >= 3 * AREA_POINTS)
  const [, , , before] = ann.mirror.counts
  await ticks(bob, 20)
  t.equal(ann.mirror.counts[3], before, 'nothing of what he does there comes to her')
  bob.move(-127, 0)
  await until(() => ann.mirror.seen.has(bob.mirror.number) && bob.mirror.seen.has(ann.mirror.number))
  bob.move(0, 0)
  await agree(ann, bob)
}, 'ws')

onEach('who does what nobody may is ended; nobody else notices', async (t, carrier) => {
  const game = await start(t, carrier, '--areas', '2', '--spread', '0')
  const [ann, bob] = [await game.join(), await game.join()]
  ann.move(0, 1)
  const ended = async (act: (socket: WebSocket) => void): Promise<number> => {
    const { socket } = await game.join()
    act(socket)
    const [code] = await once(socket, 'close') as [number]
    return code
  }
  t.equal(await ended((socket) => { socket.send('{"x": 1e9}') }), 1003)
  for (const wrong of [Buffer.of(), Buffer.of(1), Buffer.of(9, 0, 0), Buffer.of(1, 2, 3, 4), Buffer.alloc(64, 1)]) {
    t.equal(await ended((socket) => { socket.send(wrong) }), 1008, wrong.toString('hex'))
  }
  // uWebSockets.js cuts off whoever sends too much.
  const huge = await ended((socket) => { socket.send(Buffer.alloc(1024 * 1024)) })
  t.equal(huge, carrier === 'ws' ? 1009 : 1006)
  t.equal(await ended((socket) => { for (let i = 0; i < 1000; i++) socket.send(Buffer.of(1, i, i)) }), 1008)
  const refused = new WebSocket(game.play, { origin: 'http://evil.example' })
  const [error] = await once(refused, 'error') as [Error]
  t.match(error.message, '403')

  bob.move(-127, 0)
  await ticks(ann, 5)
  bob.move(0, 0)
  ann.move(0, 0)
  await agree(ann, bob)
  t.strictSame([ann.closed, bob.closed], [undefined, undefined])
  await until(() => ann.mirror.seen.size === 2)
})

/** A game in this process, which can have players that have no connections. */
async function inside(t: Test, carrier: CarrierName, rate = 30) {
  const program = new WsProgram(() => gameServer(0, '', { areas: 2, rate, spread: 0 }), { ...socketOptions, carrier })
  t.teardown(() => program.stop())
  const url = await program.url()
  return { program, join: () => {
    const bot = new Bot(url)
    t.teardown(() => { bot.socket.terminate() })
    return bot.joined()
  } }
}

onEach('who does not read is let go, and holds up nobody', async (t, carrier) => {
  // A crowd that makes for megabytes per second, so that the kernel's part of what waits is soon full.
  const { program, join } = await inside(t, carrier, 250)
  const crowd = Array.from({ length: 3000 }, (_all, i) => 1000 + i)
  const [ann, deaf] = [await join(), await join()]
  const moveAll = (): void => {
    const way = (): number => Math.round(Math.random() * 255) - 128
    program.do(crowd.map((number) => sendMessage(steers(number, way(), way()))))
  }
  program.do(crowd.map((number) => endpoint.publisher(player(number))))
  const moving = setInterval(moveAll, 500)
  t.teardown(() => { clearInterval(moving) })
  await until(() => ann.mirror.seen.size === crowd.length + 2)
  deaf.socket.pause()
  await until(() => ann.mirror.seen.size === crowd.length + 1)
  t.notOk(ann.mirror.seen.has(deaf.mirror.number))
  const closed = program.log.find(({ message }) => message === 'WebSocket closed')
  t.match(String(closed?.fields['reason']), /maxQueuedBytes is 131072/)
  await ticks(ann, 20)
  t.equal(ann.closed, undefined)
}, 'uws')

onEach('a player whose process fails is one player fewer', async (t, carrier) => {
  const { program, join } = await inside(t, carrier)
  const [ann, bob] = [await join(), await join()]
  // Nobody sends this: it stands for a mistake in what a player's process does.
  program.do(sendMessage(looks(ann.mirror.number, Symbol('no column') as never, 0)))
  await until(() => ann.closed !== undefined && !bob.mirror.seen.has(ann.mirror.number))
  t.equal(ann.closed?.code, 1011)
  bob.move(127, 0)
  await until(() => bob.mirror.self!.x > AREA_POINTS)
})

void t.test('a fleet', { timeout }, async (t) => {
  const program = fileURLToPath(new URL('../../examples/game/fleet.js', import.meta.url))
  const args = [program, '--players', '50', '--seconds', '2', '--warm-up', '0', '--carrier', 'ws']
  const fleet = spawn(process.execPath, args, { env: cleanEnvironment() })
  let [out, errors] = ['', '']
  fleet.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
  fleet.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const [code] = await once(fleet, 'close') as [number]
  t.strictSame([code, errors], [0, ''])
  t.match(out, /^server: 50 players, \d+ ticks at 30 Hz in [\d.]+ s, \d+ left out; jitter p50 [\d.]+, p99 [\d.]+/m)
  t.match(out, /^fleet: [1-9]\d* messages and [1-9]\d* kB per second; a player sees \d+; 0 connections lost$/m)
})
