/**
 * What it costs to cross from JavaScript into the addon: a call that does nothing there, one that asks
 * the engine for nothing, and the ways to get at bytes that the engine received.
 */
import { Link, type Addon } from '../../src/transport/native/link.js'
import { addonOrReason } from '../../src/transport/native/addon.js'
import { ratio, type Effort, type Program, type Suite } from './harness.js'
import { timed } from './timed.js'

/** As native-backend.ts numbers them. */
const EPOLL = 1
const STATS_MAX = 1024
const QUEUED_MAX = 1 << 20
const BYTES = 64

interface Engine {
  readonly addon: Addon
  readonly handle: object
  readonly link: Link
}

/** An engine without sockets, and its handle, which the link otherwise keeps to itself. */
function openEngine(): Engine {
  const loaded = addonOrReason()
  if (!loaded.ok) throw new Error(loaded.reason)
  const { addon } = loaded
  let handle: object = {}
  const create: Addon['create'] = (options) => (handle = addon.create(options))
  const spying = Object.create(addon, { create: { value: create } }) as Addon
  const none = (): void => undefined
  const limits = { each: QUEUED_MAX, total: QUEUED_MAX, pauses: false }
  const memory = {
    isolates: false, reuseSlabs: false, poisonSlabs: false, maxSlabBytes: Infinity, idleMemoryMax: 64 * 1024 * 1024,
  }
  const waiting = { busyPoll: 0, busyPollAdapts: false, sleeps: false }
  const settings = { backend: EPOLL, closeTimeout: 1000, ...waiting, ...limits, ...memory }
  const stats = new Float64Array(STATS_MAX)
  const link = new Link(spying, settings, stats, none, none)
  return { addon, handle, link }
}

/** Opens an engine, runs the program that needs it, and closes it. */
function withEngine(
  name: string,
  title: string,
  seconds: number,
  operationOf: (engine: Engine) => () => unknown,
): Program {
  const run = async (): Promise<number> => {
    const engine = openEngine()
    try {
      return await timed(name, title, seconds, operationOf(engine)).run()
    } finally {
      engine.link.close()
    }
  }
  return { name, title, run }
}

export function boundarySuite({ quick }: Effort): Suite {
  const seconds = quick ? 0.1 : 0.5
  const slab = Buffer.allocUnsafeSlow(65536)
  const method = { call: (a: number, b: boolean) => (b ? a : -a) }
  let flag = false
  return {
    name: 'boundary',
    title: 'crossing into the addon, and views of what it received',
    programs: [
      timed('call', 'a call within JavaScript', seconds, () => method.call(1, (flag = !flag))),
      withEngine('crossing', 'a call of the addon, three arguments', seconds, (engine) => {
        const { addon, handle } = engine
        return () => addon.pauseListener(handle, -1, false)
      }),
      withEngine('flush', 'a call that executes the (no) commands queued', seconds, (engine) => {
        const { addon, handle } = engine
        return () => addon.flush(handle)
      }),
      timed('view', `a Uint8Array view of ${BYTES} bytes`, seconds, () =>
        new Uint8Array(slab.buffer, BYTES, BYTES)),
      timed('subarray', 'the same by Buffer.subarray', seconds, () =>
        slab.subarray(BYTES, 2 * BYTES)),
      timed('copy', `a copy of ${BYTES} bytes`, seconds, () =>
        Buffer.copyBytesFrom(slab, BYTES, BYTES)),
    ],
    claims: [
      ratio('crossing / a call within JavaScript', 'crossing', 'call'),
      ratio('flush of nothing / crossing', 'flush', 'crossing'),
      ratio('view / crossing', 'view', 'crossing'),
      ratio('Buffer.subarray / view', 'subarray', 'view'),
      ratio('copy / view', 'copy', 'view'),
    ],
  }
}
