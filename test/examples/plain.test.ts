/** The example in plain JavaScript runs as it stands, and prints what it should. */
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from '../docs/blocks.js'
import { runToEnd } from '../docs/run.js'

t.test('examples/plain.mjs', async (t) => {
  const { stdout, stderr, result } = await runToEnd(join(ROOT, 'examples/plain.mjs'))
  t.equal(stdout, 'echo: one\necho: two\necho: three\nfinished: all echoed\n')
  t.equal(stderr, '')
  t.equal(result, 0)
})
