/**
 * Notices when this package is loaded twice in one thread, as ESM and as CommonJS: two sets of records and
 * wildcards then, whose topics don't meet. Nodes that can require ESM load it once, whoever asks.
 */
import { PACKAGE_ROOT } from './package-root.js'

const KEY = Symbol.for('marketplace-native.loaded')
const here = import.meta.url

const shared = globalThis as { [KEY]?: Map<string, string> }
const loaded = (shared[KEY] ??= new Map<string, string>())
const first = loaded.get(PACKAGE_ROOT ?? here)
if (first === undefined) {
  loaded.set(PACKAGE_ROOT ?? here, here)
} else if (first !== here) {
  process.emitWarning(
    'marketplace-native is loaded twice, by import and by require: topics and records of the one mean '
      + 'nothing to the other. Use either everywhere, or Node 20.19, 22.12 or newer, which loads it once',
    'MarketplaceWarning',
  )
}
