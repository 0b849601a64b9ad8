/** What must hold of the package: how it is loaded, what it says, and its budgets. */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT, StepFailed, filesBelow, say } from '../steps.mjs'
import { NODE_GYP, nodeDirectory } from '../build.mjs'
import { TARGETS } from '../prebuild.mjs'
import { run, serve } from './tarball.mjs'

/** What a binary takes that isn't packed here: `-- quick` has only the one that was built. */
const BINARY = 335_000
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')
/** Nodes that load the ESM build, whether it is imported or required. */
const requiresEsm = ([major, minor]) =>
  major > 22 || (major === 22 && minor >= 12) || (major === 20 && minor >= 19)

/**
 * The budgets stand in the docs, once. That of the import is in times of node:net's, a fifth of which is Node's loader:
 * it is to notice a part that is loaded without need, and those come by leaps.
 */
function budget(row) {
  const line = readFileSync(join(ROOT, 'docs/dependencies.md'), 'utf8')
    .split('\n').find((text) => text.startsWith(`| ${row} |`))
  const number = Number(line?.split('|')[2].match(/[\d,]+/)?.[0].replaceAll(',', ''))
  if (!(number > 0)) throw new StepFailed(`package: docs/dependencies.md has no budget for '${row}'`)
  return number
}

export function expect(what, condition, detail) {
  if (condition) return
  throw new StepFailed(`package: ${what}: no${detail === undefined ? '' : `\n${detail}`}`)
}

export const versionOf = (node) => run(node, ['--version']).trim().slice(1).split('.').map(Number)

/** ESM, CommonJS and the command line, each with a real client. */
export async function checkForms(project, { transport = 'native' } = {}) {
  const one = requiresEsm(versionOf(project.node))
  for (const program of ['esm.mjs', 'cjs.cjs']) {
    const said = await serve(project, [program])
    const found = `${said.transport}\n${said.errors}`
    expect(`${program}: runs on ${transport}`, said.transport === transport, found)
    expect(`${program}: one instance`, said.same === String(one), said.errors)
    const blamed = program !== 'esm.mjs' || said.blamed === 'true'
    expect('a mistake is shown where it is', blamed, said.errors)
    const silent = one ? said.errors === '' : /loaded twice, by import and by require/.test(said.errors)
    expect(`${program}: says what it must`, silent || transport !== 'native', said.errors)
  }
  const cli = join('node_modules/marketplace-native/dist/lib/cli.js')
  await serve(project, [cli, 'echo', '--port', '0'])
  say(`esm, commonjs, command line: on ${transport}${one ? '' : ', loaded twice and said so'}`)
}

/** Strict TypeScript, resolved as Node does and as bundlers do. */
export async function checkTypes(project) {
  const common = {
    strict: true, target: 'es2023', lib: ['es2023'], skipLibCheck: false,
    typeRoots: [join(ROOT, 'node_modules/@types')], exactOptionalPropertyTypes: true,
  }
  const kinds = [
    ['nodenext', { module: 'nodenext', moduleResolution: 'nodenext', outDir: 'out-nodenext' }, 'commonjs'],
    ['nodenext', { module: 'nodenext', moduleResolution: 'nodenext', outDir: 'out-esm' }, 'module'],
    ['bundler', { module: 'esnext', moduleResolution: 'bundler', outDir: 'out-bundler' }, 'module'],
  ]
  for (const [name, options, type] of kinds) {
    const manifest = JSON.stringify({ name: 'empty', private: true, type })
    writeFileSync(join(project.directory, 'package.json'), manifest)
    const config = { compilerOptions: { ...common, ...options }, files: ['typed.ts'] }
    writeFileSync(join(project.directory, 'tsconfig.json'), JSON.stringify(config))
    run(process.execPath, [TSC, '-p', '.'], { cwd: project.directory })
    const said = await serve(project, [`${options.outDir}/typed.js`])
    expect(`typescript, ${name}, ${type}`, said.typed === 'true' && said.transport === 'native', said.errors)
  }
  say('typescript: strict, with nodenext (both kinds of module) and bundler')
}

/** `MARKETPLACE_NATIVE`, and what is said where there is no binary. */
export async function checkLoader(project) {
  const off = await serve(project, ['esm.mjs'], { MARKETPLACE_NATIVE: 'off' })
  const quiet = off.transport === 'node' && !/not available/.test(off.errors)
  expect('off: node:net without a warning', quiet, off.errors)
  const refused = async (wanted, pattern) => {
    const more = { MARKETPLACE_NATIVE: wanted }
    const error = await serve(project, ['esm.mjs'], more).catch(({ message }) => message)
    const right = typeof error === 'string' && pattern.test(error)
    expect(`MARKETPLACE_NATIVE=${wanted}: refused`, right, String(error))
  }
  await refused('/nowhere/marketplace.node', /can't be used: there is no such file/)
  await refused('perhaps', /must be 'off', 'require' or the absolute path of an addon; got 'perhaps'/)
  await refused(join(project.directory, 'package.json'), /it is no build of this version/)
  say('loader: off, and three ways of naming the wrong thing')
}

/** Where there is no binary, the sources that are packed can be built: as the warning says. */
export async function checkBuild({ directory, env, node }) {
  const root = join(directory, 'node_modules/marketplace-native')
  rmSync(join(root, 'prebuilds'), { recursive: true })
  const { errors, transport } = await serve({ directory, env, node }, ['esm.mjs'])
  const said = /is missing in (.*); to build it here: cd \1\/native && npx node-gyp rebuild/.test(errors)
  expect('without a binary: says how to build it', transport === 'node' && said, errors)
  run(process.execPath, [NODE_GYP, 'rebuild', ...nodeDirectory()], { cwd: join(root, 'native') })
  const built = await serve({ directory, env, node }, ['esm.mjs'])
  expect('without a binary: built, it is used', built.transport === 'native', built.errors)
  say('sources: built where there is no binary, as the warning says')
}

export function checkBudgets(about, directory) {
  const root = join(directory, 'node_modules/marketplace-native')
  const packed = filesBelow(relative(ROOT, root))
  const missing = Object.keys(TARGETS).length - packed.filter((file) => file.endsWith('.node')).length
  const unpacked = about.unpackedSize + missing * BINARY
  const most = 1000 * budget('unpacked, with three binaries')
  expect(`unpacked ${unpacked} bytes <= ${most}`, unpacked <= most)
  const { scripts, gypfile } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  expect('no binding.gyp at its root', !existsSync(join(root, 'binding.gyp')))
  const onInstall = ['preinstall', 'install', 'postinstall', 'prepare'].filter((name) => scripts[name])
  expect('no install script', onInstall.length === 0 && gypfile === false, onInstall.join())
  const evil = packed.filter((file) => /\.[cm]?js$/.test(file)
    && /\beval\(|new Function\(|node:vm/.test(readFileSync(join(ROOT, file), 'utf8')))
  expect('no eval', evil.length === 0, evil.join())
  const kb = (bytes) => `${(bytes / 1000).toFixed(0)} kB`
  const others = missing > 0 ? ` with ${missing} more binaries` : ''
  say(`size: ${kb(about.size)} packed, ${kb(unpacked)} unpacked${others}, `
    + `${about.entryCount} files; no install script, no eval`)
}

const TIMED = `
const start = process.cpuUsage()
await import(process.argv[1])
const { user, system } = process.cpuUsage(start)
console.log((user + system) / 1000)
`

/**
 * Milliseconds of CPU to import the main module and node:net; the least of several runs, as others run, too. Not the
 * time that passes: of that a busy machine gives the short one its whole share at once, and the long one not.
 */
export function checkImport({ directory, env, node }) {
  const took = (name) =>
    Number(run(node, ['--input-type=module', '-e', TIMED, name], { cwd: directory, env }))
  const least = { 'marketplace-native': Infinity, 'node:net': Infinity }
  // By turns: what slows the machine down for a while slows down both.
  for (let i = 0; i < 15; i++) {
    for (const name of Object.keys(least)) least[name] = Math.min(least[name], took(name))
  }
  const { 'marketplace-native': main, 'node:net': net } = least
  say(`import: ${main.toFixed(1)} ms of CPU, ${(main / net).toFixed(1)} times node:net (${net.toFixed(1)} ms)`)
  const most = budget('import of the main module, CPU')
  expect(`import within ${most} times node:net's`, main <= most * net)
}
