/** What `npm run bench:compare` concludes, and that it leaves nothing behind. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { judge, type Quartet, type Verdict } from '../../bench/compare/judge.js'
import { relocated, type Finding } from '../../bench/compare/measure.js'
import { comparisonText, isWorse } from '../../bench/compare/text.js'
import { resolveCommit } from '../../bench/compare/worktree.js'
import type { RoundValue } from '../../bench/lib/result.js'
import { ROOT } from '../docs/blocks.js'
import { until } from '../support/util.js'
import { numbers } from './fixture.js'

const rounds = (values: readonly number[]): RoundValue[] => values.map((value, round) => ({ round, value }))

/** Seven rounds of two revisions; `drift` moves all of a round together, `noise` each process alone. */
function quartet(factor: number, noise: number, drift = 0, seed = 1): Quartet {
  const random = numbers(seed)
  const around = (): number => 1 + noise * (2 * random() - 1)
  const table = Array.from({ length: 7 }, () => {
    const level = 10 * (1 + drift * random())
    return [level, level, level * factor, level * factor].map((value) => value * around())
  })
  const column = (i: number): RoundValue[] => rounds(table.map((row) => row[i]))
  return { base: column(0), base2: column(1), head: column(2), head2: column(3) }
}

t.test('what moved, and what did not', async (t) => {
  const cases: [title: string, samples: Quartet, moved: boolean][] = [
    ['10 % better, little noise', quartet(0.9, 0.01), true],
    ['10 % worse, little noise', quartet(1.1, 0.01), true],
    ['10 % worse on a machine whose speed changes from round to round', quartet(1.1, 0.01, 2), true],
    ['3 % worse, hardly any noise', quartet(1.03, 0.001), true],
    ['1 % worse, hardly any noise: below 2 %', quartet(1.01, 0.0001), false],
    ['the same', quartet(1, 0.01), false],
    ['exactly the same', quartet(1, 0), false],
    ['4 % worse in noise of 20 %', quartet(1.04, 0.2), false],
    [
      'one round of seven disagrees',
      {
        base: rounds([10, 10, 10, 10, 10, 10, 10]),
        base2: rounds([10, 10, 10, 10, 10, 10, 10]),
        head: rounds([11, 11, 11, 11, 11, 11, 9]),
        head2: rounds([11, 11, 11, 11, 11, 11, 9]),
      },
      false,
    ],
    [
      'the two processes of one revision differ as much as the revisions do',
      {
        base: rounds([10, 10, 10]),
        base2: rounds([10, 10, 10]),
        head: rounds([12, 12, 12]),
        head2: rounds([10.1, 10.1, 10.1]),
      },
      false,
    ],
  ]
  for (const [title, samples, moved] of cases) t.equal(judge(samples)?.moved, moved, title)
})

t.test('a thousand comparisons of a revision with itself: next to nothing moved', async (t) => {
  let moved = 0
  for (let seed = 1; seed <= 1000; seed += 1) if (judge(quartet(1, 0.05, 0.5, seed))?.moved) moved += 1
  t.ok(moved <= 10, `${moved} of 1000`)
})

t.test('a thousand comparisons with one that is 10 % worse, noise 3 %: nearly all found', async (t) => {
  let found = 0
  for (let seed = 1; seed <= 1000; seed += 1) if (judge(quartet(1.1, 0.03, 0.5, seed))?.moved) found += 1
  t.ok(found >= 950, `${found} of 1000`)
})

t.test('the figures of a verdict', async (t) => {
  const verdict = judge({
    base: rounds([10, 20, 30]),
    base2: rounds([10, 20, 33]),
    head: rounds([5, 10, 15, 99]),
    head2: rounds([5, 10, 15]),
  }) as Verdict
  t.match(verdict, { base: 20, head: 10, ratio: 0.5, high: 0.5, moved: true })
  t.ok(Math.abs(verdict.low - 15 / 31.5) < 1e-9)
  t.equal(verdict.noise, 0, 'a median: that of the typical round')
  const missing = { base: rounds([1, 1, 1]), base2: rounds([1, 1]), head: rounds([1, 1, 1]) }
  t.equal(judge({ ...missing, head2: missing.head }), undefined, 'too few rounds that all have')
})

t.test('what is printed', async (t) => {
  const verdict = judge(quartet(1.1, 0.01)) as Verdict
  const cpu: Finding = { title: 'server CPU us', better: 'lower', verdict }
  const rate: Finding = { title: 'per second', better: 'higher', verdict }
  const still: Finding = { ...rate, title: 'p50 us', verdict: judge(quartet(1, 0.01)) as Verdict }
  t.ok(isWorse(cpu))
  t.notOk(isWorse(rate), 'more of it is better')
  t.notOk(isWorse(still))
  const text = comparisonText({ title: 'echo', findings: [cpu, rate, still], failures: ['base: gone'] })
  t.match(text, /^ {2}server CPU us .* \+\d\d?\.\d % .*WORSE$/m)
  t.match(text, /^ {2}per second .*better$/m)
  t.notMatch(text, 'p50 us')
  t.match(text, /^ {2}1 of 3 figures: no difference beyond the noise \(noise [\d.]+ % to [\d.]+ %\)$/m)
  t.match(text, /^ {2}FAILED: base: gone$/m)
  t.match(comparisonText({ title: 'x', findings: [], failures: [] }), /nothing that both have/)
})

t.test('files of the other revision', async (t) => {
  t.equal(relocated(join(ROOT, 'dist/x.js'), '/tree'), '/tree/dist/x.js')
  t.equal(relocated('--port', '/tree'), '--port')
  t.equal(relocated('/usr/bin/node', '/tree'), '/usr/bin/node')
})

t.test('the command line', async (t) => {
  const main = join(ROOT, 'dist/bench/compare/main.js')
  const failures: [args: string[], message: RegExp][] = [
    [['no-such-thing'], /^bench:compare: ('no-such-thing' names no commit|.*not a git repository)/],
    [['HEAD', '--only', 'echo-100,nothing'], /There is no 'nothing'\. Known are: .*echo-100/],
    [['HEAD', '--rounds', '2'], /must be a whole number from 3 to 100/],
  ]
  for (const [args, message] of failures) {
    const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: 'utf8' })
    t.equal(status, 2, args.join(' '))
    t.equal(stdout, '')
    t.match(stderr, message)
    t.equal(stderr.trim().split('\n').length, 1, 'one line')
  }
})

/** A repository whose build writes a file, or takes for ever. */
function repository(t: Test, build: string): { path: string; worktrees: () => string[] } {
  const path = mkdtempSync(join(tmpdir(), 'compare-test-'))
  t.teardown(() => rmSync(path, { recursive: true, force: true }))
  const name = { name: 'x', version: '1.0.0' }
  const lock = { ...name, lockfileVersion: 3, requires: true, packages: { '': name } }
  writeFileSync(join(path, 'package.json'), JSON.stringify({ ...name, scripts: { build } }))
  writeFileSync(join(path, 'package-lock.json'), JSON.stringify(lock))
  const git = (...args: string[]): string => {
    const identity = ['-c', 'user.name=x', '-c', 'user.email=x@example.org', '-c', 'commit.gpgsign=false']
    const options = { cwd: path, encoding: 'utf8' } as const
    const { status, stdout, stderr } = spawnSync('git', [...identity, ...args], options)
    if (status !== 0) throw new Error(stderr)
    return stdout
  }
  git('init', '-q')
  git('add', '.')
  git('commit', '-q', '-m', 'x')
  const worktrees = (): string[] =>
    [...git('worktree', 'list', '--porcelain').matchAll(/^worktree (.*)$/gm)].map(([, place]) => place)
  return { path, worktrees }
}

/** The helper that builds a commit; `said` is what it has printed so far. */
function builder(t: Test, path: string): { child: ReturnType<typeof spawn>; said: () => string } {
  const helper = join(ROOT, 'dist/test/bench/build-revision.js')
  const child = spawn(process.execPath, [helper, path, 'HEAD'], { stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
  })
  return { child, said: () => output }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

t.test('a revision is built beside the repository, and gone with the process', async (t) => {
  const { path, worktrees } = repository(t, 'node -e "fs.writeFileSync(\'built\', \'\')"')
  const { child, said } = builder(t, path)
  await until(() => said().includes('built in'))
  const [, place] = /built in (.*): true\n/.exec(said()) as RegExpExecArray
  t.equal(worktrees().length, 2)
  t.ok(existsSync(join(place, 'package.json')))
  t.notOk(existsSync(join(path, 'built')), 'the repository itself is left alone')
  child.kill('SIGINT')
  await once(child, 'exit')
  t.equal(child.exitCode, 130)
  t.notOk(existsSync(place))
  t.equal(worktrees().length, 1)
})

t.test('Ctrl-C while it builds ends the build and removes the directory', async (t) => {
  const forEver = 'fs.writeFileSync(\'pid\', String(process.pid)); setInterval(() => {}, 1000)'
  const { path, worktrees } = repository(t, `node -e "${forEver}"`)
  const { child, said } = builder(t, path)
  await until(() => said().includes('building'))
  const place = worktrees()[1]
  const pid = (): string => (existsSync(join(place, 'pid')) ? readFileSync(join(place, 'pid'), 'utf8') : '')
  await until(() => pid() !== '')
  const build = Number(pid())
  child.kill('SIGINT')
  await once(child, 'exit')
  await until(() => !isAlive(build))
  t.notOk(existsSync(place))
  t.equal(worktrees().length, 1)
})

t.test('a revision that cannot be built', async (t) => {
  const { path, worktrees } = repository(t, 'node -e "console.error(\'no such thing\'); process.exit(3)"')
  const { child, said } = builder(t, path)
  await once(child, 'close')
  t.match(said(), /failed: \w{12}: npm run build ended with 3:\n[^]*no such thing/)
  t.equal(worktrees().length, 1)
})

t.test('names of commits', async (t) => {
  const { path } = repository(t, 'true')
  t.match(resolveCommit(path, 'HEAD'), /^[0-9a-f]{40}$/)
  for (const ref of ['nothing', '--all', 'HEAD~9', '', 'HEAD:package.json']) {
    t.throws(() => resolveCommit(path, ref), { message: `'${ref}' names no commit of this repository` })
  }
  const elsewhere = mkdtempSync(join(tmpdir(), 'compare-test-'))
  t.teardown(() => rmSync(elsewhere, { recursive: true }))
  t.throws(() => resolveCommit(elsewhere, 'HEAD'), { message: /not a git repository/ })
})
