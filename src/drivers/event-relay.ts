/**
 * The driver `event-relay`: brings event sources into a nested VM.
 *
 * It watches who subscribes to `[source, _]` in its VM, holds one subscription outside per source while
 * anybody does, and sends on what comes. With one relay per level, sources reach any depth.
 */
import { log, logs } from '../support/log.js'
import { endpoint } from '../dsl/index.js'
import { _ } from '../topic/index.js'
import {
  atMetaLevel,
  deleteEndpoint,
  EventSource,
  sendMessage,
  spawn,
  type Action,
  type ActionTree,
} from '../vm/index.js'

/**
 * Starts a relay in a nested VM.
 *
 * @param id for logs; any value
 */
export function eventRelay(id: unknown = 'event-relay'): Action {
  return spawn(() => relay(id), { name: 'event-relay' })
}

function relay(id: unknown): Action {
  const subscribers = new Map<EventSource<unknown>, number>()

  const subscribe = (source: EventSource<unknown>): ActionTree => {
    if (logs('debug')) log('debug', 'event relay subscribes', { id, source })
    return atMetaLevel(
      endpoint.subscriber([source, _], {
        name: source,
        onMessage: ([, value]) => sendMessage([source, value]),
      }),
    )
  }

  return endpoint.publisher([_, _], {
    interest: 'observer',
    onPresence: ([source]) => {
      if (!(source instanceof EventSource)) return undefined
      const count = subscribers.get(source) ?? 0
      subscribers.set(source, count + 1)
      return count === 0 ? subscribe(source) : undefined
    },
    onAbsence: ([source]) => {
      if (!(source instanceof EventSource)) return undefined
      const count = subscribers.get(source) ?? 0
      if (count > 1) {
        subscribers.set(source, count - 1)
        return undefined
      }
      subscribers.delete(source)
      if (logs('debug')) log('debug', 'event relay unsubscribes', { id, source })
      return atMetaLevel(deleteEndpoint(source))
    },
  })
}
