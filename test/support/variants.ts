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
 * Every transport; one that is missing here says why. In `npm test` each file is on two of them, which are others in
 * the next file.
 */
export const VARIANTS = EVERY.map((variant, i): Variant => ({
  ...variant,
  skip: variant.skip === false && quick && i === leftOut() ? 'npm run test:long has it' : variant.skip,
}))

/** Which one this file is not on: by the letters of its name, so that it is always the same. */
function leftOut(): number {
  const name = basename(process.argv[1] ?? '')
  return Buffer.from(name).reduce((sum, byte) => sum + byte, 0) % 3
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
