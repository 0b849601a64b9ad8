/**
 * Comparison of traces as partial orders.
 *
 * A trace falls into sections, each opened by a line that the test itself causes (`-- step 1`,
 * `client c: writes ...`) or that marks the end. Sections come in their order; inside one, an `Order`
 * says which permutations of the golden lines are allowed.
 */

/** Says why `actual` is not allowed where `expected` stands in the golden trace; undefined if it is. */
export type Order = (expected: readonly string[], actual: readonly string[]) => string | undefined

/** Orders by section: the first line of the section without `-- `, `start` for what comes before. */
export interface Orders {
  readonly [section: string]: Order
}

/** Line by line. */
export const exact: Order = (expected, actual) => {
  for (let i = 0; i < Math.max(expected.length, actual.length); i++) {
    const wanted = expected.at(i) ?? 'nothing'
    const got = actual.at(i) ?? 'nothing'
    if (wanted !== got) return `expected "${wanted}"; got "${got}"`
  }
  return undefined
}

/** The same lines, in any order. */
export const shuffled: Order = (expected, actual) => exact([...expected].sort(), [...actual].sort())

/** Groups of `size` lines that stay together, in any order of the groups. */
export function chunks(size: number): Order {
  const cut = (lines: readonly string[]): string[] => {
    const out: string[] = []
    for (let at = 0; at < lines.length; at += size) out.push(lines.slice(at, at + size).join(' | '))
    return out
  }
  return (expected, actual) => shuffled(cut(expected), cut(actual))
}

/** The lines of each group in their order; groups interleave freely. Default group: the label. */
export function perGroup(groupOf: (line: string) => string): Order {
  const cut = (lines: readonly string[]): Map<string, string[]> => {
    const groups = new Map<string, string[]>()
    for (const line of lines) {
      const group = groups.get(groupOf(line))
      if (group === undefined) groups.set(groupOf(line), [line])
      else group.push(line)
    }
    return groups
  }
  return (expected, actual) => {
    const difference = shuffled(expected, actual)
    if (difference !== undefined) return difference
    const groups = cut(actual)
    for (const [group, lines] of cut(expected)) {
      const wrong = exact(lines, groups.get(group) ?? [])
      if (wrong !== undefined) return wrong
    }
    return undefined
  }
}

/** The lines of each label in their order. */
export const perLabel = perGroup((line) => line.slice(0, line.indexOf(': ')))

/** What a plain client sees, in its order, and what the VM prints, in an order of its own. */
export function besidesClients(order: Order): Order {
  const isClient = (line: string): boolean => /^(client|server)/.test(line)
  const ofClients = (lines: readonly string[]): string[] => lines.filter(isClient)
  const ofVm = (lines: readonly string[]): string[] => lines.filter((line) => !isClient(line))
  return (expected, actual) =>
    exact(ofClients(expected), ofClients(actual)) ?? order(ofVm(expected), ofVm(actual))
}

/** In addition, right behind a line that begins with the first text comes one with the second. */
export function adjacent(order: Order, ...pairs: readonly (readonly [string, string])[]): Order {
  return (expected, actual) => {
    const difference = order(expected, actual)
    if (difference !== undefined) return difference
    for (const [first, second] of pairs) {
      const lonely = actual.find((line, i) => line.startsWith(first) && !actual[i + 1]?.startsWith(second))
      if (lonely !== undefined) return `"${second}..." must come right behind "${lonely}"`
    }
    return undefined
  }
}

/** So many lines in one order, then so many in another. */
export function inSequence(...parts: readonly (readonly [count: number, order: Order])[]): Order {
  return (expected, actual) => {
    let at = 0
    for (const [count, order] of parts) {
      const difference = order(expected.slice(at, at + count), actual.slice(at, at + count))
      if (difference !== undefined) return difference
      at += count
    }
    return exact(expected.slice(at), actual.slice(at))
  }
}

const HEADER = /^-- |^ground VM returned$|^END$|^VM-CRASH|^client \w+: (connected|refused|writes )/

interface Section {
  readonly header: string
  readonly lines: string[]
}

function sectionsOf(trace: readonly string[]): Section[] {
  const sections: Section[] = [{ header: 'start', lines: [] }]
  for (const line of trace) {
    if (HEADER.test(line)) sections.push({ header: line, lines: [] })
    else sections[sections.length - 1]?.lines.push(line)
  }
  return sections
}

/**
 * Compares a trace with the golden one. `...` in a golden line stands for any text.
 *
 * @param orders for all sections, or by section; what is not named is exact
 * @returns what is wrong, or undefined
 */
export function compareTraces(
  golden: readonly string[],
  trace: readonly string[],
  orders: Order | Orders = exact,
): string | undefined {
  const expected = sectionsOf(golden)
  const actual = sectionsOf(trace.map((line) => elide(line, golden)))
  const headers = exact(expected.map(({ header }) => header), actual.map(({ header }) => header))
  for (const [i, { header, lines }] of expected.entries()) {
    const order = typeof orders === 'function' ? orders : (orders[header.replace(/^-- /, '')] ?? exact)
    const found = actual[i]
    const difference = found?.header === header ? order(lines, found.lines) : headers
    if (difference !== undefined) return `after "${header}": ${difference}`
  }
  return headers
}

/** The golden line with `...` in it that a line matches, or the line itself. */
function elide(line: string, golden: readonly string[]): string {
  const match = golden.find((pattern) => {
    const [before, after, ...more] = pattern.split('...')
    if (before === undefined || after === undefined || more.length > 0) return false
    return line.length >= before.length + after.length && line.startsWith(before) && line.endsWith(after)
  })
  return match ?? line
}
