/**
 * A presence change: an endpoint comes and goes while N processes observe it, each of which hears of
 * both. The cost per observer is what grows; nobody else should notice.
 */
import {
  _, addEndpoint, deleteEndpoint, endpoint, role, spawn, type ActionTree,
} from 'marketplace-native'
import { expectCount } from './baseline.js'
import { drive } from './driver.js'
import type { Claim, Effort, Program, Suite } from './harness.js'
import { says } from './messages.js'

const SIZES = [1, 10, 100, 1_000] as const

interface Seen {
  presences: number
  absences: number
}

function observers(count: number, seen: Seen): ActionTree {
  return Array.from({ length: count }, () =>
    spawn(() =>
      endpoint.subscriber(says(_, _), {
        interest: 'observer',
        onPresence: () => {
          seen.presences += 1
        },
        onAbsence: () => {
          seen.absences += 1
        },
      }),
    ),
  )
}

async function changes(count: number, notices: number): Promise<number> {
  const seen: Seen = { presences: 0, absences: 0 }
  const size = Math.max(1, Math.ceil(1_000 / count))
  const timed = Math.ceil(notices / count / size)
  const speaker = role('publisher', says('ann', _))
  const make = (): ActionTree =>
    Array.from({ length: size }, () => [addEndpoint('ann', speaker, {}), deleteEndpoint('ann')])
  const batches = { size, warmup: Math.ceil(timed / 4), timed, make }
  const driver = await drive(() => observers(count, seen), batches)
  expectCount('presences', seen.presences, driver.operations * count)
  expectCount('absences', seen.absences, driver.operations * count)
  return driver.nsPerOperation
}

function program(count: number, notices: number): Program {
  const many = `${count.toLocaleString('en-US')} observer${count === 1 ? '' : 's'}`
  return {
    name: `presence-${count}`,
    title: `an endpoint comes and goes, ${many}`,
    at: { axis: 'presence-observers', line: 'comes and goes', x: count },
    run: () => changes(count, notices),
  }
}

/** What an observer more costs, as a share of a change with one. */
const perObserver: Claim = {
  title: 'presence change: an observer more / a change with one observer',
  of: (ns) => (ns('presence-1000') - ns('presence-1')) / 999 / ns('presence-1'),
}

export function presenceSuite({ operations }: Effort): Suite {
  return {
    name: 'presence',
    title: 'presence changes and their observers',
    programs: SIZES.map((count) => program(count, operations / 3)),
    claims: [perObserver],
  }
}
