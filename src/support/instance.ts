/**
 * Notices when this package is loaded twice in one thread, as ESM and as CommonJS: two sets of records and
 * wildcards then, whose topics don't meet. Nodes that can require ESM load it once, whoever asks.
 */
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const KEY = Symbol.for('marketplace-native.loaded')

/** dist/src or dist/cjs. */
const build = dirname(dirname(fileURLToPath(import.meta.url)))

const shared = globalThis as { [KEY]?: Map<string, string> }
const loaded = (shared[KEY] ??= new Map<string, string>())
const first = loaded.get(dirname(build))
if (first === undefined) {
  loaded.set(dirname(build), build)
} else if (first !== build) {
  process.emitWarning(
    'marketplace-native is loaded twice, by import and by require: topics and records of the one mean '
      + 'nothing to the other. Use either everywhere, or Node 20.19, 22.12 or newer, which loads it once',
    'MarketplaceWarning',
  )
}
