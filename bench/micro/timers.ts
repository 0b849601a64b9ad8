/**
 * Timers of the timer driver: set and fired, among few or many that wait, against Node's own
 * `setTimeout`; and set and called off.
 *
 * A timer of 0 ms is due at once, so what is timed is bookkeeping and routing, not waiting.
 */
import {
  _, cancelTimer, endpoint, groundVm, sendMessage, setTimer, spawn, timerDriver, timerExpired,
  yieldTurn, type ActionTree,
} from 'marketplace-native'
import { BATCH, expectCount } from './baseline.js'
import { ratio, type Effort, type Program, type Suite } from './harness.js'

const HOUR_MS = 3_600_000
const LABEL = 'bench'

/** Node's: as many timeouts of the same time as a batch, again and again. */
function nodeTimers(timers: number): Promise<number> {
  const began = performance.now()
  let fired = 0
  return new Promise((resolve) => {
    const setBatch = (): void => {
      for (let i = 0; i < BATCH; i += 1) setTimeout(onTimeout, 1)
    }
    const onTimeout = (): void => {
      fired += 1
      if (fired % BATCH !== 0) return
      if (fired < timers) setBatch()
      else resolve(((performance.now() - began) * 1e6) / fired)
    }
    setBatch()
  })
}

/** Timers that are due much later. */
function sleepers(count: number): ActionTree {
  return Array.from({ length: count }, (_none, i) =>
    sendMessage(setTimer(['sleeper', i], HOUR_MS + i, 'relative')),
  )
}

/** What is left of the sleepers would keep the ground VM alive. */
function wakeNobody(count: number): ActionTree {
  return Array.from({ length: count }, (_none, i) => sendMessage(cancelTimer(['sleeper', i])))
}

async function setAndFire(waiting: number, timers: number): Promise<number> {
  let fired = 0
  let began = 0
  let elapsed = NaN
  const setBatch = (): ActionTree =>
    Array.from({ length: BATCH }, () => sendMessage(setTimer(LABEL, 0, 'relative')))
  const onExpired = (): ActionTree => {
    fired += 1
    if (fired === BATCH) began = performance.now()
    if (fired % BATCH !== 0) return undefined
    if (fired < timers + BATCH) return setBatch()
    elapsed = performance.now() - began
    return wakeNobody(waiting)
  }
  await groundVm(() => [
    timerDriver(),
    spawn(() => [
      endpoint.subscriber(timerExpired(LABEL, _), { onMessage: onExpired }),
      yieldTurn(() => [sleepers(waiting), setBatch()]),
    ]),
  ])
  expectCount('timers', fired, Math.ceil((timers + BATCH) / BATCH) * BATCH)
  return (elapsed * 1e6) / (fired - BATCH)
}

async function setAndCancel(timers: number): Promise<number> {
  const batches = Math.ceil(timers / BATCH)
  let batch = 0
  let began = 0
  let elapsed = NaN
  const step = (): ActionTree => {
    if (batch === 1) began = performance.now()
    if (batch === batches + 1) {
      elapsed = performance.now() - began
      return undefined
    }
    batch += 1
    const actions = Array.from({ length: BATCH }, (_none, i) => [
      sendMessage(setTimer(i, HOUR_MS, 'relative')),
      sendMessage(cancelTimer(i)),
    ])
    return [actions, yieldTurn(step)]
  }
  await groundVm(() => [timerDriver(), spawn(() => yieldTurn(step))])
  return (elapsed * 1e6) / (batches * BATCH)
}

function fired(waiting: number, timers: number): Program {
  const many = waiting.toLocaleString('en-US')
  return {
    name: `timer-${waiting}`,
    title: `timer set and fired, ${many} others wait`,
    run: () => setAndFire(waiting, timers),
  }
}

export function timerSuite({ operations }: Effort): Suite {
  const timers = operations / 10
  return {
    name: 'timers',
    title: 'timers',
    programs: [
      { name: 'node-timer', title: "Node's setTimeout, fired", run: () => nodeTimers(timers) },
      fired(0, timers),
      fired(10_000, timers),
      {
        name: 'timer-cancelled',
        title: 'timer set and called off',
        run: () => setAndCancel(timers),
      },
    ],
    claims: [
      ratio("timer set and fired / Node's", 'timer-0', 'node-timer'),
      ratio('timer set and fired, 10,000 others / none', 'timer-10000', 'timer-0'),
      ratio("timer set and called off / Node's, fired", 'timer-cancelled', 'node-timer'),
    ],
  }
}
