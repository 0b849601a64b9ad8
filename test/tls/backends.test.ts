/** The tests of `marketplace-native/tls` on the engine's other backends, each in a process of its own. */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { passesOn } from '../net/other-backend.js'
import { patient } from '../support/patience.js'
import { VARIANTS } from '../support/variants.js'

for (const { name, skip } of VARIANTS) {
  if (name === 'node') continue
  void t.test(name, { skip, timeout: patient(60_000) }, async (t) => {
    await passesOn(t, fileURLToPath(new URL('tls.test.js', import.meta.url)), name.replace('native ', ''))
  })
}
