/**
 * A sequence diagram, drawn as SVG.
 *
 * Owns its measures and its look, which goes with it into a file: light and dark.
 */
import type { VNode } from 'preact'
import { eventText, sequenceOf, type EventView } from '../src/inspector/shown.js'
import { go, eventLink } from './route.js'
import { shortName } from './text.js'

const COLUMN = 170
const ROW = 34
const HEAD = 46
const MARGIN = 12
const NAME_MAX = 22
const TEXT_MAX = 26

const STYLE = `
.seq { font: 12px system-ui, sans-serif; background: #ffffff }
.seq .box { fill: #eef1f6; stroke: #8a94a6 } .seq text { fill: #1b2330 }
.seq .life { stroke: #b5bdca; stroke-dasharray: 3 4 }
.seq .arrow { stroke: #2f5fb3; fill: none; stroke-width: 1.5 } .seq .tip { fill: #2f5fb3 }
.seq .presence .arrow { stroke: #19703c; stroke-dasharray: 5 3 } .seq .presence .tip { fill: #19703c }
.seq .absence .arrow { stroke: #b3261e; stroke-dasharray: 5 3 } .seq .absence .tip { fill: #b3261e }
.seq .here { fill: #fff0c2 }
@media (prefers-color-scheme: dark) {
.seq { background: #171b21 } .seq .box { fill: #242b35; stroke: #77839a } .seq text { fill: #e4e9f1 }
.seq .life { stroke: #4a5566 } .seq .here { fill: #453a12 }
.seq .arrow { stroke: #8ab4f8 } .seq .tip { fill: #8ab4f8 }
.seq .presence .arrow { stroke: #7ddc9d } .seq .presence .tip { fill: #7ddc9d }
.seq .absence .arrow { stroke: #ff9d94 } .seq .absence .tip { fill: #ff9d94 }
}`

const cut = (text: string, max: number): string => text.length > max ? `${text.slice(0, max - 1)}…` : text

export function Diagram({ events, chosen }: { readonly events: readonly EventView[], readonly chosen: number }): VNode {
  const { actors, arrows } = sequenceOf(events)
  const width = actors.length * COLUMN + MARGIN * 2
  const height = HEAD + (arrows.length + 1) * ROW
  const x = (at: number): number => MARGIN + at * COLUMN + COLUMN / 2
  return (
    <svg class="seq" xmlns="http://www.w3.org/2000/svg" width={width} height={height} viewBox={`0 0 ${width} ${height}`}
      role="img" aria-label={`Sequence of ${arrows.length} events between ${actors.join(', ')}`}>
      <style>{STYLE}</style>
      {actors.map((who, at) => (
        <g key={at}>
          <title>{who}</title>
          <line class="life" x1={x(at)} x2={x(at)} y1={HEAD - 8} y2={height} />
          <rect class="box" x={x(at) - COLUMN / 2 + 6} y={8} width={COLUMN - 12} height={28} rx={5} />
          <text x={x(at)} y={26} text-anchor="middle">{cut(shortName(who), NAME_MAX)}</text>
        </g>
      ))}
      {arrows.map(({ from, to, event }, place) => {
        const y = HEAD + (place + 1) * ROW
        const [start, end] = [x(from), x(to)]
        const way = end > start ? 1 : -1
        const text = eventText(event)
        const isOwn = from === to
        return (
          <g key={event.id} class={`event ${event.kind}`} data-event={event.id}
            onClick={() => { go(eventLink(event.id)) }}>
            <title>{`${event.id}: ${text}`}</title>
            <rect class={event.id === chosen ? 'here' : 'none'} fill="transparent"
              x={0} y={y - ROW + 12} width={width} height={ROW - 2} />
            {isOwn
              ? <path class="arrow" d={`M${start} ${y - 8} h26 v10 h-18`} />
              : <line class="arrow" x1={start} x2={end - way * 7} y1={y} y2={y} />}
            {isOwn
              ? <path class="tip" d={`M${start + 1} ${y + 2} l8 -4 v8 z`} />
              : <path class="tip" d={`M${end} ${y} l${-way * 8} -4 v8 z`} />}
            <text x={isOwn ? start + 32 : (start + end) / 2} y={isOwn ? y + 1 : y - 6}
              text-anchor={isOwn ? 'start' : 'middle'}>{cut(text, isOwn ? 20 : TEXT_MAX * Math.abs(from - to))}</text>
          </g>
        )
      })}
    </svg>
  )
}
