/** What a run of the benchmarks does: it fits its time, and what is asked for wrongly is refused. */
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { arms } from '../../bench/lib/arms.js'
import type { LoadResult } from '../../bench/lib/load.js'
import { figuresOf, histogramOf, noiseOfArms } from '../../bench/lib/metrics.js'
import { benchmarkNames, type BenchOptions } from '../../bench/lib/options.js'
import { benchSources, root } from '../../bench/lib/paths.js'
import { installedProgram } from '../../bench/lib/peers.js'
import { agendaOf } from '../../bench/lib/plan.js'
import type { Target } from '../../bench/lib/result.js'
import { scenarios } from '../../bench/lib/scenarios.js'
import { sweepNames } from '../../bench/lib/series.js'
import { verdict } from '../../bench/lib/targets.js'

const nothing = { only: undefined, peers: undefined, rounds: undefined, json: undefined, report: undefined }
const full: BenchOptions = { quick: false, ...nothing }
const pinning = { server: [], client: [], text: 'not pinned: a test' }
const bench = (...args: string[]) =>
  spawnSync(process.execPath, [join(root, 'dist/bench/run.js'), ...args], { encoding: 'utf8' })

t.test('the runs fit their time', async (t) => {
  const minutes = (options: BenchOptions) => agendaOf(options, pinning).seconds / 60
  t.ok(minutes(full) < 20, `full: ${minutes(full)} minutes`)
  const quick = { ...full, quick: true }
  t.ok(minutes(quick) < 2, `quick: ${minutes(quick)} minutes`)
  t.ok(agendaOf(full, pinning).sweeps.length === sweepNames().length, 'all axes are in the full run')
})

t.test('scenarios name arms that exist and can serve them', async (t) => {
  for (const { name, arms: names, service } of scenarios) {
    for (const armName of names) {
      const arm = arms.find((one) => one.name === armName)
      t.ok(arm?.servers[service] !== undefined, `${name}: ${armName}`)
    }
  }
  t.equal(new Set(arms.map(({ name }) => name)).size, arms.length, 'arms have names of their own')
})

t.test('every name that --only takes selects something', async (t) => {
  for (const name of benchmarkNames()) {
    const { scenarios: steps, sweeps, microSeconds } = agendaOf({ ...full, only: [name] }, pinning)
    t.ok(steps.length + sweeps.length + microSeconds > 0, name)
  }
})

t.test('asking for some arms leaves out the others', async (t) => {
  const { scenarios: steps } = agendaOf({ ...full, peers: ['c-epoll', 'bun'] }, pinning)
  const names = new Set(steps.flatMap((step) => step.arms.map((arm) => arm.name)))
  t.same([...names].sort(), ['bun', 'c-epoll', 'c-epoll-twin'], 'and brings the twin along')
})

t.test('wrong arguments: one line that says which, and exit code 2', async (t) => {
  const wrong: [string[], RegExp][] = [
    [['--only', 'echo-1,nonsense'], /There is no 'nonsense'\. Known are: .*echo-100/],
    [['--peers', 'java'], /There is no 'java'\. Known are: .*erlang/],
    [['--rounds', '1.5'], /whole number from 1 to 100/],
    [['surplus'], /too many arguments/],
    [['--fast'], /unknown option '--fast'/],
  ]
  for (const [args, message] of wrong) {
    const { status, stderr } = bench(...args)
    t.equal(status, 2, args.join(' '))
    t.match(stderr, message)
    t.equal(stderr.trim().split('\n').length, 1, 'one line')
  }
})

t.test('files that the arms run are there', async (t) => {
  for (const { name, servers, kind } of arms) {
    if (kind !== 'peer') continue
    const files = Object.values(servers).flatMap((args) => (typeof args === 'function' ? [] : args))
      .filter((text) => text.startsWith(benchSources))
    for (const file of files) t.ok(existsSync(file), `${name}: ${file.slice(root.length)}`)
  }
})

t.test('a program that is not installed comes with the reason', async (t) => {
  t.match(installedProgram('no-such-program', 'Debian: none'), {
    reason: 'no-such-program is not installed (Debian: none)',
  })
})

function load(rate: number, latencies: number): LoadResult {
  const latency = { count: latencies, mean: 5, p50: 5, p90: 8, p99: 9, p99_9: 10, max: 11 }
  const server = {
    cpu_us: 100, cpu_us_per_message: 1000 / rate, busy: 1,
    rss_bytes_before: 1000, rss_bytes: 3000, rss_bytes_peak: 3000,
  }
  return {
    mode: 'pingpong', connections: 10, size: 64, depth: 1, rate: 0, seconds: 1, messages: rate,
    messages_per_second: rate, bytes: 64 * rate, bytes_per_second: 64 * rate, sent_bytes: 0,
    verified_bytes: 0, unfinished: 0, lost: 0, latency_us: latency, histogram: [[4, 2], [5, latencies]],
    server, client: { cpu_us: 1, busy: 0.5 },
  }
}

t.test('figures: medians beside their rounds; what was not measured is absent', async (t) => {
  const samples = [100, 300, 200].map((rate, round) => ({ round, load: load(rate, 7) }))
  const figures = figuresOf(samples, true)
  t.match(figures.rate, { median: 200, low: 100, high: 300, rounds: [{ round: 0, value: 100 }] })
  t.equal(figures.rssPerConnection?.median, 200)
  t.equal(figuresOf(samples, false).rssPerConnection, undefined, 'only where it was asked for')
  t.equal(figuresOf([{ round: 0, load: load(1, 0) }], false).p50, undefined, 'no latency, not 0')
  t.same(figuresOf([], true), {})
  t.same(histogramOf(samples), [[4, 6], [5, 21]], 'the rounds together')
})

t.test('noise is what two identical arms differ by', async (t) => {
  const arm = (name: string, rates: number[], twinOf?: string) => ({
    name,
    title: name,
    kind: 'limit' as const,
    ...(twinOf !== undefined && { twinOf }),
    figures: figuresOf(rates.map((rate, round) => ({ round, load: load(rate, 7) })), false),
    histogram: [],
  })
  const noise = noiseOfArms([arm('a', [100, 100, 100]), arm('b', [110, 110, 110], 'a')])
  t.ok(Math.abs((noise.rate ?? 0) - 0.1) < 1e-9)
  t.same(noiseOfArms([arm('a', [100])]), {}, 'none without a twin')
})

t.test('targets', async (t) => {
  const target: Target = {
    title: 'one', unit: 'ratio', limit: 0.8, sense: 'at least', value: 0.4, low: 0.4, high: 0.4,
  }
  t.equal(verdict(target), 'MISS by 100 %')
  t.equal(verdict({ ...target, value: 0.8 }), 'pass')
  t.equal(verdict({ ...target, sense: 'at most', value: 0.88 }), 'MISS by 10 %')
  t.equal(verdict({ ...target, value: undefined }), 'not measured')
  t.equal(verdict({ ...target, limit: undefined }), '')
})
