/**
 * Bars side by side: one row per arm, one panel per figure, each panel from zero.
 *
 * A bar ends at the median; the thin line over its end goes from the lowest to the highest round. The
 * broken line is the arm that the ratios are to, the band around it the noise of the run: what ends
 * inside the band did not differ.
 */
import type { Mark } from 'vega'
import { gridAxis, linearAxis } from './scale.js'
import { at, FONT_SIZE, textAt, textWidth, type Plot } from './svg.js'
import type { Theme } from './theme.js'

export interface Bar {
  readonly arm: string
  readonly label: string
  readonly bold: boolean
}

/** One bar's figure in one panel. */
export interface BarValue {
  readonly median: number
  readonly low: number
  readonly high: number
  /** Stands behind the bars. */
  readonly text: string
}

export interface Panel {
  /** Lines above the panel; two at most. */
  readonly title: readonly string[]
  /** One per bar; `undefined` if it was not measured. */
  readonly values: readonly (BarValue | undefined)[]
  readonly reference: { readonly value: number; readonly noise: number } | undefined
}

const ROW = 28
const BAR = 15
const GAP = 20
const HEAD = 42
const AXIS = 22
const TEXT_GAP = 10

/** 150,000 as 150K. */
const compact = new Intl.NumberFormat('en', { notation: 'compact' })

const constant = <T>(value: T) => ({ value })

function referenceMarks(panel: Panel, height: number, theme: Theme): Mark[] {
  if (panel.reference === undefined) return []
  const { value, noise } = panel.reference
  const y = { y: constant(0), y2: constant(height) }
  const x = (factor: number) => ({ scale: 'x', value: value * factor })
  return [
    {
      type: 'rect',
      encode: {
        enter: {
          ...y,
          x: x(1 - noise),
          x2: x(1 + noise),
          fill: constant(theme.band),
          opacity: constant(0.3),
        },
      },
    },
    {
      type: 'rule',
      encode: {
        enter: { ...y, x: x(1), stroke: constant(theme.band), strokeDash: { value: [4, 3] } },
      },
    },
  ]
}

/** Bars, ranges and figures; `rows` is the panel's data set. */
function rowMarks(range: number, theme: Theme): Mark[] {
  const middle = { field: 'y' }
  const from = { data: 'rows' }
  return [
    {
      type: 'rect',
      from,
      encode: {
        enter: {
          x: { scale: 'x', value: 0 },
          x2: { scale: 'x', field: 'median' },
          y: { field: 'y', offset: -BAR / 2 },
          height: constant(BAR),
          fill: { field: 'colour' },
        },
      },
    },
    {
      type: 'rule',
      from,
      encode: {
        enter: {
          x: { scale: 'x', field: 'low' },
          x2: { scale: 'x', field: 'high' },
          y: middle,
          stroke: constant(theme.text),
          strokeWidth: constant(1.5),
        },
      },
    },
    {
      type: 'text',
      from,
      encode: {
        enter: {
          x: constant(range + TEXT_GAP),
          y: middle,
          text: { field: 'text' },
          baseline: { value: 'middle' },
          fontSize: constant(FONT_SIZE),
          fontWeight: { field: 'weight' },
          fill: constant(theme.text),
        },
      },
    },
  ]
}

function panelMark(panel: Panel, bars: readonly Bar[], width: number, height: number, theme: Theme): Mark {
  const rows = panel.values.flatMap((value, i) => {
    if (value === undefined) return []
    const { arm, bold } = bars[i]
    return [{ ...value, y: (i + 0.5) * ROW, colour: theme.arm(arm), weight: bold ? 600 : 400 }]
  })
  const texts = rows.map(({ text, weight }) => textWidth(text, { bold: weight > 400 }))
  const range = Math.max(40, width - Math.max(0, ...texts) - TEXT_GAP)
  const values = [...rows.map(({ high }) => high), panel.reference?.value ?? 0]
  const axis = linearAxis(values, { title: '', text: (tick) => compact.format(tick) })
  return {
    type: 'group',
    encode: { enter: { y: constant(HEAD), width: constant(width), height: constant(height) } },
    data: [{ name: 'rows', values: rows }],
    scales: [
      { name: 'x', type: 'linear', domain: [axis.low, axis.high], range: [0, range], nice: false },
      { name: 'y', type: 'linear', domain: [0, 1], range: [height, 0] },
    ],
    axes: [gridAxis('x', axis)],
    marks: [...referenceMarks(panel, height, theme), ...rowMarks(range, theme)],
  }
}

export function barPlot(
  bars: readonly Bar[],
  panels: readonly Panel[],
  width: number,
  theme: Theme,
): Plot {
  const labels = Math.max(...bars.map(({ label, bold }) => textWidth(label, { bold }))) + 10
  const panelWidth = (width - labels - GAP * (panels.length - 1)) / panels.length
  const height = bars.length * ROW
  const names = bars.map(({ label, bold }, i) =>
    textAt(labels - 10, HEAD + (i + 0.5) * ROW, label, {
      fill: theme.text,
      bold,
      align: 'right',
      baseline: 'middle',
    }),
  )
  const drawn = panels.map((panel, i) =>
    at(labels + i * (panelWidth + GAP), 0, [
      textAt(0, 0, [...panel.title], { fill: theme.muted }),
      panelMark(panel, bars, panelWidth, height, theme),
    ]),
  )
  return { width, height: HEAD + height + AXIS, marks: [...names, ...drawn] }
}
