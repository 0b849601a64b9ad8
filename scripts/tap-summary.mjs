/**
 * Reads TAP, also nested, and counts what passed and failed: test points that have no subtest below them.
 * `onTop` hears every finished top-level test point with its whole text, for showing only failures.
 */
const POINT = /^( *)(not )?ok(?= |$)(.*)$/

export class TapSummary {
  passed = 0
  failed = 0
  skipped = 0
  #block = []
  #subtests = new Set()
  /** The line that ends the diagnostics being read: they may contain anything. */
  #diagnosticsEnd
  #failedBefore = 0
  #onTop

  constructor(onTop = () => undefined) {
    this.#onTop = onTop
  }

  line(text) {
    this.#block.push(text)
    if (this.#diagnosticsEnd !== undefined) {
      if (text === this.#diagnosticsEnd) this.#diagnosticsEnd = undefined
      return
    }
    if (/^ +---$/.test(text)) {
      this.#diagnosticsEnd = text.replace('---', '...')
      return
    }
    const subtest = /^( *)# Subtest\b/.exec(text)
    if (subtest !== null) {
      this.#subtests.add(subtest[1].length)
      return
    }
    if (/^Bail out!/i.test(text)) this.failed += 1
    const point = POINT.exec(text)
    if (point !== null) this.#point(point[1].length, point[2] !== undefined, point[3])
  }

  #point(indent, negative, rest) {
    const parent = this.#subtests.delete(indent)
    const skipped = /# *(SKIP|TODO)\b/i.test(rest)
    if (!parent) {
      if (skipped) this.skipped += 1
      else if (negative) this.failed += 1
      else this.passed += 1
    }
    if (indent > 0) return
    // A file that was killed or that planned more tests has failed, though no test in it says so.
    if (parent && negative && this.failed === this.#failedBefore) this.failed += 1
    const name = rest.replace(/^ *\d* *-? */, '')
    this.#onTop({ ok: !negative, skipped, name, text: this.#block.join('\n') })
    this.#block = []
    this.#failedBefore = this.failed
  }
}
