/** The release script: a dry run goes through all of it and leaves nothing; what is wrong is told. */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

function run(program: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(program, args, { cwd: ROOT, encoding: 'utf8' })
}

const release = (...args: string[]): SpawnSyncReturns<string> =>
  run(process.execPath, 'scripts/release.mjs', ...args)
const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string }
const skip = run('git', 'rev-parse', 'HEAD').status === 0 ? false : 'this is no git repository'

t.test('a dry run', { skip, timeout: patient(60_000) }, async (t) => {
  const before = run('git', 'status', '--porcelain').stdout
  const { status, stdout, stderr } = release('99.1.2', '--dry-run')
  t.equal(status, 0, stderr)
  t.match(stdout, /Release 99\.1\.2/)
  for (const file of ['CHANGELOG.md', 'package.json', 'package-lock.json']) t.match(stdout, file)
  t.match(stdout, /nothing was changed/)
  t.equal(run('git', 'status', '--porcelain').stdout, before)
  t.equal(run('git', 'tag', '--list', 'v99.1.2').stdout, '')
})

t.test('what is wrong is told', { skip }, async (t) => {
  const mistakes: readonly (readonly [readonly string[], RegExp])[] = [
    [[], /usage: npm run release/],
    [['1.2'], /usage: npm run release/],
    [['99.0.0', '98.0.0'], /usage: npm run release/],
    [[version, '--dry-run'], new RegExp(`must be newer than ${version}; got ${version}`)],
    [['0.0.1', '--dry-run'], /must be newer/],
  ]
  for (const [args, message] of mistakes) {
    const { status, stderr } = release(...args)
    t.equal(status, 1, args.join(' '))
    t.match(stderr, message)
  }
})
