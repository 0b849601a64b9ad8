/**
 * Values of the program: as a tree whose branches are drawn when they are opened, and what differs between two.
 *
 * Owns how previews look. They are always text.
 */
import type { ComponentChildren, VNode } from 'preact'
import { useState } from 'preact/hooks'
import { isList, previewText, type Preview, type PreviewObject } from '../src/inspector/shown.js'

/** What is shown of an error by itself. */
const ERROR_SHOWN = ['$', 'stack', 'name', 'message']

type Part = readonly [key: string, value: Preview]

/** What a value consists of; none of those that have no parts. */
export function partsOf(value: Preview): Part[] {
  if (value === null || typeof value !== 'object') return []
  if (isList(value)) return value.map((item, at) => [String(at), item])
  switch (value.$) {
    case 'record':
      return (value['values'] as Preview[]).map((item, at) => [(value['fields'] as string[])[at] ?? String(at), item])
    case 'array': case 'set':
      return (value['items'] as Preview[]).map((item, at) => [String(at), item])
    case 'object':
      return value['entries'] as [string, Preview][]
    case 'map':
      return (value['entries'] as [Preview, Preview][]).map(([key, item]) => [previewText(key), item])
    case 'error':
      return (Object.entries(value) as [string, Preview][]).filter(([name]) => !ERROR_SHOWN.includes(name))
    default:
      return []
  }
}

/** How many parts are not shown. */
function leftOf(value: Preview): number {
  if (value === null || typeof value !== 'object' || isList(value)) return 0
  const shown = partsOf(value).length
  const all = value['length'] ?? value['size']
  if (value.$ === 'array' || value.$ === 'map' || value.$ === 'set') return Math.max(0, Number(all) - shown)
  return Number(value['left'] ?? 0)
}

const typeOf = (value: Preview): string =>
  value === null ? 'null' : typeof value !== 'object' ? typeof value : isList(value) ? 'array' : value.$

/** Short, on one line. */
export function ValueText({ value, max = 200 }: { readonly value: Preview, readonly max?: number }): VNode {
  const text = textOf(value)
  return <code class={`value ${typeOf(value)}`}>{text.length > max ? `${text.slice(0, max)}…` : text}</code>
}

function textOf(value: Preview): string {
  if (value !== null && typeof value === 'object' && !isList(value)) {
    switch (value.$) {
      case 'map': return `Map(${String(value['size'])})`
      case 'set': return `Set(${String(value['size'])})`
      case 'number': case 'regexp': case 'date': return String(value['value'])
      case 'bigint': return `${String(value['value'])}n`
      case 'symbol': return `Symbol(${String(value['value'])})`
      case 'function': return `function ${String(value['name'])}`
      case 'wildcard': return `?${String(value['name'])}`
      case 'bytes': return `${String(value['length'])} bytes${
        value['text'] === undefined ? '' : ` ${JSON.stringify(value['text'])}`}`
      case 'getter': return '(a getter: not called)'
      case 'proxy': return '(a proxy: not asked)'
      case 'cycle': return `(the value that is ${String(value['up'])} levels further out)`
      case 'more': return `${String(value['of'])} (deeper than what is shown)`
      case 'hole': return '(empty)'
      case 'promise': return 'Promise'
    }
  }
  return previewText(value)
}

/** A value as a tree. @param opens how many levels of it are open at first */
export function Value(
  { value, name, opens = 1 }: { readonly value: Preview, readonly name?: string, readonly opens?: number },
): VNode {
  const [open, setOpen] = useState(opens > 0)
  const label = name === undefined ? null : <span class="key">{name}: </span>
  const parts = partsOf(value)
  const stack = isError(value) ? value['stack'] : undefined
  const long = typeof value === 'string' && (value.length > 100 || value.includes('\n'))
  if (parts.length === 0 && leftOf(value) === 0 && stack === undefined && !long) {
    return <div class="leaf">{label}<ValueText value={value} max={4096} /></div>
  }
  return (
    <details class="branch" open={open} onToggle={({ currentTarget }) => { setOpen(currentTarget.open) }}>
      <summary>{label}<ValueText value={value} max={open ? 40 : 100} /></summary>
      {open ? <Inside value={value} parts={parts} opens={opens - 1} stack={stack} long={long} /> : null}
    </details>
  )
}

function Inside({ value, parts, opens, stack, long }: {
  readonly value: Preview, readonly parts: readonly Part[], readonly opens: number, readonly stack: unknown
  readonly long: boolean
}): VNode {
  const left = leftOf(value)
  return (
    <div class="inside">
      {long && typeof value === 'string' ? <pre>{value}</pre> : null}
      {typeof stack === 'string' ? <pre>{stack}</pre> : null}
      {parts.map(([key, part]) => <Value key={key} name={key} value={part} opens={opens} />)}
      {left > 0 ? <div class="leaf dim">and {left} more</div> : null}
    </div>
  )
}

const isError = (value: Preview): value is PreviewObject =>
  value !== null && typeof value === 'object' && !isList(value) && value.$ === 'error'

export interface Difference {
  readonly at: string
  readonly before: Preview | undefined
  readonly after: Preview | undefined
}

/** Where two values differ: the smallest parts that do. */
export function differences(before: Preview | undefined, after: Preview | undefined, at = ''): Difference[] {
  if (before !== undefined && after !== undefined) {
    if (JSON.stringify(before) === JSON.stringify(after)) return []
    const [ours, theirs] = [new Map(partsOf(before)), new Map(partsOf(after))]
    if (headOf(before) === headOf(after) && (ours.size > 0 || theirs.size > 0)) {
      const found = [...new Set([...ours.keys(), ...theirs.keys()])].flatMap((key) =>
        differences(ours.get(key), theirs.get(key), at === '' ? key : `${at}.${key}`))
      if (found.length > 0) return found
    }
  }
  return [{ at: at === '' ? 'the state' : at, before, after }]
}

/** What two values must have in common to be compared part by part. */
function headOf(value: Preview): string {
  if (value === null || typeof value !== 'object') return typeof value
  if (isList(value) || value.$ === 'array') return 'array'
  return [value.$, value['label'], value['class']].join(' ')
}

export function Section({ title, children, more, tall = false }: {
  readonly title: string, readonly children: ComponentChildren, readonly more?: ComponentChildren
  /** Whether it stands beside several others. */
  readonly tall?: boolean
}): VNode {
  return (
    <section class={tall ? 'panel tall' : 'panel'}>
      <div class="panel-head"><h2>{title}</h2>{more}</div>
      {children}
    </section>
  )
}
