/**
 * The drivers `timer` and `timer-relay`.
 *
 * The timer driver runs in a ground VM, or in a nested one with an event-relay. The relay gives a
 * nested VM timers of the VM around it, under labels of its own, so that relays don't meet each
 * other's timers.
 */
import { log } from '../support/log.js'
import { endpoint } from '../dsl/index.js'
import { _, mapKey } from '../topic/index.js'
import {
  atMetaLevel,
  deleteEndpoint,
  eventSource,
  sendMessage,
  spawn,
  type Action,
  type ActionTree,
} from '../vm/index.js'
import { TimerQueue } from './timer-queue.js'
import { cancelTimer, setTimer, timerExpired, type SetTimer } from './timer-records.js'

/**
 * Starts the timer driver: send `setTimer(label, msecs, 'relative' | 'absolute')`, and listen to
 * `timerExpired(label, _)`. Past deadlines fire at once, in the order of deadlines.
 */
export function timerDriver(): Action {
  return spawn(driver, { name: 'timer' })
}

function driver(): ActionTree {
  const timers = new TimerQueue()
  let subscribed = false
  const source = eventSource<'due'>('timer', (sink) => {
    timers.onDue = () => {
      sink.fire('due')
    }
    timers.arm()
    return () => {
      timers.disarm()
    }
  })

  /** Holds the source exactly while there are timers, so that the ground VM can end. */
  const update = (): ActionTree => {
    if (timers.size === 0) {
      if (!subscribed) return undefined
      subscribed = false
      return deleteEndpoint('due')
    }
    if (subscribed) {
      timers.arm()
      return undefined
    }
    subscribed = true
    return endpoint.subscriber([source, _], { name: 'due', onMessage: expire })
  }

  const expire = (): ActionTree => {
    const now = Date.now()
    const expired = timers.takeDue().map((label) => sendMessage(timerExpired(label, now)))
    return [expired, update()]
  }

  const set = ({ label, msecs, kind }: SetTimer): ActionTree => {
    if ((kind !== 'relative' && kind !== 'absolute') || typeof msecs !== 'number' || !(msecs < Infinity)) {
      log('warning', 'set-timer ignored: msecs must be a number, kind relative or absolute', {
        label,
        msecs,
        kind,
      })
      return undefined
    }
    timers.add(label, msecs, kind)
    return update()
  }

  return [
    endpoint.subscriber(setTimer(_, _, _), { onMessage: set }),
    endpoint.subscriber(cancelTimer(_), { onMessage: ({ label }) => timers.cancel(label) > 0 && update() }),
    endpoint.publisher(timerExpired(_, _)),
  ]
}

/**
 * Starts a timer relay in a nested VM: programs there use timers as if the driver were beside them.
 *
 * @param id names the relay outside; any value, different for each relay in the same VM
 */
export function timerRelay(id: unknown = Symbol('timer-relay')): Action {
  return spawn(() => relay(id), { name: 'timer-relay' })
}

function relay(id: unknown): ActionTree {
  let counter = 0
  const labels = new Map<number, unknown>()
  const counters = new Map<unknown, Set<number>>()

  const forget = (n: number): unknown => {
    const label = labels.get(n)
    labels.delete(n)
    const same = counters.get(mapKey(label))
    same?.delete(n)
    if (same?.size === 0) counters.delete(mapKey(label))
    return label
  }

  return [
    endpoint.subscriber(setTimer(_, _, _), {
      onMessage: ({ label, msecs, kind }) => {
        const n = counter++
        labels.set(n, label)
        const same = counters.get(mapKey(label))
        if (same === undefined) counters.set(mapKey(label), new Set([n]))
        else same.add(n)
        return atMetaLevel(sendMessage(setTimer([id, n], msecs, kind)))
      },
    }),
    endpoint.subscriber(cancelTimer(_), {
      onMessage: ({ label }) =>
        [...(counters.get(mapKey(label)) ?? [])].map((n) => {
          forget(n)
          return atMetaLevel(sendMessage(cancelTimer([id, n])))
        }),
    }),
    endpoint.publisher(timerExpired(_, _)),
    atMetaLevel(
      endpoint.subscriber(timerExpired([id, _], _), {
        onMessage: ({ label, now }) => {
          const n = (label as readonly unknown[])[1] as number
          return labels.has(n) && sendMessage(timerExpired(forget(n), now))
        },
      }),
    ),
  ]
}
