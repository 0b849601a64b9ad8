/** The game's world and its bytes: what a player makes of the messages that it gets is what there is. */
import t from 'tap'
import { Mirror } from '../../examples/game/mirror.js'
import { Pace } from '../../examples/game/pace.js'
import { readMove, writeArea, writeMove, writeView, writeWelcome } from '../../examples/game/protocol.js'
import { reportOf } from '../../examples/game/ticks.js'
import { AREA_POINTS, World, type Area, type Entity } from '../../examples/game/world.js'
import { randomSource } from '../support/util.js'

/** A world and one who listens in it, with nothing between them but bytes. */
class Listener {
  readonly mirror = new Mirror()
  readonly self: Entity

  constructor(readonly world: World, number: number, areas: number) {
    this.self = world.add(number)
    this.mirror.apply(writeWelcome(number, areas, 30))
    this.turn([])
  }

  get areas(): Area[] {
    const { viewColumn, viewRow } = this.self
    return [0, 1].flatMap((right) => [0, 1].map((down) => this.world.area(viewColumn + right, viewRow + down)!))
  }

  /** The view is another one; `before` is what was heard up to now. */
  turn(before: readonly Area[]): void {
    this.mirror.apply(writeView(this.self.viewColumn, this.self.viewRow))
    for (const area of this.areas) {
      if (!before.includes(area)) this.mirror.apply(writeArea('snapshot', area.everything))
    }
  }
}

const whereabouts = (entities: Iterable<{ number: number, shownX: number, shownY: number }>) =>
  [...entities].map(({ number, shownX, shownY }) => [number, shownX, shownY]).sort(([a], [b]) => a - b)

t.test('what is seen is what there is, in the areas around', (t) => {
  for (let seed = 1; seed <= 20; seed++) {
    const below = randomSource(seed)
    const areas = 2 + below(4)
    const random = () => below(1e6) / 1e6
    const world = new World({ areas, rate: 30, spread: areas * AREA_POINTS, random })
    const entities = new Map<number, Entity>()
    const listener = new Listener(world, 1, areas)
    entities.set(1, listener.self)
    for (let tick = 1, next = 2; tick < 400; tick++) {
      if (entities.size < 12 || below(50) === 0) entities.set(next, world.add(next++))
      if (below(20) === 0) {
        const [, gone] = [...entities.keys()].sort(() => below(3) - 1)
        if (gone !== 1) {
          world.remove(gone)
          entities.delete(gone)
        }
      }
      for (const number of entities.keys()) {
        if (below(15) === 0) world.steer(number, below(255) - 127, below(255) - 127)
      }
      const before = listener.areas
      const turned: Entity[] = []
      // Now and then the server was busy: then some ticks at once, and steps too long for a byte.
      const changed = world.step(below(30) === 0 ? 8 : 1, (entity) => turned.push(entity))
      for (const area of changed) {
        const bytes = writeArea('delta', area)
        if (before.includes(area)) listener.mirror.apply(bytes)
        area.forget()
      }
      if (turned.includes(listener.self)) listener.turn(before)
      const there = whereabouts(listener.areas.flatMap((area) => area.everything.placed))
      const { seen: mirrored } = listener.mirror
      const seen = whereabouts([...mirrored].map(([number, { x, y }]) => ({ number, shownX: x, shownY: y })))
      if (JSON.stringify(seen) === JSON.stringify(there)) continue
      t.strictSame(seen, there, `seed ${seed}, tick ${tick}`)
      t.end()
      return
    }
  }
  t.pass('in all of these worlds')
  t.end()
})

t.test('whoever is near is heard, wherever one stands; at a border nothing flutters', (t) => {
  const world = new World({ areas: 6, rate: 30, spread: 0 })
  const entity = world.add(1)
  let turns = 0
  const go = (x: number, y: number, ticks: number): void => {
    world.steer(1, x, y)
    for (let tick = 0; tick < ticks; tick++) {
      world.step(1, () => { turns++ })
      for (const [place, corner] of [[entity.x, entity.viewColumn], [entity.y, entity.viewRow]]) {
        const inside = place / AREA_POINTS - corner
        const edge = place < 0.4 * AREA_POINTS || place > 5.6 * AREA_POINTS
        if (!edge && (inside < 0.399 || inside > 1.601)) t.fail(`${inside} in its block`)
      }
    }
  }
  go(-127, -60, 400)
  t.ok(turns > 3)
  t.equal(entity.x, 0, 'and no further')
  go(127, 60, 700)
  t.equal(entity.x, 6 * AREA_POINTS - 1)
  // To the middle between two blocks, and there to and fro.
  go(-127, 0, 1)
  while (entity.x > 4.5 * AREA_POINTS) go(-127, 0, 1)
  turns = 0
  for (let i = 0; i < 100; i++) go(i % 2 === 0 ? 127 : -127, 0, 4)
  t.ok(turns <= 1, `${turns} turns`)
  t.end()
})

t.test('nobody is faster than full speed, whatever is asked for', (t) => {
  for (const [x, y] of [[127, 127], [-128, -128], [127, 0], [-128, 0]]) {
    const world = new World({ areas: 2, rate: 30, spread: 0 })
    const entity = world.add(1)
    world.steer(1, x, y)
    for (let tick = 0; tick < 30; tick++) world.step(1, () => undefined)
    const gone = Math.hypot(entity.x - AREA_POINTS, entity.y - AREA_POINTS)
    t.ok(gone > 1590 && gone < 1610, `${gone} points in a second`)
  }
  t.end()
})

t.test('a move is three bytes, and nothing else is one', (t) => {
  t.strictSame(readMove(writeMove(127, -127)), { x: 127, y: -127 })
  for (const wrong of ['', 'hello', ...[[], [1], [1, 2], [2, 0, 0], [1, 2, 3, 4]].map((bytes) => Buffer.from(bytes))]) {
    t.equal(readMove(wrong), undefined)
  }
  t.end()
})

t.test('so many a second, and so many at once', (t) => {
  const pace = new Pace(10, 20, 0)
  const allowed = (now: number, count: number) =>
    Array.from({ length: count }, () => pace.allows(now)).filter(Boolean).length
  t.equal(allowed(0, 50), 20)
  t.equal(allowed(500, 50), 5)
  t.equal(allowed(60_000, 50), 20)
  t.end()
})

t.test('what a report says of ticks', (t) => {
  const sample = (tick: number, began: number, work: number, cpu: number) =>
    ({ tick, began, work, used: { at: began, cpu }, players: 7 })
  const report = reportOf([
    sample(1, 0, 99, 0), sample(2, 100, 1, 5), sample(3, 210, 2, 10), sample(5, 400, 3, 20),
  ], 10)
  t.strictSame(report, {
    rate: 10, seconds: 0.4, players: 7, ticks: 3, missed: 1, cpu: 0.05,
    jitter: { p50: 10, p99: 90, max: 90 }, work: { p50: 2, p99: 3, max: 3 },
  })
  t.equal(reportOf([], 10).ticks, 0)
  t.end()
})
