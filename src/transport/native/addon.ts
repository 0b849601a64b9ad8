/**
 * Loads the addon; no other file does. Owns the order in which it is looked for: the prebuilt binary of the
 * package, then one built here; `MARKETPLACE_NATIVE=off|require|/path/to.node` overrides.
 *
 * Invariants: it is looked for once per thread; what is missing becomes one line that says what was needed
 * and what is here, and is an exception only where the addon was required.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { isAbsolute, join } from 'node:path'
import { PACKAGE_ROOT } from '../../support/package-root.js'
import { loadProblem, nodeApiProblem, platformName, PREBUILT } from './binary.js'
import type { Addon } from './link.js'

type Found = { readonly ok: true, readonly addon: Addon } | { readonly ok: false, readonly reason: string }

type Loaded = Found & {
  /** Which file it is; undefined without one. */
  readonly path?: string
  /** Whether going on without it is what was asked for, with MARKETPLACE_NATIVE=off. */
  readonly off?: boolean
  /** Whether going on without it is out of question. */
  readonly required?: boolean
}

let loaded: Loaded | undefined

function fits(addon: Partial<Addon> | undefined): addon is Addon {
  return typeof addon?.create === 'function' && typeof addon.bind === 'function'
}

/** Loads one file. */
function loadFile(path: string): Loaded {
  const version = nodeApiProblem()
  if (version !== undefined) return { ok: false, reason: version }
  try {
    const addon = createRequire(import.meta.url)(path) as Partial<Addon> | undefined
    if (fits(addon)) return { ok: true, addon, path }
    return { ok: false, reason: 'it is no build of this version of marketplace-native' }
  } catch (error) {
    return { ok: false, reason: loadProblem(path, error) }
  }
}

/**
 * Where node-gyp is run. In the package it isn't the root: npm would take a binding.gyp there for a wish to
 * build on install, and warn about it.
 */
function projectIn(root: string): string {
  return existsSync(join(root, 'binding.gyp')) ? root : join(root, 'native')
}

/** The prebuilt binary, then the one that was built here. */
function find(): Loaded {
  const { platform, arch } = process
  if (platform !== 'linux') {
    return { ok: false, reason: `the engine is for Linux; this is ${platform}-${arch}` }
  }
  if (PACKAGE_ROOT === undefined) {
    const reason = "the package's files are not where its code is (is it part of a bundle?); "
      + 'set MARKETPLACE_NATIVE to the path of its marketplace.node'
    return { ok: false, reason }
  }
  const reasons: string[] = []
  const name = platformName()
  const project = projectIn(PACKAGE_ROOT)
  const places = [
    ['the prebuilt binary', join(PACKAGE_ROOT, 'prebuilds', name, 'marketplace.node')],
    ['the addon built here', join(project, 'build', 'Release', 'marketplace.node')],
  ] as const
  for (const [what, path] of places) {
    if (!existsSync(path)) continue
    const result = loadFile(path)
    if (result.ok) return result
    reasons.push(`${what} can't be used: ${result.reason} (${path})`)
  }
  if (reasons.length > 0) return { ok: false, reason: reasons.join('; ') }
  const known = (PREBUILT as readonly string[]).includes(name)
  const missing = known
    ? `the binary for ${name} is missing in ${PACKAGE_ROOT}`
    : `there is no prebuilt binary for ${name}, only for ${PREBUILT.join(', ')}`
  return { ok: false, reason: `${missing}; to build it here: cd ${project} && npx node-gyp rebuild` }
}

/** Bun and Deno load addons, but have no libuv loop for them: at its first use they end the process. */
function otherRuntime(): string | undefined {
  return ['bun', 'deno'].find((name) => name in process.versions)
}

function load(): Loaded {
  const wanted = process.env['MARKETPLACE_NATIVE'] ?? ''
  if (wanted === 'off') return { ok: false, off: true, reason: 'MARKETPLACE_NATIVE=off' }
  const other = otherRuntime()
  if (other !== undefined) {
    return { ok: false, required: wanted !== '', reason: `the addon is for Node; this is ${other}` }
  }
  if (wanted === '') return find()
  if (wanted === 'require') return { ...find(), required: true }
  if (!isAbsolute(wanted)) {
    const reason = "MARKETPLACE_NATIVE must be 'off', 'require' or the absolute path of an addon; "
      + `got '${wanted}'`
    return { ok: false, required: true, reason }
  }
  const result = loadFile(wanted)
  if (result.ok) return { ...result, required: true }
  return { ok: false, required: true, reason: `MARKETPLACE_NATIVE=${wanted} can't be used: ${result.reason}` }
}

/** Loads the addon, once. Never throws; the reason is one line. */
export function addonOrReason(): Loaded {
  try {
    loaded ??= load()
  } catch (error) {
    loaded = { ok: false, reason: `the addon cannot be looked for: ${String(error).split('\n', 1)[0]}` }
  }
  return loaded
}

/** Whether the addon can be used; loads it, once. Never throws; the reason is one line. */
export function loadNative(): { ok: true } | { ok: false, reason: string } {
  const result = addonOrReason()
  return result.ok ? { ok: true } : { ok: false, reason: result.reason }
}

let warned = false

/**
 * For those that go on without the addon: says why, in one warning per thread, whoever comes first; says
 * nothing where that was asked for with MARKETPLACE_NATIVE=off. Throws if the addon is required.
 *
 * @param instead what is used, such as 'node:net'
 */
export function goOnWithout(instead: string): void {
  const result = addonOrReason()
  const why = (result.ok ? '' : result.reason).replace(/\s*\n\s*/g, '; ')
  if (result.required === true) throw new Error(`the native transport can't be loaded: ${why}`)
  if (result.off === true || warned) return
  warned = true
  process.emitWarning(`native transport not available, using ${instead}: ${why}`, 'MarketplaceWarning')
}
