/** Workers of `serve` that a test can let die. */
import { BroadcastChannel } from 'node:worker_threads'
import type { CurrentWorker } from 'marketplace-native'

/** On which the name of a worker is the end of that. */
const DEATHS = 'deaths of workers'

/** To be called by a worker: it exits when `die` says its name. */
export function mortal(worker: CurrentWorker): void {
  const deaths = new BroadcastChannel(DEATHS) as unknown as { onmessage: (event: { data: string }) => void } &
    { unref(): void }
  deaths.onmessage = ({ data }) => { if (data === worker.node) process.exit(7) }
  deaths.unref()
}

export function die(node: string | undefined): void {
  const deaths = new BroadcastChannel(DEATHS)
  deaths.postMessage(node)
  deaths.close()
}
