/** The program of a worker's thread, which `serve` starts. Owns nothing: see in-worker.ts. */
import { runWorker } from './in-worker.js'

await runWorker()
