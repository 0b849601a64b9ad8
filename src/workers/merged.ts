/** Counters of several workers as one text for Prometheus. Owns nothing. */

/** Puts the samples of each family together, as the format demands: its head once, then the samples of all texts. */
export function mergedPrometheus(texts: readonly string[]): string {
  const families = new Map<string, { head: string[], samples: string[] }>()
  for (const text of texts) {
    let family = ''
    for (const line of text.split('\n')) {
      if (line === '') continue
      const head = /^# (?:HELP|TYPE) (\S+)/.exec(line)
      if (head !== null) family = head[1] ?? ''
      const known = families.get(family) ?? { head: [], samples: [] }
      families.set(family, known)
      if (head === null) known.samples.push(line)
      else if (!known.head.includes(line)) known.head.push(line)
    }
  }
  return [...families.values()].map(({ head, samples }) => [...head, ...samples, ''].join('\n')).join('')
}
