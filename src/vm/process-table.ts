/** The processes of a VM by pid. Owns which there are. */
import { KeyTable } from '../topic/index.js'
import type { Pid } from './action.js'
import type { Process } from './process.js'

/** Pids count from 0, and a VM may live long enough for more of them than a word has room for. */
const WORD = 2 ** 30
const low = (pid: Pid): number => (pid % WORD) + 1
const high = (pid: Pid): number => Math.floor(pid / WORD) + 1

export class ProcessTable {
  #byPid = new KeyTable<Process>(2)

  get(pid: Pid): Process | undefined {
    const index = pid >= 0 ? this.#byPid.find2(low(pid), high(pid)) : -1
    return index < 0 ? undefined : this.#byPid.valueAt(index)
  }

  add(process: Process): void {
    const { pid } = process
    this.#byPid.add([low(pid), high(pid)], process)
  }

  remove({ pid }: Process): void {
    const index = this.#byPid.find2(low(pid), high(pid))
    if (index >= 0) this.#byPid.removeAt(index)
  }

  /** In the order in which they were started. */
  all(): Process[] {
    return this.#byPid.all().sort((a, b) => a.pid - b.pid)
  }

  clear(): void {
    this.#byPid = new KeyTable(2)
  }
}
