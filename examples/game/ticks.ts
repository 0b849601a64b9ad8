/**
 * How regular the ticks are, and how long each takes: a process that hears of each tick, keeps those of the last
 * minute, says so in the log, and answers `GET /ticks?seconds=10` with the figures of the last ten seconds.
 */
import {
  _, endpoint, eventSource, every, httpReply, httpRequest, quit, type ActionTree, type EventSink,
} from 'marketplace-native'
import { stopping } from '../support/run.js'
import { ticked } from './records.js'

const KEPT_SECONDS = 60
const LOG_SECONDS = 10

/** Milliseconds. */
export interface Spread {
  readonly p50: number
  readonly p99: number
  readonly max: number
}

export interface TickReport {
  readonly rate: number
  /** How much time it is about. */
  readonly seconds: number
  readonly players: number
  readonly ticks: number
  /** Ticks that were left out, as the server was busy for longer than one. */
  readonly missed: number
  /** How far the time between two ticks was from what it should be. */
  readonly jitter: Spread
  /** From the beginning of a tick until all that it brought about was done, the writes to sockets included. */
  readonly work: Spread
  /** Of one core, user and system, from 0 to 1 (more with other threads). */
  readonly cpu: number
}

/** What the process has used of the CPU until some time, in milliseconds. */
interface Used {
  readonly at: number
  readonly cpu: number
}

interface Sample {
  readonly tick: number
  readonly began: number
  readonly players: number
  readonly work: number
  /** The latest that was known then. */
  readonly used: Used
}

function spreadOf(values: readonly number[]): Spread {
  const sorted = Float64Array.from(values).sort()
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0
  return { p50: at(0.5), p99: at(0.99), max: at(1) }
}

/** @param samples those of the time that the report is about, and the one before */
export function reportOf(samples: readonly Sample[], rate: number): TickReport {
  const first = samples.at(0)
  const last = samples.at(-1)
  const msecs = first === undefined || last === undefined ? 0 : last.began - first.began
  const ticks = samples.slice(1)
  const between = ticks.map((sample, i) => sample.began - samples[i].began)
  return {
    rate,
    seconds: msecs / 1000,
    players: last?.players ?? 0,
    ticks: ticks.length,
    missed: ticks.reduce((sum, sample, i) => sum + sample.tick - samples[i].tick - 1, 0),
    jitter: spreadOf(between.map((time) => Math.abs(time - 1000 / rate))),
    work: spreadOf(ticks.map(({ work }) => work)),
    cpu: shareOf(first?.used, last?.used),
  }
}

function shareOf(from: Used | undefined, to: Used | undefined): number {
  return from === undefined || to === undefined || to.at === from.at ? 0 : (to.cpu - from.cpu) / (to.at - from.at)
}

const ms = ({ p50, p99, max }: Spread): string =>
  `p50 ${p50.toFixed(2)}, p99 ${p99.toFixed(2)}, max ${max.toFixed(2)} ms`

/** As a line for people. */
export function describe(report: TickReport): string {
  const { rate, seconds, players, ticks, missed, jitter, work, cpu } = report
  return `${players} players, ${ticks} ticks at ${rate} Hz in ${seconds.toFixed(1)} s, ${missed} left out; `
    + `jitter ${ms(jitter)}; a tick takes ${ms(work)}; CPU ${Math.round(100 * cpu)} %`
}

const usedNow = (): Used => {
  const { user, system } = process.cpuUsage()
  return { at: performance.now(), cpu: (user + system) / 1000 }
}

/** The samples of the last minute. */
class Samples {
  readonly #rate: number
  #all: Sample[] = []

  constructor(rate: number) {
    this.#rate = rate
  }

  add(sample: Sample): void {
    this.#all.push(sample)
    const kept = KEPT_SECONDS * this.#rate
    // Not each time, as that would move all of them.
    if (this.#all.length >= 2 * kept) this.#all = this.#all.slice(-kept)
  }

  report(seconds: number): TickReport {
    const since = (this.#all.at(-1)?.began ?? 0) - 1000 * seconds
    // Half a tick more, so that whole seconds have all of their ticks.
    return reportOf(this.#all.filter(({ began }) => began >= since - 500 / this.#rate), this.#rate)
  }
}

/** The seconds that a query asks for. */
const secondsIn = (query: string): number => {
  const seconds = Number(new URLSearchParams(query).get('seconds') ?? LOG_SECONDS)
  return seconds > 0 && seconds <= KEPT_SECONDS ? seconds : LOG_SECONDS
}

export const tickMeter = (rate: number): ActionTree => {
  const samples = new Samples(rate)
  let used = usedNow()
  let sink: EventSink<Sample> | undefined
  const measured = eventSource<Sample>('measured ticks', (given) => { sink = given })
  /** Calls back when nothing is left to do. What is sent to sockets goes out then, too: so once more after that. */
  const whenDone = (callback: () => void): void => sink?.whenIdle(() => sink?.whenIdle(callback))
  const say = (): void => {
    const report = samples.report(LOG_SECONDS)
    if (report.players > 0) console.log(describe(report))
  }

  return [
    endpoint.subscriber(ticked(_, _, _), {
      onMessage: ({ tick, began, players }) => {
        // Once a second: to ask the system takes a while.
        if (began - used.at >= 1000) used = usedNow()
        whenDone(() => sink?.fire({ tick, began, players, work: performance.now() - began, used }))
      },
    }),
    endpoint.subscriber([measured, _], { onMessage: ([, sample]) => { samples.add(sample) } }),
    endpoint.subscriber([every(1000 * LOG_SECONDS), _], { onMessage: () => { say() } }),
    endpoint.subscriber(httpRequest(_, 'GET', ['ticks'], _), {
      onMessage: ({ id, request: { query } }) => {
        const report = samples.report(secondsIn(query))
        return httpReply(id, 200, `${JSON.stringify(report)}\n`, { 'content-type': 'application/json' })
      },
    }),
    endpoint.subscriber(stopping(_), {
      onPresence: () => {
        say()
        return quit()
      },
    }),
  ]
}
