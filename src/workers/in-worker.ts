/**
 * A worker's own side: takes its listeners from the thread that serves, runs the program, says when it is ready, and
 * ends it in good order.
 *
 * Owns the beat that says that the event loop is alive, the loans, and the way of the log to the other thread.
 */
import { subscribe } from 'node:diagnostics_channel'
import { receiveMessageOnPort, workerData, type MessagePort } from 'node:worker_threads'
import { safeInspect, socketError } from '../support/errors.js'
import { LOG_CHANNEL, type LogRecord } from '../support/log.js'
import { clearTimeout, setInterval, setTimeout } from '../support/real-time.js'
import {
  endThread, NO_ANSWER, setLender, threadMetrics, type Lender, type Loan, type LoanRequest,
} from '../transport/shared-listeners.js'
import { endpoint } from '../dsl/index.js'
import { groundVm, spawn, type ActionTree } from '../vm/index.js'
import { whenGroundStarts } from '../vm/ground.js'
import { Current, setCurrentWorker } from './current.js'
import { lookedIntoBy } from './inspected.js'
import {
  START, toldError, Word, type FromWorker, type LoanAnswer, type LoanQuestion, type ToWorker, type WorkerStart,
} from './protocol.js'

/** Milliseconds that the other thread may take to lend a listener. */
const ANSWER_MS = 10_000

/** What a module exports for a worker. */
interface Exports {
  readonly default?: unknown
  /** A topic by whose presence the worker is ready, or a promise. */
  readonly ready?: unknown
  /** Of one without a ground VM: what ends it in good order. */
  readonly shutdown?: unknown
}

/** Runs the worker that this thread is. */
export async function runWorker(): Promise<void> {
  const start = (workerData as Readonly<Record<string, WorkerStart>>)[START]
  await new ServeWorker(start, start.control).run()
}

type Grounds = Parameters<Parameters<typeof whenGroundStarts>[0]>[0]

class ServeWorker {
  readonly #start: WorkerStart
  readonly #port: MessagePort
  readonly #current: Current
  /** All that run in this thread, however they were started. */
  readonly #grounds = new Set<Grounds>()
  #exports: Exports = {}
  #ready = false
  #ending = false
  /** Once it is to end: whether what is in no ground VM has ended. */
  #othersOver = false

  constructor(start: WorkerStart, port: MessagePort) {
    this.#start = start
    this.#port = port
    this.#current = new Current(start.index, start.node, start.data)
  }

  async run(): Promise<void> {
    const { words, beatMs, loans, module } = this.#start
    setInterval(() => { Atomics.add(words, Word.beat, 1) }, beatMs).unref()
    subscribe(LOG_CHANNEL, (record) => { this.#log(record as LogRecord) })
    setCurrentWorker(this.#current)
    setLender(new PortLender(loans, words, (error) => { if (!this.#ready) this.#failed(error) }))
    whenGroundStarts((ground) => {
      this.#grounds.add(ground)
      return () => { this.#groundEnded(ground) }
    })
    this.#port.on('message', (message: ToWorker) => { this.#told(message) })
    try {
      await this.#runProgram(await import(module) as Exports)
    } catch (error) {
      this.#failed(error)
    }
  }

  async #runProgram(exports: Exports): Promise<void> {
    this.#exports = exports
    const nested = exports.default as { readonly default?: unknown } | null | undefined
    // As compilers write CommonJS.
    const isNested = typeof nested === 'object' && nested !== null && 'default' in nested
    const program = isNested ? nested.default : exports.default
    const { ready } = exports
    const isPromise = typeof (ready as PromiseLike<unknown> | undefined)?.then === 'function'
    const topic = isPromise ? undefined : ready
    const started = this.#isProgram(program)
    if (started) this.#boot(program, topic)
    else if (topic !== undefined) throw this.#wrong('the export ready, a topic, goes with a program as default export')
    if (isPromise) await (ready as PromiseLike<unknown>)
    if (topic !== undefined) return
    // What the program does first, and what follows from that at once, is done by then.
    setImmediate(() => { setImmediate(() => { this.#becameReady() }) })
  }

  #isProgram(program: unknown): boolean {
    if (typeof program === 'function') return true
    if (program === undefined || program === null) return false
    // A ground VM that runs already.
    if (typeof (program as PromiseLike<unknown>).then === 'function') return false
    if (typeof program === 'object') return Object.keys(program).length > 0 || Array.isArray(program)
    throw this.#wrong(`its default export is ${safeInspect(program, {})}, and no program`)
  }

  #wrong(what: string): Error {
    return Object.assign(new Error(`${this.#start.module}: ${what}`), { code: 'ERR_INVALID_ARG_VALUE' })
  }

  #boot(program: unknown, topic: unknown): void {
    const watch = topic === undefined ? undefined : spawn(() => endpoint.subscriber(topic, {
      interest: 'observer', onPresence: () => { this.#becameReady() },
    }), { name: 'ready' })
    const boot = (typeof program === 'function' ? program : () => program) as (worker: Current) => unknown
    const vm = groundVm(() => {
      const actions = boot(this.#current)
      // One that the program has started itself is known without that.
      const isGround = typeof (actions as { shutdown?: unknown } | undefined)?.shutdown === 'function'
      return [watch, spawn(() => isGround ? undefined : actions as ActionTree, { name: 'main', essential: true })]
    }, { name: 'worker' })
    vm.catch((error: unknown) => { this.#failed(error) })
  }

  #becameReady(): void {
    if (this.#ready || this.#ending) return
    this.#ready = true
    this.#say({ kind: 'ready' })
  }

  #told(message: ToWorker): void {
    if (message.kind === 'metrics') this.#say({ kind: 'metrics', asked: message.asked, metrics: threadMetrics() })
    else if (message.kind === 'peer') this.#current.met({ node: message.node, port: message.port })
    else if (message.kind === 'inspect') lookedIntoBy(this.#grounds, message.port)
    else this.#shutDownSoon(message.drainMs)
  }

  /** Connections that this thread has taken may not have been told of yet: with their listener they would go, too. */
  #shutDownSoon(drainMs: number): void {
    this.#ending = true
    setImmediate(() => { setImmediate(() => { this.#shutDown(drainMs) }) })
  }

  #shutDown(drainMs: number): void {
    for (const ground of [...this.#grounds]) ground.shutdown({ drainMs })
    const { shutdown } = this.#exports
    const own = typeof shutdown === 'function'
      ? new Promise((resolve) => { resolve((shutdown as (options: object) => unknown)({ drainMs })) }) : undefined
    // Servers of `net`. Who is there yet is reset then.
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<void>((resolve) => { timer = setTimeout(resolve, drainMs) })
    Promise.all([own, Promise.race([endThread(), late])]).then(() => {
      clearTimeout(timer)
      this.#othersOver = true
      this.#endIfOver()
    }, (error: unknown) => { this.#failed(error) })
  }

  #groundEnded(ground: Grounds): void {
    this.#grounds.delete(ground)
    // Whoever waits for its end hears of it first.
    setImmediate(() => { this.#endIfOver() })
  }

  #endIfOver(): void {
    if (this.#grounds.size > 0 || (this.#ending && !this.#othersOver)) return
    if (this.#ending) this.#over()
    else this.#failed(Object.assign(new Error('its program has ended by itself'), { code: 'EENDED' }))
  }

  #over(): void {
    this.#say({ kind: 'over', metrics: threadMetrics() })
    process.exit(0)
  }

  #failed(reason: unknown): void {
    this.#say({ kind: 'failed', error: toldError(reason) })
    process.exit(1)
  }

  #log({ level, message, fields }: LogRecord): void {
    const fieldsTold = Object.entries(fields).map(([name, value]): [string, unknown] => [name, told(value)])
    this.#say({ kind: 'log', level, message, fields: fieldsTold })
  }

  #say(message: FromWorker): void {
    this.#port.postMessage(message)
  }
}

/** A value of the log that crosses between threads. */
function told(value: unknown): unknown {
  if (value instanceof Error) return { told: toldError(value) }
  return value === undefined || ['string', 'number', 'boolean', 'bigint'].includes(typeof value)
    ? value : safeInspect(value, { depth: 3, breakLength: Infinity, compact: true })
}

/** Has listeners from the other thread, which answers while this one waits: whoever listens hears at once, as ever. */
class PortLender implements Lender {
  readonly #port: MessagePort
  readonly #words: Int32Array
  readonly #failed: (error: Error) => void
  /** Of each place where the kernel chose the port: which of them are lent. */
  readonly #nth = new Map<string, Set<number>>()
  #question = 0

  constructor(port: MessagePort, words: Int32Array, failed: (error: Error) => void) {
    this.#port = port
    this.#words = words
    this.#failed = failed
  }

  borrow(request: LoanRequest): Loan | number {
    const [nth, free] = this.#number(request)
    const answer = this.#ask({ kind: 'borrow', question: ++this.#question, nth, request })
    const { errno, seat, descriptors, address } = answer ?? { errno: NO_ANSWER }
    if (errno < 0 || address === undefined || descriptors === undefined) {
      free()
      this.#failed(socketError(errno, 'listen', request.host ?? '::', request.port))
      return errno
    }
    return {
      descriptors, address,
      giveBack: () => {
        free()
        this.#say({ kind: 'give-back', seat: seat ?? 0 })
      },
    }
  }

  /** The n-th listener of this thread with a port of the kernel's choice shares it with the n-th of the others. */
  #number({ host, port, ipv6Only }: LoanRequest): [nth: number, free: () => void] {
    if (port !== 0) return [0, () => undefined]
    const key = `${host} ${ipv6Only}`
    const taken = this.#nth.get(key) ?? new Set<number>()
    this.#nth.set(key, taken)
    let nth = 0
    while (taken.has(nth)) nth++
    taken.add(nth)
    return [nth, () => { taken.delete(nth) }]
  }

  #ask(question: LoanQuestion & { readonly question: number }): LoanAnswer | undefined {
    const deadline = Date.now() + ANSWER_MS
    Atomics.store(this.#words, Word.answered, 0)
    this.#say(question)
    for (;;) {
      const message = receiveMessageOnPort(this.#port) as { message: LoanAnswer } | undefined
      if (message !== undefined) {
        const { question: answered, seat } = message.message
        if (answered === question.question) return message.message
        // It comes too late: nobody waits for it any more.
        if (seat > 0) this.#say({ kind: 'give-back', seat })
        continue
      }
      const left = deadline - Date.now()
      if (left <= 0) return undefined
      Atomics.wait(this.#words, Word.answered, 0, left)
      Atomics.store(this.#words, Word.answered, 0)
    }
  }

  #say(question: LoanQuestion): void {
    this.#port.postMessage(question)
  }
}
