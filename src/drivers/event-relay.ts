/**
 * The driver `event-relay`: brings event sources into a nested VM.
 *
 * It watches who subscribes to `[source, _]` in its VM, has one subscription per source in the VM around while
 * anybody does, and sends on what comes. With one relay per level, sources reach any depth.
 */
import { log, logs } from '../support/log.js'
import { endpoint } from '../dsl/index.js'
import { onePerVm } from './one-per-vm.js'
import { _ } from '../topic/index.js'
import {
  atMetaLevel,
  deleteEndpoint,
  EventSource,
  sendMessage,
  type Action,
  type ActionTree,
} from '../vm/index.js'
import { spawnDriver, type Guard } from '../vm/action.js'

/** Stands beside a source that can't be had: whoever subscribes to it hears of `[source, SOURCE_FAILED]`. */
export const SOURCE_FAILED = Symbol('source failed')

/**
 * Starts a relay in a nested VM.
 *
 * @param id for logs; any value
 */
export function eventRelay(id: unknown = 'event-relay'): Action {
  return spawnDriver('event-relay', (setGuard) => relay(id, setGuard))
}

function relay(id: unknown, setGuard: (guard: Guard) => void): ActionTree {
  /** Who wants what. */
  const subscribers = new Map<EventSource<unknown>, number>()
  /** What the relay is subscribed to outside. */
  const subscribed = new Set<EventSource<unknown>>()

  const subscribe = (source: EventSource<unknown>): ActionTree => {
    if (subscribed.has(source)) return undefined
    subscribed.add(source)
    if (logs('debug')) log('debug', 'event relay subscribes', { id, source })
    return atMetaLevel(
      endpoint.subscriber([source, _], {
        name: source,
        onMessage: ([, value]) => sendMessage([source, value]),
        // A relay further out could not have it.
        onAbsence: ([, what], _state, reason) =>
          what === SOURCE_FAILED ? [unsubscribe(source), tell(source, reason)] : undefined,
      }),
    )
  }

  const unsubscribe = (source: EventSource<unknown>): ActionTree => {
    if (!subscribed.delete(source)) return undefined
    if (logs('debug')) log('debug', 'event relay unsubscribes', { id, source })
    return atMetaLevel(deleteEndpoint(source))
  }

  /** Tells those inside that want a source why it can't be had: a presence ends with the reason. */
  const tell = (source: EventSource<unknown>, reason: unknown): ActionTree => {
    const name = Symbol('failure')
    return [endpoint.publisher([source, SOURCE_FAILED], { name }), deleteEndpoint(name, reason)]
  }

  setGuard((error, name) => {
    log('warning', 'an event relay could not do what it was asked for', { id, source: name, reason: error })
    if (!(name instanceof EventSource) || !subscribed.delete(name)) return undefined
    return tell(name, error)
  })

  const watching = endpoint.publisher([_, _], {
    interest: 'observer',
    onPresence: ([source]) => {
      if (!(source instanceof EventSource)) return undefined
      subscribers.set(source, (subscribers.get(source) ?? 0) + 1)
      return subscribe(source)
    },
    onAbsence: ([source]) => {
      if (!(source instanceof EventSource)) return undefined
      const count = subscribers.get(source) ?? 0
      if (count > 1) {
        subscribers.set(source, count - 1)
        return undefined
      }
      subscribers.delete(source)
      return unsubscribe(source)
    },
  })
  return [onePerVm('event relay', 'eventRelay'), watching]
}
