/**
 * From the marks of a chart to the text of an SVG: no DOM, no network, the same text for the same input.
 *
 * Vega was chosen because it draws to a string without a browser (Plot and D3 want a DOM, uPlot a canvas),
 * brings scales and axes, runs on Node 20 (Vega-Lite doesn't), and is a tenth of the size of ECharts.
 * As there is nothing to measure text with, widths of text are estimated, a bit too large.
 */
import { parse, View, type Config, type Mark } from 'vega'
import { FONT, type Theme } from './theme.js'

/** What is drawn, without words around it. Its marks start at 0, 0. */
export interface Plot {
  readonly width: number
  readonly height: number
  readonly marks: readonly Mark[]
}

/** The words of a chart. */
export interface Words {
  readonly title: string
  readonly subtitle: string
  /** How it was measured, where, when and on what; sentences. */
  readonly caption: readonly string[]
}

export const FONT_SIZE = 12
const TITLE_SIZE = 16
const CAPTION_SIZE = 11
/** Mean width of a letter, in parts of the font's size. */
const LETTER = 0.55
const BOLD_LETTER = 0.62
const MARGIN = 8

const ENTITIES: Readonly<Record<string, string>> = {
  '&': 'amp',
  '<': 'lt',
  '>': 'gt',
  '"': 'quot',
  "'": '#39',
}

/** Escapes text for HTML and XML, in contents and in attributes. */
export function escape(text: string): string {
  return text.replace(/[&<>"']/g, (letter) => `&${ENTITIES[letter]};`)
}

/** About how many pixels wide a text is. */
export function textWidth(text: string, { size = FONT_SIZE, bold = false } = {}): number {
  return text.length * size * (bold ? BOLD_LETTER : LETTER)
}

/** Fills lines of about so many pixels; breaks between words only. */
export function wrap(text: string, width: number, size: number): string[] {
  const lines: string[] = []
  for (const word of text.split(' ')) {
    const last = lines.at(-1)
    const longer = last === undefined ? word : `${last} ${word}`
    if (last === undefined || textWidth(longer, { size }) > width) lines.push(word)
    else lines[lines.length - 1] = longer
  }
  return lines
}

interface TextStyle {
  readonly size?: number
  readonly fill: string
  readonly bold?: boolean
  readonly align?: 'left' | 'center' | 'right'
  readonly baseline?: 'top' | 'middle' | 'alphabetic'
}

/** One text mark; several lines if the text is a list. */
export function textAt(x: number, y: number, text: string | string[], style: TextStyle): Mark {
  const { size = FONT_SIZE, fill, bold = false, align = 'left', baseline = 'top' } = style
  return {
    type: 'text',
    encode: {
      enter: {
        x: { value: x },
        y: { value: y },
        text: { value: text },
        fontSize: { value: size },
        lineHeight: { value: Math.round(size * 1.4) },
        fontWeight: { value: bold ? 600 : 400 },
        fill: { value: fill },
        align: { value: align },
        baseline: { value: baseline },
      },
    },
  }
}

/** Marks moved by an offset. */
export function at(x: number, y: number, marks: readonly Mark[]): Mark {
  return { type: 'group', encode: { enter: { x: { value: x }, y: { value: y } } }, marks: [...marks] }
}

function config(theme: Theme): Config {
  const axis = {
    labelColor: theme.muted,
    titleColor: theme.muted,
    domainColor: theme.grid,
    tickColor: theme.grid,
    gridColor: theme.grid,
    labelFont: FONT,
    titleFont: FONT,
    labelFontSize: FONT_SIZE,
    titleFontSize: FONT_SIZE,
    titleFontWeight: 'normal' as const,
    titlePadding: 8,
  }
  return { axis, text: { font: FONT } }
}

async function draw(plot: Plot, theme: Theme, words: Words): Promise<string> {
  const { width, height, marks } = plot
  const spec = {
    width,
    height,
    padding: 0,
    autosize: 'none' as const,
    config: config(theme),
    marks: [...marks],
  }
  const svg = await new View(parse(spec), { renderer: 'none' }).toSVG()
  const [root] = /^<svg[^>]*>/.exec(svg) ?? ['']
  const name = `role="img" aria-label="${escape(`${words.title}. ${words.subtitle}`)}"`
  const size = `viewBox="0 0 ${width} ${height}" width="${width}" height="${height}"`
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} ${name}>${svg.slice(root.length)}`
}

/** The plot alone; the words only name it. */
export function renderBare(plot: Plot, words: Words, theme: Theme): Promise<string> {
  return draw(plot, theme, words)
}

/** The plot between its title and its caption. */
export function renderCaptioned(plot: Plot, words: Words, theme: Theme): Promise<string> {
  const width = plot.width + 2 * MARGIN
  const subtitle = wrap(words.subtitle, plot.width, FONT_SIZE)
  const caption = words.caption.flatMap((text) => wrap(text, plot.width, CAPTION_SIZE))
  const top = MARGIN + TITLE_SIZE + 8
  const plotTop = top + subtitle.length * 17 + 14
  const captionTop = plotTop + plot.height + 12
  const captionHeight = Math.round(CAPTION_SIZE * 1.4) * caption.length
  const marks = [
    textAt(MARGIN, MARGIN, words.title, { size: TITLE_SIZE, fill: theme.text, bold: true }),
    textAt(MARGIN, top, subtitle, { fill: theme.muted }),
    at(MARGIN, plotTop, plot.marks),
    textAt(MARGIN, captionTop, caption, { size: CAPTION_SIZE, fill: theme.muted }),
  ]
  return draw({ width, height: captionTop + captionHeight + MARGIN, marks }, theme, words)
}
