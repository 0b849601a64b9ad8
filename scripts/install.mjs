/** `npm ci`, unless what is installed is what the lockfile says. */
import { existsSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT, step } from './steps.mjs'

function packagesOf(lockfile) {
  try {
    return JSON.parse(readFileSync(join(ROOT, lockfile), 'utf8')).packages
  } catch {
    return undefined
  }
}

/** Compares contents, not times: a checkout may touch the lockfile without changing it. */
export function isInstalled() {
  const wanted = packagesOf('package-lock.json')
  const installed = packagesOf('node_modules/.package-lock.json')
  if (wanted === undefined || installed === undefined) return false
  return Object.entries(wanted).every(([path, { version, integrity, optional }]) => {
    if (path === '') return true
    const found = installed[path]
    // Packages for other platforms are never installed.
    if (found === undefined) return optional === true
    return found.version === version && found.integrity === integrity
  })
}

/** Seconds on two cores, with what npm has kept from an earlier install; a machine's first takes longer. */
const USUALLY = 25

/** The node-gyp that comes with the npm which started us; undefined if there is none. */
export function npmsNodeGyp() {
  const npm = process.env.npm_execpath
  if (!npm?.endsWith('.js')) return undefined
  const path = join(dirname(dirname(npm)), 'node_modules/node-gyp/bin/node-gyp.js')
  return existsSync(path) ? path : undefined
}

export async function install() {
  if (isInstalled()) return
  // By way of npm's own entry point where npm started us: `npm` is a shell script on Windows.
  const npm = process.env.npm_execpath
  const args = ['ci', '--include=dev', '--no-audit', '--no-fund']
  if (npm?.endsWith('.js')) await step('install', process.execPath, [npm, ...args], { usually: USUALLY })
  else await step('install', 'npm', args, { usually: USUALLY })
}
