/** The charts and the page of the benchmark's report, on made-up results. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { spreadOut } from '../../bench/report/lines.js'
import { distribution } from '../../bench/report/latency.js'
import { linearAxis, logAxis } from '../../bench/report/scale.js'
import { styleOf } from '../../bench/report/theme.js'
import { readResults, writeReport } from '../../bench/report/write.js'
import { commandOf } from '../../bench/lib/machine.js'
import type { BenchReport } from '../../bench/lib/result.js'
import { ROOT } from '../docs/blocks.js'
import { fixture } from './fixture.js'

const MAIN = join(ROOT, 'dist/bench/report/main.js')
const BENCH = join(ROOT, 'dist/bench/run.js')
const report = (...args: string[]) => spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' })

function directory(t: Test): string {
  const path = mkdtempSync(join(tmpdir(), 'bench-report-'))
  t.teardown(() => rmSync(path, { recursive: true }))
  return path
}

/** What a real XML parser says against the files; empty if nothing. */
function malformed(files: readonly string[]): string {
  const program = 'import sys, xml.dom.minidom\nfor f in sys.argv[1:]: xml.dom.minidom.parse(f)'
  const { status, stderr, error } = spawnSync('python3', ['-c', program, ...files], { encoding: 'utf8' })
  return status === 0 ? '' : (error?.message ?? stderr)
}

t.test('every file is well-formed and names what it shows', async (t) => {
  const results = fixture()
  const files = await writeReport(results, directory(t))
  t.same(
    files.map((file) => file.split('/').at(-1)).sort(),
    [
      'connections-dark.svg', 'connections-light.svg', 'echo-dark.svg', 'echo-light.svg',
      'latency-dark.svg', 'latency-light.svg', 'report.html',
    ],
  )
  t.equal(malformed(files), '', 'XML')
  for (const file of files) {
    const text = readFileSync(file, 'utf8')
    const name = file.split('/').at(-1) as string
    t.notMatch(text, /NaN|undefined|Infinity|\[object/, `${name} has nothing that isn't a number`)
    t.notMatch(text, /(?:src|href)="|url\(|@import/, `${name} needs no other file`)
    t.match(text, results.environment.commit, `${name} says on what commit it was measured`)
    t.match(text, results.environment.command, `${name} says how to measure it again`)
    t.match(text, 'Node v20.20.2', `${name} says on which Node`)
  }
})

t.test('the page names every arm, and who is missing, and why', async (t) => {
  const out = directory(t)
  await writeReport(fixture(), out)
  const page = readFileSync(join(out, 'report.html'), 'utf8')
  for (const { title } of fixture().scenarios.flatMap(({ arms }) => arms)) {
    const escaped = title.replace('<&>', '&lt;&amp;&gt;').replaceAll('"', '&quot;')
    t.match(page, escaped, title)
  }
  t.match(page, 'uWebSockets.js: skipped: it isn&#39;t on npm')
  t.match(page, 'Python asyncio: failed: ended with SIGKILL in round 3')
  t.match(page, 'never measured: failed: it threw')
  t.match(page, 'a program that failed: failed: Error: it threw')
  t.match(page, 'MISS by 3 %')
  const colours = [...page.matchAll(/var\((--[\w-]+)\)/g)].map(([, name]) => name)
  t.ok(colours.length > 0)
  for (const name of new Set(colours)) {
    t.equal(page.split(`${name}: #`).length, 3, `${name} has a value for light and one for dark`)
  }
})

t.test('bars end at the medians, from zero, and the reference has ratio 1', async (t) => {
  const out = directory(t)
  await writeReport(fixture(), out)
  const echo = readFileSync(join(out, 'echo-light.svg'), 'utf8')
  const bars = (arm: string): number[] =>
    [...echo.matchAll(/d="M0,[\d.]+h([\d.]+)v15h[^"]*" fill="(#\w+)"/g)]
      .filter(([, , fill]) => fill === styleOf(arm).light)
      .map(([, width]) => Number(width))
  const [ours, base] = [bars('epoll'), bars('node-net')]
  t.equal(ours.length, 2, 'CPU and throughput')
  const { figures } = fixture().scenarios[1].arms[0]
  const of = fixture().scenarios[1].arms[4].figures
  t.ok(Math.abs(ours[0] / base[0] - figures.cpu!.median / of.cpu!.median) < 0.01, 'in proportion')
  t.ok(Math.abs(ours[1] / base[1] - figures.rate!.median / of.rate!.median) < 0.01, 'in proportion')
  t.match(echo, `${figures.cpu!.median.toPrecision(3)} (0.62)`)
  t.match(echo, '(≈ 1)', 'what is inside the noise is said to be')
  t.notMatch(echo, 'C epoll, again', 'the second of two identical arms has no bar')
  t.notMatch(echo, '5 levels', 'the README shows the main arms only')
})

t.test('results without latencies, series or a peer make a smaller report', async (t) => {
  const results = fixture()
  const [scenario] = results.scenarios
  const arm = { ...scenario.arms[0], figures: { cpu: scenario.arms[0].figures.cpu! }, histogram: [] }
  const empty = { ...scenario, name: 'none', arms: scenario.arms.slice(-1), noise: {} }
  const small: BenchReport = {
    ...results,
    scenarios: [{ ...scenario, name: 'echo-100', arms: [arm], noise: {} }, empty],
    series: [],
    micro: null,
    microFailure: 'no <memory>',
    targets: [],
  }
  const files = await writeReport(small, directory(t))
  t.same(files.map((file) => file.split('/').at(-1)), ['report.html', 'echo-light.svg', 'echo-dark.svg'])
  t.equal(malformed(files), '')
  const page = readFileSync(files[0], 'utf8')
  t.match(page, 'Failed: no &lt;memory&gt;')
  t.notMatch(page, /NaN|undefined/)
})

t.test('figures that are zero or less have no place on a logarithmic axis', async (t) => {
  const results = fixture()
  const [, memory] = results.series
  const [line] = memory.lines
  // Resident memory may shrink: in one round, or in all.
  const [first, second, ...others] = line.points
  const shrunk = (y: typeof first.y, median: number, low: number) => ({ ...y, median, low })
  const points = [
    { ...first, y: shrunk(first.y, -3, -8) }, { ...second, y: shrunk(second.y, second.y.median, 0) }, ...others,
  ]
  const gone = { ...line, title: 'all of it shrank', points: [points[0]] }
  const out = directory(t)
  await writeReport({ ...results, series: [{ ...memory, lines: [{ ...line, points }, gone] }] }, out)
  const wrong = () => /.{0,40}(?:NaN|Infinity)/.exec(readFileSync(join(out, 'report.html'), 'utf8'))?.[0]
  t.equal(wrong(), undefined)
  await writeReport({ ...results, series: [{ ...memory, lines: [gone] }] }, out)
  t.equal(wrong(), undefined, 'also where there is no line at all')
})

t.test('the distribution ends where few messages are left', async (t) => {
  const path = distribution([[0, 10], [100, 890], [200, 90], [300, 9], [400, 1]])
  t.equal(path.length, 2, 'what took no time, and the last ten, are left out')
  t.ok(Math.abs(path[0][0] - 1) < 1e-9, '90 % are at one nine')
  t.ok(Math.abs(path[1][0] - 2) < 1e-9, '99 % at two')
  t.ok(path[0][1] > 100 && path[0][1] < 106.25, 'in the middle of the bucket')
  t.same(distribution([]), [])
})

t.test('axes', async (t) => {
  const words = { title: '', text: String }
  t.same(linearAxis([3, 7.2], words), { kind: 'linear', ...words, low: 0, high: 8, ticks: [0, 2, 4, 6, 8] })
  t.same(linearAxis([0.3], words).ticks, [0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])
  t.same(linearAxis([], words).ticks, [0, 1])
  t.same(logAxis([30, 900], words).ticks, [20, 50, 100, 200, 500, 1000])
  t.same(logAxis([3, 4e6], words).ticks, [10, 100, 1000, 1e4, 1e5, 1e6])
  t.same(logAxis([1, 100, 1000], words, true).ticks, [1, 100, 1000])
  t.same(logAxis([5], words).ticks, [5, 50])
  t.same(logAxis([0], words).ticks, [1, 10])
})

t.test('names that would cover each other are moved apart', async (t) => {
  t.same(spreadOut([10, 100], 15, 200), [10, 100])
  t.same(spreadOut([100, 101, 99], 15, 200), [114, 129, 99])
  t.same(spreadOut([195, 198], 15, 200), [185, 200], 'and stay inside')
})

t.test('the command in the caption leaves out where results go', async (t) => {
  t.equal(commandOf([]), 'npm run bench')
  t.equal(commandOf(['--json', '/home/me/x.json', '--report=/home/me']), 'npm run bench')
  t.equal(commandOf(['--quick', '--json=x', '--only', 'echo-1']), 'npm run bench -- --quick --only echo-1')
})

t.test('files that are no results', async (t) => {
  const file = join(directory(t), 'other.json')
  const failures: [content: string, message: RegExp][] = [
    ['{', /^\S+other.json: not JSON: ./],
    ['null', /^\S+other.json: these aren't results of `npm run bench -- --json`$/],
    ['{"format":1}', /^\S+other.json: results of format 1; this program reads format \d+$/],
  ]
  t.throws(() => readResults(file), { code: 'ENOENT' })
  for (const [content, message] of failures) {
    writeFileSync(file, content)
    t.throws(() => readResults(file), { message })
  }
})

t.test('the command line', async (t) => {
  const out = directory(t)
  const file = join(out, 'results.json')
  writeFileSync(file, JSON.stringify(fixture()))
  const good = report(file, '--out', join(out, 'new', 'folder'))
  t.equal(good.stderr, '')
  t.equal(good.status, 0)
  t.equal(readdirSync(join(out, 'new', 'folder')).length, 7)
  t.equal(good.stdout.trim().split('\n').length, 7, 'prints what it wrote')

  const nowhere = report(file, '--out', '/proc/nothing/at/all')
  t.match(nowhere.stderr, /\/proc\/nothing/, 'a directory that can\'t be made')
  t.equal(nowhere.status, 1)
  const bench = spawnSync(process.execPath, [BENCH, '--report', '/proc/nothing'], { encoding: 'utf8' })
  t.match(bench.stderr, /^bench: --report: ENOENT.*\/proc\/nothing/, 'is told before anything is measured')
  t.strictSame([bench.status, bench.stdout], [1, ''])

  const none = report()
  t.match(none.stderr, /missing required argument 'file'/)
  t.equal(none.status, 2)
})
