/**
 * The list of Node's tests that end differently on this module, each with its reason: expected.json. Owns the
 * list's form, and the comparison with it.
 *
 * An entry: `tests` (names, without `test/` and the ending), `row` (the first cell of the row of
 * docs/net-compat.md that says so to users), `why`, and `on` (backends; both if it isn't there).
 */
import { readFileSync } from 'node:fs'

const LIST = new URL('expected.json', import.meta.url)

/** @returns the entries, as they are in the file */
export function expectedDifferences() {
  return JSON.parse(readFileSync(LIST, 'utf8'))
}

const isGood = ({ outcome }) => outcome === 'passed' || outcome === 'skipped'

/**
 * @param results of Map `variant` -> Map `test` -> `{ outcome }`
 * @returns names of tests: `onNode` passed there; for each backend `passed` of these, `unexpected` failed and
 *   isn't in the list, `refuted` is in the list and passed
 */
export function compare(results, list = expectedDifferences()) {
  const onNode = [...results.get('node:net')].filter(([, result]) => isGood(result)).map(([name]) => name)
  const backends = [...results.keys()].filter((variant) => variant !== 'node:net')
  return {
    onNode,
    backends: backends.map((variant) => {
      const entries = list.filter(({ on }) => on === undefined || on.includes(variant))
      const expected = new Set(entries.flatMap(({ tests }) => tests))
      const known = onNode.filter((name) => results.get(variant).has(name))
      const good = new Set(known.filter((name) => isGood(results.get(variant).get(name))))
      return {
        variant,
        passed: [...good],
        expected: known.filter((name) => !good.has(name) && expected.has(name)),
        unexpected: known.filter((name) => !good.has(name) && !expected.has(name)),
        refuted: known.filter((name) => good.has(name) && expected.has(name)),
      }
    }),
  }
}
