/** The links of the Markdown pages lead somewhere. (`npm run docs` looks at those of the built site, too.) */
import { join } from 'node:path'
import t from 'tap'
import { ROOT } from './blocks.js'
import { runToEnd } from './run.js'

t.test('links of the pages', async (t) => {
  const { stdout, stderr, result } = await runToEnd(join(ROOT, 'scripts/docs.mjs'), ['links'])
  t.equal(stderr, '')
  t.match(stdout, /^pages: [1-9]\d* links in [1-9]\d* files checked\n$/)
  t.equal(result, 0)
})
