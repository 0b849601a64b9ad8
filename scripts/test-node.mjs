/**
 * `npm run test:node -- PATH`: runs the tests of a Node source tree (nothing of it is in this repository)
 * that use `net`, on node:net and on `marketplace-native/net` in its place, with both backends, and compares:
 * a test that passes on node:net passes on ours, or is in node-tests/expected.json with its reason.
 *
 * PATH is a checkout of Node, or what has its folder `test` (such as the repository denoland/node_test).
 * Owns the order of things; a test that fails runs once more, alone, as the machine may have been busy.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { build } from './build.mjs'
import { fetchNode } from './fetch-node.mjs'
import { install } from './install.mjs'
import { compare, expectedDifferences } from './node-tests/differences.mjs'
import { VARIANTS, runOne } from './node-tests/run-one.mjs'
import { ROOT, StepFailed, main, say, seconds } from './steps.mjs'

const USAGE = `npm run test:node -- PATH [options] [NAME...]
  PATH            a Node source tree, or what has its folder test
  NAME            only tests whose path contains one of these
  --on VARIANT    only node:net, epoll or io_uring; may be given several times
  --node PROGRAM  the Node to run them; without it, this one if its version is the tree's, or one from npm
  --jobs N        tests at a time (default: 2 for each CPU)
  --timeout S     seconds for a test (default: 60)
  --verbose       the output of what failed unexpectedly
  --write FILE    all results as JSON`

/** The folders that hold tests of behaviour. Of these, the latter run one at a time. */
const FOLDERS = ['parallel', 'async-hooks', 'es-module', 'report']
const ALONE = ['sequential', 'pummel']
const USES_NET = /(?:require\(|from |import\()\s*['"](?:node:)?net['"]/
/** Has what both Node's repository and denoland/node_test say of the version of the tests. */
const VERSION_FILES = { 'node_version.ts': /"(\d+\.\d+\.\d+)"/, 'src/node_version.h': undefined }

function versionOfTree(tree) {
  const [small, header] = Object.keys(VERSION_FILES).map((file) => join(tree, file))
  if (existsSync(small)) return VERSION_FILES['node_version.ts'].exec(readFileSync(small, 'utf8'))?.[1]
  if (!existsSync(header)) return undefined
  const text = readFileSync(header, 'utf8')
  const numbers = ['MAJOR', 'MINOR', 'PATCH']
    .map((part) => new RegExp(`NODE_${part}_VERSION (\\d+)`).exec(text)?.[1])
  return numbers.includes(undefined) ? undefined : numbers.join('.')
}

function programFor(tree, given) {
  if (given !== undefined) return resolve(given)
  const version = versionOfTree(tree)
  if (version === undefined) {
    throw new StepFailed(`test:node: can't tell which Node ${tree} is of; use --node`)
  }
  if (version.split('.')[0] === process.versions.node.split('.')[0]) return process.execPath
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new StepFailed(`test:node: these are tests of Node ${version}; run this with it, or use --node`)
  }
  return fetchNode(version)
}

/** Names such as `parallel/test-net-connect-buffer`, with their files. */
function testsOf(tree, folders, filters) {
  const tests = new Map()
  for (const folder of folders) {
    const directory = join(tree, 'test', folder)
    if (!existsSync(directory)) continue
    for (const file of readdirSync(directory).sort()) {
      const path = join(directory, file)
      if (!/^test-.*\.(js|mjs|cjs)$/.test(file) || !USES_NET.test(readFileSync(path, 'utf8'))) continue
      const name = `${folder}/${file.replace(/\.\w+$/, '')}`
      if (filters.length === 0 || filters.some((filter) => name.includes(filter))) tests.set(name, path)
    }
  }
  return tests
}

/** Runs them, and those that failed once more, one at a time. Results: Map of name to what `runOne` says. */
async function runTests(tests, { jobs, common, firstSlot = 0 }) {
  const results = new Map()
  const waiting = [...tests]
  await Promise.all(Array.from({ length: jobs }, async (_, job) => {
    for (let next = waiting.shift(); next !== undefined; next = waiting.shift()) {
      const [name, file] = next
      results.set(name, await runOne({ ...common, file, slot: firstSlot + job, parallel: jobs > 1 }))
    }
  }))
  return results
}

async function runVariant(variant, { tree, names, node, jobs, patience, temporary, expected }) {
  const start = performance.now()
  const common = { variant, node, patience, temporary, cwd: tree }
  const results = await runTests(testsOf(tree, FOLDERS, names), { jobs, common })
  const alone = await runTests(testsOf(tree, ALONE, names), { jobs: 1, common })
  for (const [name, result] of alone) results.set(name, result)
  const bad = [...results].filter(([name, { outcome }]) => (
    (outcome === 'failed' || outcome === 'timeout') && !expected.has(name)
  ))
  const all = testsOf(tree, [...FOLDERS, ...ALONE], names)
  const failed = bad.map(([name]) => [name, all.get(name)])
  const again = await runTests(failed, { jobs: 1, common, firstSlot: jobs })
  for (const [name, result] of again) results.set(name, result)
  const count = (wanted) => [...results.values()].filter(({ outcome }) => outcome === wanted).length
  const parts = ['passed', 'skipped', 'failed', 'timeout'].map((outcome) => `${count(outcome)} ${outcome}`)
  say(`${variant}: ${parts.join(', ')} in ${seconds(start)}`)
  return results
}

function sayFailures(comparison, results, verbose) {
  for (const { variant, passed, expected, unexpected, refuted } of comparison.backends) {
    const parts = [`${passed.length} of ${comparison.onNode.length} that pass on node:net pass`]
    if (expected.length > 0) parts.push(`${expected.length} differ as expected`)
    say(`${variant}: ${parts.join(', ')}`)
    for (const name of unexpected) {
      say(`  not ok - ${name}: ${results.get(variant).get(name).outcome}`)
      if (verbose) say(results.get(variant).get(name).output.replace(/^/gm, '    '))
    }
    for (const name of refuted) say(`  not ok - ${name}: passes, though expected.json says it doesn't`)
  }
}

function toJson(results) {
  return [...results].map(([variant, tests]) => ({
    variant, tests: [...tests].map(([name, result]) => ({ name, ...result })),
  }))
}

await main(async () => {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      on: { type: 'string', multiple: true }, node: { type: 'string' }, jobs: { type: 'string' },
      timeout: { type: 'string' }, verbose: { type: 'boolean' }, write: { type: 'string' },
      help: { type: 'boolean' },
    },
  })
  const [path, ...names] = positionals
  if (values.help || path === undefined) {
    say(USAGE)
    if (!values.help) throw new StepFailed('test:node: PATH is missing')
    return
  }
  const tree = resolve(path)
  if (!existsSync(join(tree, 'test/parallel'))) throw new StepFailed(`test:node: no test/parallel in ${tree}`)
  const variants = values.on ?? Object.keys(VARIANTS)
  const unknown = variants.find((variant) => !Object.hasOwn(VARIANTS, variant))
  if (unknown !== undefined) throw new StepFailed(`test:node: no variant '${unknown}'\n${USAGE}`)
  await install()
  await build()
  const node = programFor(tree, values.node)
  mkdirSync(join(ROOT, 'build'), { recursive: true })
  const temporary = mkdtempSync(join(tmpdir(), 'test-node-'))
  const how = {
    tree, names, node, temporary,
    jobs: Number(values.jobs ?? 2 * availableParallelism()),
    patience: Number(values.timeout ?? 60),
    // These needn't run twice.
    expected: new Set(expectedDifferences().flatMap(({ tests }) => tests)),
  }
  const results = new Map()
  try {
    for (const variant of variants) {
      results.set(variant, await runVariant(variant, how))
      if (values.write !== undefined) writeFileSync(values.write, JSON.stringify(toJson(results), null, 1))
    }
  } finally {
    rmSync(temporary, { recursive: true, force: true })
  }
  if (!results.has('node:net')) return
  const comparison = compare(results)
  sayFailures(comparison, results, values.verbose)
  const wrong = comparison.backends.some(({ unexpected, refuted }) => unexpected.length + refuted.length > 0)
  if (wrong || comparison.onNode.length === 0) throw new StepFailed('test:node: failed')
})
