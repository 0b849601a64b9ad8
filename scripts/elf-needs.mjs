/** What a shared object needs to be loaded, as `objdump` (of binutils) tells it. */
import { spawnSync } from 'node:child_process'
import { ROOT, StepFailed } from './steps.mjs'

function objdump(flag, path) {
  const options = { cwd: ROOT, encoding: 'utf8' }
  const { status, stdout, stderr, error } = spawnSync('objdump', [flag, path], options)
  if (status !== 0) throw new StepFailed(`objdump ${flag} ${path}: ${error?.message ?? stderr.trim()}`)
  return stdout
}

export const canTell = () => spawnSync('objdump', ['--version']).status === 0

/** Whether version `a` is newer than `b`; undefined is older than all. */
export function newer(a, b) {
  if (a === undefined) return false
  const [major, minor] = a.split('.').map(Number)
  const [otherMajor, otherMinor] = b.split('.').map(Number)
  return major > otherMajor || (major === otherMajor && minor > otherMinor)
}

/** The libraries that are needed, and the newest version of glibc's symbols (undefined: of none). */
export function needsOf(path) {
  const libraries = [...objdump('-p', path).matchAll(/^ +NEEDED +(\S+)/gm)].map(([, name]) => name)
  const versions = [...objdump('-T', path).matchAll(/GLIBC_(\d+\.\d+)/g)].map(([, version]) => version)
  const later = (most, version) => (newer(most ?? '0.0', version) ? most : version)
  const glibc = versions.reduce(later, undefined)
  return { libraries, glibc }
}
