/**
 * What a run says, in words, and whether the machine was too busy to believe it.
 */
import { readFileSync } from 'node:fs'
import { cpus, loadavg } from 'node:os'
import { ratioBetween } from './metrics.js'
import type { ScenarioReport, Target } from './result.js'
import { verdict } from './targets.js'

/** The machine at one moment. */
export interface Load {
  /** Processes that ran or wanted to, over the last minute. */
  readonly average: number
  readonly cpus: number
  /** Ticks since the machine started, of all CPUs; 0 where the kernel doesn't tell. */
  readonly ticks: number
  /** Those that a hypervisor gave to others. */
  readonly stolen: number
}

export function readLoad(): Load {
  const own = { average: loadavg()[0], cpus: cpus().length }
  try {
    const [, ...fields] = readFileSync('/proc/stat', 'utf8').split('\n')[0].trim().split(/\s+/)
    // The fields behind the eighth, of guests, are counted in those before.
    const ticks = fields.slice(0, 8).map(Number)
    return { ...own, ticks: ticks.reduce((sum, one) => sum + one, 0), stolen: ticks[7] ?? 0 }
  } catch {
    return { ...own, ticks: 0, stolen: 0 }
  }
}

/** A machine with nothing else to do stays well below each. */
const LIMITS = { noise: 0.1, stolen: 0.02 }
/** Server and client of the benchmark itself. */
const OWN_PROCESSES = 2

/** Why the figures can't be believed; empty if nothing speaks against them. */
export function doubts(begin: Load, end: Load, scenarios: readonly ScenarioReport[]): string[] {
  const spare = Math.max(1, begin.cpus / 4)
  const stolen = (end.stolen - begin.stolen) / (end.ticks - begin.ticks || 1)
  const noises = scenarios.flatMap(({ noise }) => noise.cpu ?? [])
  const noise = Math.max(0, ...noises)
  const percent = (share: number): string => `${Math.round(share * 100)} %`
  return [
    ...(begin.average > spare ? [`the load was ${begin.average.toFixed(1)} when it began`] : []),
    ...(end.average > OWN_PROCESSES + spare ? [`the load was ${end.average.toFixed(1)} at its end`] : []),
    ...(stolen > LIMITS.stolen ? [`${percent(stolen)} of the CPU time went to other machines`] : []),
    ...(noise > LIMITS.noise ? [`two identical servers differed by ${percent(noise)}`] : []),
  ]
}

function comparison(scenario: ScenarioReport, base: string, title: string): string[] {
  const found = ratioBetween(scenario, 'cpu', 'epoll', base)
  if (found === undefined) return []
  if (!found.different) return [`as much CPU as on ${title}`]
  return [`${found.ratio.toPrecision(2)} times the CPU of ${title}`]
}

/** The last words of a run. */
export function summary(
  scenarios: readonly ScenarioReport[],
  targets: readonly Target[],
  reasons: readonly string[],
): string {
  const echo = scenarios.find(({ name }) => name === 'echo-100')
  const costs = echo === undefined ? [] : [
    ...comparison(echo, 'node-net', 'node:net'), ...comparison(echo, 'c-epoll', 'the C server'),
  ]
  const judged = targets.filter(({ value, limit }) => value !== undefined && limit !== undefined)
  const passed = judged.filter((target) => verdict(target) === 'pass').length
  const told = [
    ...(costs.length > 0 ? [`With 100 connections a message costs ${costs.join(', and ')}.`] : []),
    ...(judged.length > 0 ? [`${passed} of ${judged.length} targets are reached.`] : []),
    ...(costs.length + judged.length === 0 ? ['Nothing was measured that has a target or a peer.'] : []),
    ...(reasons.length > 0
      ? [`The machine was too busy to believe these figures: ${reasons.join('; ')}.`]
      : ['Nothing else seems to have disturbed the run.']),
  ]
  return `\n${told.join('\n')}\n`
}
