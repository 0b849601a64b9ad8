/**
 * The drivers `timer` and `timer-relay`.
 *
 * The timer driver runs in a ground VM, or in a nested one with an event-relay. The relay gives a
 * nested VM timers of the VM around it, under labels of its own, so that relays don't meet each
 * other's timers.
 */
import { argumentError, asError } from '../support/errors.js'
import { log } from '../support/log.js'
import { endpoint } from '../dsl/index.js'
import { _, isGround, mapKey } from '../topic/index.js'
import { spawnDriver, type Guard } from '../vm/action.js'
import {
  atMetaLevel, deleteEndpoint, eventSource, sendMessage, type Action, type ActionTree,
} from '../vm/index.js'
import { onePerVm } from './one-per-vm.js'
import { wrongTimer } from './record-checks.js'
import { numberTold, takeNumber } from './relay-labels.js'
import { relayIsThere, RelayedTimers } from './relayed-timers.js'
import { TimerQueue } from './timer-queue.js'
import { cancelTimer, setTimer, timerError, timerExpired, type SetTimer } from './timer-records.js'
import { definite } from './wish.js'

/** Tells whoever asked for a timer, or for its end, that it can't be had. */
function refused(label: unknown, error: Error): ActionTree {
  log('warning', error.message, { label, reason: error })
  return sendMessage(timerError(label, error))
}

/** Whether telling of this label would reach those with other labels. One without an end has none. */
function hasWildcard(label: unknown): boolean {
  try {
    return !isGround(label)
  } catch {
    return false
  }
}

/** Something failed that should not have: whoever it was for hears of it, and nobody else. */
function broken(error: unknown, _name: unknown, subject: unknown): ActionTree {
  const reason = asError(error, 'the timer driver failed')
  if ((setTimer.is(subject) || cancelTimer.is(subject)) && !hasWildcard(subject.label)) {
    return refused(subject.label, reason)
  }
  log('warning', 'a timer driver could not do what it was asked for', { reason, what: subject })
  return undefined
}

/**
 * Starts the timer driver: send `setTimer(label, msecs, 'relative' | 'absolute')`, and listen to
 * `timerExpired(label, _)`. Past deadlines fire at once, in the order of deadlines. What can't be done is
 * told as `timerError(label, error)`.
 */
export function timerDriver(): Action
export function timerDriver(...given: unknown[]): Action {
  if (given.length > 0) throw argumentError('timerDriver', 'options', 'left out: there are none', given[0])
  return spawnDriver('timer', (setGuard) => {
    setGuard(broken)
    return driver()
  })
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

  /** Subscribes to the source exactly while there are timers, so that the ground VM can end. */
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

  const cancel = (label: unknown): ActionTree => timers.cancel(label) > 0 && update()

  const relayed = new RelayedTimers(cancel)

  const expire = (): ActionTree => {
    const now = Date.now()
    const expired = timers.takeDue().map((label) => {
      relayed.over(label)
      return sendMessage(timerExpired(label, now))
    })
    return [expired, update()]
  }

  const set = (wish: SetTimer): ActionTree => {
    const wrong = wrongTimer(wish)
    if (wrong !== undefined) return refused(wish.label, wrong)
    timers.add(wish.label, wish.msecs, wish.kind)
    relayed.set(wish.label)
    return update()
  }

  return [
    onePerVm('timer driver', 'timerDriver'),
    endpoint.subscriber(setTimer(_, _, _), { onMessage: definite(set) }),
    endpoint.subscriber(cancelTimer(_), {
      onMessage: definite(({ label }) => {
        relayed.over(label)
        return cancel(label)
      }),
    }),
    relayed.watch(),
    endpoint.publisher(timerExpired(_, _)),
    endpoint.publisher(timerError(_, _)),
  ]
}

/**
 * Starts a timer relay in a nested VM: programs there use timers as if the driver were beside them.
 *
 * @param id names the relay outside; any value. Relays of one id don't hear each other's timers
 */
export function timerRelay(id: unknown = Symbol('timer-relay')): Action {
  return spawnDriver('timer-relay', (setGuard) => new TimerRelay(id).boot(setGuard))
}

/** A timer that was asked for outside: its name there is `[id, number]`. */
interface Relayed {
  readonly label: unknown
  readonly key: unknown
}

class TimerRelay {
  private readonly id: unknown
  private readonly timers = new Map<number, Relayed>()
  /** Numbers of the timers with the same label. */
  private readonly byLabel = new Map<unknown, Set<number>>()
  private readonly relayed = new RelayedTimers((label) => this.cancel(label))

  constructor(id: unknown) {
    this.id = id
  }

  boot(setGuard: (guard: Guard) => void): ActionTree {
    setGuard((error, name, subject) => this.broken(error, name, subject))
    const { id } = this
    return [
      onePerVm('timer relay', 'timerRelay'),
      endpoint.subscriber(setTimer(_, _, _), { onMessage: definite((wish) => this.set(wish)) }),
      endpoint.subscriber(cancelTimer(_), { onMessage: definite(({ label }) => this.cancel(label)) }),
      endpoint.publisher(timerExpired(_, _)),
      endpoint.publisher(timerError(_, _)),
      this.relayed.watch(),
      atMetaLevel(
        relayIsThere(id),
        endpoint.subscriber(timerExpired([id, _], _), {
          onMessage: ({ label, now }) => this.answered(label, (inner) => timerExpired(inner, now)),
        }),
        endpoint.subscriber(timerError([id, _], _), {
          onMessage: ({ label, error }) => this.answered(label, (inner) => timerError(inner, error)),
        }),
      ),
    ]
  }

  private set(wish: SetTimer): ActionTree {
    const { label, msecs, kind } = wish
    const wrong = wrongTimer(wish)
    if (wrong !== undefined) return refused(label, wrong)
    const key = mapKey(label)
    const n = takeNumber(this.id)
    this.timers.set(n, { label, key })
    const same = this.byLabel.get(key)
    if (same === undefined) this.byLabel.set(key, new Set([n]))
    else same.add(n)
    this.relayed.set(label)
    return atMetaLevel(sendMessage(setTimer([this.id, n], msecs, kind)))
  }

  private cancel(label: unknown): ActionTree {
    return [...(this.byLabel.get(mapKey(label)) ?? [])].map((n) => {
      this.forget(n)
      return atMetaLevel(sendMessage(cancelTimer([this.id, n])))
    })
  }

  /** What came from outside for one of its timers, told under the label that it has inside. */
  private answered(outer: unknown, answer: (label: unknown) => unknown): ActionTree {
    const timer = this.forget((outer as readonly unknown[])[1])
    if (timer === undefined) return undefined
    numberTold(this.id)
    return sendMessage(answer(timer.label))
  }

  private forget(n: unknown): Relayed | undefined {
    const timer = this.timers.get(n as number)
    if (timer === undefined) return undefined
    this.timers.delete(n as number)
    const same = this.byLabel.get(timer.key)
    same?.delete(n as number)
    if (same?.size === 0) {
      this.byLabel.delete(timer.key)
      this.relayed.over(timer.label)
    }
    return timer
  }

  private broken(error: unknown, name: unknown, subject: unknown): ActionTree {
    // One that could not be asked for outside has a label of its own there.
    const outer: unknown = setTimer.is(subject) && Array.isArray(subject.label) ? subject.label[1] : undefined
    const timer = this.forget(outer)
    if (timer === undefined) return broken(error, name, subject)
    return refused(timer.label, asError(error, 'the timer relay failed'))
  }
}
