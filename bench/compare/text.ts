/**
 * What the comparison says on the terminal: what moved, and how much was looked at.
 */
import { format, table } from '../lib/table.js'
import type { Comparison, Finding } from './measure.js'

export function isWorse({ better, verdict }: Finding): boolean {
  return verdict.moved && verdict.ratio > 1 === (better === 'lower')
}

/** `+5.0 %`. */
function change(ratio: number): string {
  const percent = (ratio - 1) * 100
  return `${percent > 0 ? '+' : ''}${percent.toFixed(1)} %`
}

const percent = (share: number): string => `${(share * 100).toFixed(1)} %`

function row(finding: Finding): string[] {
  const { base, head, ratio, low, high, noise } = finding.verdict
  return [
    finding.title,
    format(base),
    format(head),
    change(ratio),
    `(${change(low)}..${change(high)})`,
    percent(noise),
    isWorse(finding) ? 'WORSE' : 'better',
  ]
}

export function comparisonText({ title, findings, failures }: Comparison): string {
  const moved = findings.filter(({ verdict }) => verdict.moved)
  const still = findings.length - moved.length
  const noises = findings.map(({ verdict }) => verdict.noise).sort((a, b) => a - b)
  const headings = ['', 'base', 'head', 'change', 'rounds', 'noise', '']
  const noise =
    noises.length > 0 ? ` (noise ${percent(noises[0])} to ${percent(noises[noises.length - 1])})` : ''
  return [
    `\n${title}\n`,
    moved.length > 0 ? table([headings, ...moved.map(row)]) : '',
    ...failures.map((failure) => `  FAILED: ${failure}\n`),
    still > 0 ? `  ${still} of ${findings.length} figures: no difference beyond the noise${noise}\n` : '',
    findings.length === 0 && failures.length === 0 ? '  nothing that both have was measured\n' : '',
  ].join('')
}
