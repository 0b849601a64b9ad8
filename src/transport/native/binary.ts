/**
 * Which binary of the addon fits this process, and why one doesn't. Owns the names of the prebuilt binaries
 * and the words of every failure to load one: what was needed, and what is here.
 *
 * No program is started for this: what C library a process runs on stands in its own executable.
 */
import { closeSync, openSync, readSync } from 'node:fs'

/** The Node-API version the addon is built for; Node has it from 20.3 on. */
export const NODE_API = 9

/** The prebuilt binaries that come with the package: `prebuilds/NAME/marketplace.node`. */
export const PREBUILT = ['linux-x64-glibc', 'linux-arm64-glibc', 'linux-x64-musl'] as const

const MACHINES: Readonly<Record<number, string>> = {
  3: 'ia32', 40: 'arm', 62: 'x64', 183: 'arm64', 243: 'riscv64',
}
const INTERPRETER = 3
const HEADER = 64

function bytesOf(path: string, length: number): Buffer {
  const file = openSync(path, 'r')
  try {
    const bytes = Buffer.alloc(length)
    return bytes.subarray(0, readSync(file, bytes, 0, length, 0))
  } finally {
    closeSync(file)
  }
}

/** What an ELF file is for: 'x64', 'arm64', ...; undefined if it isn't one. */
function machineOf(path: string): string | undefined {
  const header = bytesOf(path, HEADER)
  if (header.length < HEADER || header.readUInt32BE(0) !== 0x7f454c46) return undefined
  const machine = header.readUInt16LE(18)
  return MACHINES[machine] ?? `machine ${machine}`
}

/** The dynamic linker that an executable names; undefined if it names none. */
export function interpreterOf(path: string): string | undefined {
  // The program headers follow the header, and the name follows them.
  const bytes = bytesOf(path, 8192)
  if (bytes.length < HEADER || bytes.readUInt32BE(0) !== 0x7f454c46) return undefined
  const start = Number(bytes.readBigUInt64LE(32))
  const size = bytes.readUInt16LE(54)
  const count = bytes.readUInt16LE(56)
  for (let at = start, n = 0; n < count && at + 40 <= bytes.length; at += size, n++) {
    if (bytes.readUInt32LE(at) !== INTERPRETER) continue
    const from = Number(bytes.readBigUInt64LE(at + 8))
    return bytes.toString('latin1', from, from + Number(bytes.readBigUInt64LE(at + 32)) - 1)
  }
  return undefined
}

/** 'glibc' or 'musl'; glibc where it can't be seen, as that is by far the most common. */
export function libc(executable = '/proc/self/exe'): 'glibc' | 'musl' {
  try {
    return interpreterOf(executable)?.includes('ld-musl') === true ? 'musl' : 'glibc'
  } catch {
    return 'glibc'
  }
}

/** The name that a prebuilt binary for this process has; there needn't be one. */
export function platformName(): string {
  return `${process.platform}-${process.arch}-${libc()}`
}

/** The version of the glibc that runs; for messages only, as it takes milliseconds to find out. */
function glibcVersion(): string {
  try {
    const report = process.report as { excludeNetwork?: boolean, getReport: () => object }
    // Else the names of all the machine's addresses are asked for.
    const before = report.excludeNetwork
    report.excludeNetwork = true
    const { header } = report.getReport() as { header?: { glibcVersionRuntime?: string } }
    report.excludeNetwork = before ?? false
    return header?.glibcVersionRuntime ?? 'none'
  } catch {
    return 'unknown'
  }
}

function machineProblem(path: string): string | undefined {
  try {
    const machine = machineOf(path)
    if (machine === undefined) return 'it is not an ELF file, as addons for Linux are'
    if (machine !== process.arch) return `it is for ${machine}; this process is ${process.arch}`
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'there is no such file' : String(error)
  }
  return undefined
}

/** Versions of a library as `GLIBC_2.28`, the highest last. */
function highest(versions: readonly string[]): string | undefined {
  const number = (version: string): number => {
    const [major = 0, minor = 0, patch = 0] = version.split('.').map(Number)
    return (major * 1000 + minor) * 1000 + patch
  }
  return [...versions].sort((a, b) => number(a) - number(b)).at(-1)
}

/** Why a binary could not be loaded, in one line: what it needs, and what is here. */
export function loadProblem(path: string, error: unknown): string {
  const machine = machineProblem(path)
  if (machine !== undefined) return machine
  const text = error instanceof Error ? error.message : String(error)
  const glibc = highest([...text.matchAll(/`GLIBC_([\d.]+)' not found/g)].map(([, found = '']) => found))
  if (glibc !== undefined) return `it needs glibc ${glibc} or newer; here is glibc ${glibcVersion()}`
  const cxx = /`((?:GLIBCXX|CXXABI)_[\d.]+)' not found/.exec(text)?.[1]
  if (cxx !== undefined) return `it needs a libstdc++ with ${cxx}; the one here is older`
  const here = libc()
  if (here === 'glibc' && /\blibc\.(musl-\w+\.)?so(\.1)?: /.test(text)) {
    return `it is for musl; this process runs on glibc ${glibcVersion()}`
  }
  if (here === 'musl' && /ld-linux|libc\.so\.6|GLIBC_|_chk: symbol not found/.test(text)) {
    return 'it is for glibc; this process runs on musl'
  }
  return text.split('\n', 1)[0] ?? ''
}

/** Whether this process lacks the Node-API version that every binary needs; undefined if it doesn't. */
export function nodeApiProblem(version: string | undefined = process.versions.napi): string | undefined {
  if (version !== undefined && Number(version) >= NODE_API) return undefined
  return `it needs Node-API ${NODE_API} (Node 20.3 or newer); `
    + `this is Node ${process.versions.node} with Node-API ${version ?? 'unknown'}`
}
