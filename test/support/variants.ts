/** The transports that everything is tested on. Knows nothing of the test runner, which opens many files. */
import { basename } from 'node:path'
import { quick } from './quick.js'
import { loadNative, nativeTransport } from '../../src/transport/native/transport.js'
import { nodeTransport } from '../../src/transport/node/transport.js'
import type { Transport, TransportBackend, TransportOptions } from '../../src/transport/seam/transport.js'

/** A transport that suites are run on: each of the native engine's backends, and `node:net`. */
export interface Variant {
  readonly name: string
  /** Why it can't run on this machine. */
  readonly skip: string | false
  readonly make: (options?: TransportOptions) => Transport
}

const EVERY: readonly Variant[] = [
  nativeVariant('epoll'),
  nativeVariant('io_uring'),
  { name: 'node', skip: false, make: nodeTransport },
]

/**
 * Every transport; one that is missing here says why. In `npm test` each file is on one of the native backends, by
 * turns, and one file in three on `node:net` as well.
 */
export const VARIANTS = EVERY.map((variant): Variant => ({
  ...variant,
  skip: variant.skip === false && isLeftOut(variant.name) ? 'npm run test:long has it' : variant.skip,
}))

/** The same for suites that are on the native engine and on `node:net`: why the latter is left out. */
export const leftOutOnNode: string | false = isLeftOut('node') && 'npm run test:long has it'

/** By the letters of the file's name, so that it is always the same. */
function isLeftOut(name: string): boolean {
  if (!quick) return false
  const sum = Buffer.from(basename(process.argv[1] ?? '')).reduce((sum, byte) => sum + byte, 0)
  const natives = EVERY.filter(({ name, skip }) => name !== 'node' && skip === false)
  if (natives.length === 0) return false
  return name === 'node' ? sum % 3 !== 0 : name !== natives[sum % natives.length].name
}

/** What one of them is missing on this machine, for tests that are about that one. */
export function missingVariant(name: string): string | false {
  return EVERY.find((variant) => variant.name === name)?.skip ?? `there is no transport '${name}'`
}

function nativeVariant(backend: TransportBackend): Variant {
  const native = loadNative()
  const make = (options?: TransportOptions): Transport => nativeTransport({ backend, ...options })
  let skip: string | false = native.ok ? false : `native transport: ${native.reason}`
  if (native.ok) {
    try {
      const probe = make()
      probe.open(() => undefined)
      void probe.close()
    } catch (error) {
      skip = error instanceof Error ? error.message : String(error)
    }
  }
  return { name: `native ${backend}`, skip, make }
}
