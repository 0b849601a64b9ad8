/** The transports that everything is tested on. Knows nothing of the test runner, which opens many files. */
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

/** Every transport; one that is missing here says why. */
export const VARIANTS: readonly Variant[] = [
  nativeVariant('epoll'),
  nativeVariant('io_uring'),
  { name: 'node', skip: false, make: nodeTransport },
]

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
