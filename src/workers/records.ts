/** What is published of the workers of a `serve`, in the VM that it runs in. */
import { defineRecord, type RecordFrom } from '../topic/index.js'

/** Published while a worker is ready at this place. The absence has the reason with which it ended: EWORKERLOST. */
export const workerReady = defineRecord('worker-ready', ['server', 'worker']).of<[server: string, worker: number]>()
/** A record that `workerReady` makes. */
export type WorkerReady = RecordFrom<typeof workerReady>
