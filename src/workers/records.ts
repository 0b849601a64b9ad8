/** What is published of the workers of a `serve`, in the VM that it runs in. */
import { integer, ofType } from '../support/checks.js'
import { defineCheckedRecord, type RecordFrom } from '../topic/index.js'

/**
 * Published while a worker is ready at this place. The absence has the reason with which it ended: EWORKERLOST.
 *
 * @throws TypeError or RangeError for a name that is no text, or what is no number of a worker
 */
export const workerReady = defineCheckedRecord('worker-ready', ['server', 'worker'], {
  server: ofType('string'), worker: integer(0, Number.MAX_SAFE_INTEGER),
}).of<[server: string, worker: number]>()
/** A record that `workerReady` makes. */
export type WorkerReady = RecordFrom<typeof workerReady>
