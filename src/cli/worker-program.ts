/** What the workers of a command with `--workers` run: the program that their data names. Owns when it is ready. */
import type { CurrentWorker } from '../index.js'
import { workerProgram } from './programs.js'

let up: () => void = () => undefined
/** The carrier of WebSockets is loaded first: until then a worker that has a page listens for telnet only. */
export const ready = new Promise<void>((resolve) => { up = resolve })

export default (worker: CurrentWorker) => workerProgram(worker, up)
