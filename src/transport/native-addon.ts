/**
 * Loads the addon; no other file does.
 *
 * Invariants: it is looked for once per thread; what is missing becomes one line, never an exception.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Addon } from './native-link.js'

type Loaded = { readonly ok: true, readonly addon: Addon } | { readonly ok: false, readonly reason: string }

let loaded: Loaded | undefined

/** The directory of package.json: this file is run from src/transport or from dist/src/transport. */
function packageRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url))
  while (!existsSync(join(directory, 'package.json')) && dirname(directory) !== directory) {
    directory = dirname(directory)
  }
  return directory
}

function load(): Loaded {
  const { platform, arch } = process
  if (platform !== 'linux') {
    return { ok: false, reason: `the engine is for Linux; this is ${platform}-${arch}` }
  }
  const path = join(packageRoot(), 'build', 'Release', 'marketplace.node')
  if (!existsSync(path)) return { ok: false, reason: `the addon is not built: there is no ${path}` }
  try {
    return { ok: true, addon: createRequire(import.meta.url)(path) as Addon }
  } catch (error) {
    const [line] = (error instanceof Error ? error.message : String(error)).split('\n', 1)
    return {
      ok: false,
      reason: `the addon does not fit this system (${platform}-${arch}, Node ${process.versions.node}, `
        + `Node-API ${process.versions.napi}): ${line}`,
    }
  }
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

/** The addon, for the engine's other parts; undefined where `loadNative` says no. */
export function nativeAddon(): object | undefined {
  const result = addonOrReason()
  return result.ok ? result.addon : undefined
}
