/**
 * Programs that aren't part of this package: other runtimes. Those on npm are fetched when they are
 * first needed, at a pinned version, into bench/.peers, and stay there; the others must be installed.
 * What can't be had comes with a reason, and its arms are skipped.
 */
import { execFile, execFileSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { benchPeers } from './paths.js'

/** A runtime on npm. Its package has the program in another one, of the same scope, by platform. */
export interface PeerPackage {
  readonly name: string
  readonly version: string
  /** The scope of the packages with the program. */
  readonly scope: string
  /** Where it is in them. */
  readonly program: string
}

export const bun: PeerPackage = {
  name: 'bun',
  version: '1.4.5',
  scope: '@oven',
  program: 'bin/bun',
}

export const deno: PeerPackage = {
  name: 'deno',
  version: '2.9.6',
  scope: '@deno',
  program: 'deno',
}

/** The program, and which it is if it doesn't say so itself; or why there is none. */
export type Found = { readonly program: string, readonly version?: string } | { readonly reason: string }

const INSTALL_TIMEOUT_MS = 180_000

function installedVersion(folder: string, { name }: PeerPackage): string | undefined {
  try {
    const text = readFileSync(join(folder, 'node_modules', name, 'package.json'), 'utf8')
    return (JSON.parse(text) as { version: string }).version
  } catch {
    return undefined
  }
}

/** The one of the platforms' programs that runs here. */
function programIn(folder: string, { scope, program }: PeerPackage): string | undefined {
  const packages = join(folder, 'node_modules', scope)
  if (!existsSync(packages)) return undefined
  return readdirSync(packages)
    .map((name) => join(packages, name, program))
    .find((path) => {
      try {
        execFileSync(path, ['--version'], { stdio: 'ignore', timeout: 20_000 })
        return true
      } catch {
        return false
      }
    })
}

/** npm's own last words, without its log's path. */
function whyNot(error: unknown): string {
  const { stderr = '', message } = error as Error & { stderr?: string }
  const line = stderr.split('\n').find((text) => /^npm (error|ERR!)/.test(text))
  return line?.replace(/^npm (error|ERR!) /, '') ?? message.split('\n')[0]
}

async function fetchPackage(peer: PeerPackage): Promise<Found> {
  const { name, version } = peer
  const folder = join(benchPeers, name)
  if (installedVersion(folder, peer) !== version) {
    mkdirSync(folder, { recursive: true })
    process.stderr.write(`bench: fetching ${name} ${version} from npm\n`)
    // No install scripts: the program comes in a package of its own, so there is nothing to run.
    const args = ['install', '--prefix', folder, '--no-save', '--no-audit', '--no-fund',
      '--ignore-scripts', `${name}@${version}`]
    try {
      await promisify(execFile)('npm', args, { timeout: INSTALL_TIMEOUT_MS, cwd: folder })
    } catch (error) {
      return { reason: `npm can't install ${name} ${version}: ${whyNot(error)}` }
    }
  }
  const program = programIn(folder, peer)
  if (program !== undefined) return { program }
  return { reason: `${name} ${version} has no program that runs on this machine` }
}

const fetched = new Map<string, Promise<Found>>()

/** Fetches it if it isn't there. */
export function packageProgram(peer: PeerPackage): Promise<Found> {
  let found = fetched.get(peer.name)
  if (found === undefined) {
    found = fetchPackage(peer)
    fetched.set(peer.name, found)
  }
  return found
}

/** A program that the machine has, in one of the folders of `path`. */
export function installedProgram(name: string, hint: string, path = process.env.PATH ?? ''): Found {
  for (const folder of path.split(delimiter)) {
    const program = join(folder, name)
    try {
      accessSync(program, constants.X_OK)
      return { program }
    } catch {
      // not in this folder
    }
  }
  return { reason: `${name} is not installed (${hint})` }
}
