/**
 * Lines over a common axis: one per arm, with its name at its right end.
 *
 * Invariant: nothing is drawn where an axis has no place for it. A line leaves such medians out, and a range
 * begins at the axis's low end instead.
 *
 * A line goes through the medians; the thin upright ones go from the lowest to the highest round. Names
 * that would cover each other are moved apart, with a thin line to where they belong.
 */
import type { Mark, Scale } from 'vega'
import { gridAxis, hasPlace, place, type Axis } from './scale.js'
import { FONT_SIZE, textAt, textWidth, type Plot } from './svg.js'
import { styleOf, type Theme } from './theme.js'

export interface Point {
  readonly x: number
  readonly median: number
  readonly low: number
  readonly high: number
}

export interface Line {
  readonly arm: string
  readonly label: string
  readonly bold: boolean
  /** Measured figures: a symbol each, with their range. */
  readonly points: readonly Point[]
  /** The way of the line, where it isn't from point to point. */
  readonly path?: readonly (readonly [x: number, y: number])[]
}

const HEAD = 26
const BELOW = 44
const LABEL_GAP = 26
const LABEL_HEIGHT = 15

const constant = <T>(value: T) => ({ value })

/** Positions as near as possible to the wanted ones, in the same order, apart by `distance`, up to `end`. */
export function spreadOut(wanted: readonly number[], distance: number, end: number): number[] {
  const order = wanted.map((_, i) => i).sort((a, b) => wanted[a] - wanted[b])
  const found = [...wanted]
  let least = 0
  for (const i of order) {
    found[i] = Math.max(wanted[i], least)
    least = found[i] + distance
  }
  let most = end
  for (const i of order.reverse()) {
    found[i] = Math.min(found[i], most)
    most = found[i] - distance
  }
  return found
}

function scaleOf(name: string, axis: Axis, range: [number, number]): Scale {
  const domain = [axis.low, axis.high]
  if (axis.kind === 'log') return { name, type: 'log', domain, range, nice: false }
  return { name, type: 'linear', domain, range, nice: false, zero: false }
}

function pathOf(line: Line): readonly (readonly [x: number, y: number])[] {
  return line.path ?? line.points.map(({ x, median }) => [x, median])
}

function lineMarks(line: Line, name: string, theme: Theme): Mark[] {
  const from = { data: name }
  const style = styleOf(line.arm)
  const colour = constant(theme.arm(line.arm))
  const x = { scale: 'x', field: 'x' }
  return [
    {
      type: 'rule',
      from,
      encode: {
        enter: {
          x,
          y: { scale: 'y', field: 'low' },
          y2: { scale: 'y', field: 'high' },
          stroke: colour,
          strokeWidth: constant(1),
        },
      },
    },
    {
      type: 'line',
      from: { data: `${name}path` },
      encode: {
        enter: {
          x,
          y: { scale: 'y', field: 'y' },
          stroke: colour,
          strokeWidth: constant(line.bold ? 3 : 2),
          strokeDash: constant([...style.dash]),
        },
      },
    },
    {
      type: 'symbol',
      from,
      encode: {
        enter: {
          x,
          y: { scale: 'y', field: 'median' },
          shape: constant(style.symbol),
          size: constant(line.bold ? 60 : 45),
          fill: colour,
        },
      },
    },
  ]
}

/** The name of each line at the right edge, and what leads to it. */
function labelMarks(theme: Theme): Mark[] {
  return [
    {
      type: 'rule',
      from: { data: 'labels' },
      encode: {
        enter: {
          x: { field: 'fromX', offset: 6 },
          y: { field: 'fromY' },
          x2: { field: 'toX', offset: -4 },
          y2: { field: 'toY' },
          stroke: { field: 'colour' },
          strokeWidth: constant(1),
        },
      },
    },
    {
      type: 'text',
      from: { data: 'labels' },
      encode: {
        enter: {
          x: { field: 'toX' },
          y: { field: 'toY' },
          text: { field: 'label' },
          baseline: { value: 'middle' },
          fontSize: constant(FONT_SIZE),
          fontWeight: { field: 'weight' },
          fill: constant(theme.text),
        },
      },
    },
  ]
}

function labelsOf(lines: readonly Line[], x: Axis, y: Axis, size: [number, number], theme: Theme) {
  const ends = lines.map((line) => pathOf(line).at(-1) as readonly [number, number])
  const wanted = ends.map((end) => size[1] * (1 - place(y, end[1])))
  const found = spreadOut(wanted, LABEL_HEIGHT, size[1])
  return lines.map(({ arm, label, bold }, i) => ({
    fromX: size[0] * place(x, ends[i][0]),
    fromY: wanted[i],
    toX: size[0] + LABEL_GAP,
    toY: found[i],
    label,
    weight: bold ? 600 : 400,
    colour: theme.arm(arm),
  }))
}

/** What of a line the axes have a place for. */
function drawable(line: Line, { x, y }: { readonly x: Axis; readonly y: Axis }): Line {
  const points = line.points
    .filter((point) => hasPlace(x, point.x) && hasPlace(y, point.median))
    .map((point) => (hasPlace(y, point.low) ? point : { ...point, low: y.low }))
  const path = line.path?.filter((point) => hasPlace(x, point[0]) && hasPlace(y, point[1]))
  return { ...line, points, ...(path !== undefined && { path }) }
}

/** @param box width of the whole and height of the area that the lines are in */
export function linePlot(
  lines: readonly Line[],
  axes: { readonly x: Axis; readonly y: Axis },
  box: { readonly width: number; readonly height: number },
  theme: Theme,
): Plot {
  const drawn = lines.map((line) => drawable(line, axes)).filter((line) => pathOf(line).length > 0)
  const left = Math.max(...axes.y.ticks.map((tick) => textWidth(axes.y.text(tick)))) + 12
  const right = LABEL_GAP + Math.max(0, ...drawn.map(({ label, bold }) => textWidth(label, { bold }))) + 4
  const width = box.width - left - right
  const size: [number, number] = [width, box.height]
  const labels = labelsOf(drawn, axes.x, axes.y, size, theme)
  const area: Mark = {
    type: 'group',
    encode: {
      enter: {
        x: constant(left),
        y: constant(HEAD),
        width: constant(width),
        height: constant(box.height),
      },
    },
    data: [
      ...drawn.flatMap((line, i) => [
        { name: `line${i}`, values: [...line.points] },
        { name: `line${i}path`, values: pathOf(line).map(([x, y]) => ({ x, y })) },
      ]),
      { name: 'labels', values: labels },
    ],
    scales: [scaleOf('x', axes.x, [0, width]), scaleOf('y', axes.y, [box.height, 0])],
    axes: [gridAxis('x', axes.x), gridAxis('y', axes.y)],
    marks: [
      ...drawn.flatMap((line, i) => lineMarks(line, `line${i}`, theme)),
      ...labelMarks(theme),
    ],
  }
  const title = textAt(0, 0, axes.y.title, { fill: theme.muted })
  return { width: box.width, height: HEAD + box.height + BELOW, marks: [title, area] }
}
