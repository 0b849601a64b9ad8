/**
 * Finds a process that hears what it sends, and sends again what it hears, without end: mostly one that has exchanged
 * source and destination of a channel.
 *
 * Owns the warning about that. It costs nothing while the ground VM comes to rest now and then; when it has not for
 * many slices, what is queued at the end of a slice is looked at.
 */
import { show } from '../support/errors.js'
import { log } from '../support/log.js'
import { AtMetaLevel, SendMessage, type Action } from './action.js'
import type { Endpoint } from './endpoint.js'
import { RelayedMessage } from './meta.js'
import type { Process } from './process.js'
import type { Vm } from './vm.js'
import { isRequest } from './wiring.js'

/** Slices without rest, after which it is looked; and how often in succession the same endpoint is to be found. */
const SLICES = 20
const TIMES = 3
/** So many queued processes, and so many actions of each, are looked at. */
const LOOKED_AT = 16

export class OwnEcho {
  private slices = 0
  private found: Endpoint | undefined
  private times = 0
  private readonly told = new WeakSet<Endpoint>()

  /** Nothing is left to do. */
  rested(): void {
    this.slices = 0
    this.times = 0
    this.found = undefined
  }

  /** A slice is over, and the ground VM still has something to do. */
  goesOn(ground: Vm): void {
    if (++this.slices < SLICES) return
    const found = find(ground)
    this.times = found === this.found ? this.times + 1 : 1
    this.found = found
    if (found === undefined || this.times < TIMES || this.told.has(found)) return
    this.told.add(found)
    const who = found.target.describe()
    const what = `its own messages reach its endpoint for ${show(found.topic)}`
    const ask = 'Are source and destination exchanged?'
    log('warning', `${who} hears what it sends, and sends again, without end: ${what}. ${ask}`)
  }
}

/** An endpoint for which its own process has a message queued. */
function find(vm: Vm): Endpoint | undefined {
  for (const process of vm.queuedProcesses(LOOKED_AT)) {
    const { queue, inner } = process
    const actions = Array.isArray(queue) ? queue.slice(0, LOOKED_AT) : queue === undefined ? [] : [queue]
    for (const action of actions) {
      const found = ownReceiver(vm, process, action)
      if (found !== undefined) return found
    }
    const inside = inner && find(inner)
    if (inside !== undefined) return inside
  }
  return undefined
}

/** The endpoint of the sending process that a queued message is for, if there is one. */
function ownReceiver(vm: Vm, process: Process, action: Action): Endpoint | undefined {
  let message: unknown = action
  let sender = process
  let levels = 0
  if (action instanceof AtMetaLevel) {
    message = action.innermost
    levels = action.levels
  } else if (action instanceof RelayedMessage) {
    message = action.message
    sender = action.origin
    levels = action.levels - 1
  }
  if (!(message instanceof SendMessage) || !isRequest(message.body)) return undefined
  let outer = vm
  for (; levels > 0 && outer.container !== undefined; levels--) outer = outer.container.vm
  const { body, orientation } = message
  const index = orientation === 'publisher' ? outer.subscribers : outer.publishers
  const receivers: Endpoint[] = []
  try {
    index.receivers(body, receivers)
  } catch {
    return undefined // it exceeds the limits of topics: its turn will tell
  }
  index.refused = 0
  return receivers.find(({ target, interest }) => target === sender && interest === 'participant')
}
