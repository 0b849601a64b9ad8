/**
 * `npm run release -- VERSION [--dry-run]`: checks that everything is in order, writes the version into
 * package.json, package-lock.json and CHANGELOG.md, runs `.ci/run` and the tests of the packed package,
 * then commits and tags. Publishing is left to whoever holds the key: the last line says how.
 * A dry run does it in a clone that is thrown away, all but `.ci/run` and those tests.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { ROOT, StepFailed, main, say, step } from './steps.mjs'

const VERSION = /^(\d+)\.(\d+)\.(\d+)$/
/** What must have passed before there is a tag. */
const PROOFS = [
  ['.ci/run', 'bash', ['.ci/run']],
  ['the packed package', 'npm', ['run', 'test:package']],
]

function git(directory, ...args) {
  const { status, stdout, stderr } = spawnSync('git', args, { cwd: directory, encoding: 'utf8' })
  if (status !== 0) throw new StepFailed(`release: git ${args.join(' ')}: ${stderr.trim()}`)
  return stdout.trim()
}

const parts = (version) => VERSION.exec(version)?.slice(1).map(Number)

function isNewer(version, than) {
  const [a, b] = [parts(version), parts(than)]
  const i = a.findIndex((part, at) => part !== b[at])
  return i >= 0 && a[i] > b[i]
}

/** What speaks against a release of the tree as it is; nothing is changed. */
function check(version, dry) {
  const { version: present } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  if (!isNewer(version, present)) {
    throw new StepFailed(`release: VERSION must be newer than ${present}; got ${version}`)
  }
  if (git(ROOT, 'tag', '--list', `v${version}`) !== '') {
    throw new StepFailed(`release: there is a tag v${version} already`)
  }
  if (changes(readFileSync(join(ROOT, 'CHANGELOG.md'), 'utf8')).trim() === '') {
    const problem = 'CHANGELOG.md says nothing under [Unreleased]'
    if (!dry) throw new StepFailed(`release: ${problem}`)
    say(`would fail: ${problem}`)
  }
}

const UNRELEASED = /^## \[Unreleased\]\n([^]*?)(?=^## \[|(?![^]))/m

const changes = (changelog) => UNRELEASED.exec(changelog)?.[1] ?? ''

function edit(directory, file, change) {
  const path = join(directory, file)
  writeFileSync(path, change(readFileSync(path, 'utf8')))
}

function writeVersion(directory, version) {
  const replace = (text) => text.replace(/^( *"version": ")[^"]*(",)$/m, `$1${version}$2`)
  edit(directory, 'package.json', replace)
  edit(directory, 'package-lock.json', (text) => {
    const lock = JSON.parse(text)
    lock.version = version
    lock.packages[''].version = version
    return `${JSON.stringify(lock, null, 2)}\n`
  })
  const date = new Date().toISOString().slice(0, 10)
  edit(directory, 'CHANGELOG.md', (text) =>
    text.replace('## [Unreleased]\n', `## [Unreleased]\n\n## [${version}] - ${date}\n`))
}

async function release(directory, version, proofs) {
  writeVersion(directory, version)
  for (const [name, command, args] of proofs) await step(name, command, args)
  git(directory, 'commit', '--quiet', '--all', '--message', `Release ${version}`)
  git(directory, 'tag', '--annotate', `v${version}`, '--message', `Release ${version}`)
}

async function rehearse(version) {
  const room = mkdtempSync(join(tmpdir(), 'marketplace-release-'))
  try {
    const clone = join(room, 'clone')
    git(ROOT, 'clone', '--quiet', ROOT, clone)
    for (const key of ['user.name', 'user.email']) git(clone, 'config', key, `release-${key}@localhost`)
    await release(clone, version, [])
    say(git(clone, 'show', '--stat', '--format=%s', `v${version}^{commit}`))
    for (const [name] of PROOFS) say(`not run: ${name}`)
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
  say('a dry run: nothing was changed')
}

await main(async () => {
  const args = process.argv.slice(2)
  const dry = args.includes('--dry-run')
  const [version, ...more] = args.filter((arg) => arg !== '--dry-run')
  if (version === undefined || more.length > 0 || parts(version) === undefined) {
    throw new StepFailed('release: usage: npm run release -- MAJOR.MINOR.PATCH [--dry-run]')
  }
  check(version, dry)
  if (dry) return rehearse(version)
  if (git(ROOT, 'status', '--porcelain') !== '') throw new StepFailed('release: the tree has changes')
  await release(ROOT, version, PROOFS)
  say(`tagged v${version}. Now: git push --follow-tags && npm publish`)
})
