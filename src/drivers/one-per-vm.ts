/**
 * Drivers of which a VM has one: two would both do whatever a program asks for.
 *
 * The one that was started first stays; another one ends at once, with an error. Drivers find each other by
 * endpoints that no participant is told of.
 */
import { endpoint } from '../dsl/index.js'
import { log } from '../support/log.js'
import { _, defineRecord } from '../topic/index.js'
import { quit, type ActionTree } from '../vm/index.js'

/** Stands for a driver in the topics by which drivers find each other. No program can make an equal one. */
class Start {
  constructor(readonly serial: number) {}
}

const driverRuns = defineRecord('driver-runs', ['what', 'start']).of<[what: string, start: unknown]>()

/** Drivers of this thread in the order in which they started. */
let started = 0

/**
 * To be returned by a driver's boot before anything else.
 *
 * @param what what there is to be one of in a VM
 * @param call what the program called to start the driver
 */
export function onePerVm(what: string, call: string): ActionTree {
  const own = new Start(++started)
  return [
    endpoint.publisher(driverRuns(what, own), { name: driverRuns, interest: 'observer' }),
    endpoint.subscriber(driverRuns(what, _), {
      name: 'other drivers',
      interest: 'everything',
      onPresence: ({ start }) => {
        if (!(start instanceof Start) || start.serial >= own.serial) return undefined
        const reason = new Error(`${call}: this VM has a ${what} already, and two would do everything twice`)
        log('warning', reason.message, { reason })
        return quit(reason)
      },
    }),
  ]
}
