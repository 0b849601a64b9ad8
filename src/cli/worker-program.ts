/** What the workers of a command with `--workers` run: the program that their data names. Owns nothing. */
import type { CurrentWorker } from '../index.js'
import { workerProgram } from './programs.js'

export default (worker: CurrentWorker) => workerProgram(worker)
