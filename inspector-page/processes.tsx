/**
 * The first screen: what runs, what is busy, what went wrong; and the table of all processes.
 *
 * Owns the order of that table: as a tree of VMs, or by a number, the largest first.
 */
import type { VNode } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { model, titleOf, useModel, type Row } from './model.js'
import { go, processLink } from './route.js'
import { VirtualList } from './virtual-list.js'
import { duration, number, percent, shortName } from './text.js'

type Column = 'name' | 'rate' | 'busy' | 'queue' | 'endpoints' | 'failures' | 'age'

const COLUMNS: readonly { readonly id: Column, readonly title: string, readonly tip: string }[] = [
  { id: 'name', title: 'Process', tip: 'All VMs and processes, as a tree' },
  { id: 'rate', title: 'Messages/s', tip: 'Messages that it handled and sent in the last second' },
  { id: 'busy', title: 'Handlers', tip: 'Part of the last second that its handlers took' },
  { id: 'queue', title: 'Queue', tip: 'Actions that wait for its turn, and events that wait while it is paused' },
  { id: 'endpoints', title: 'Endpoints', tip: 'Subscriptions and advertisements that it has' },
  { id: 'failures', title: 'Failures', tip: 'Handlers that have thrown' },
  { id: 'age', title: 'Age', tip: 'Since it was started, or since somebody looks' },
]

/** What a column is sorted by. */
const KEYS: Readonly<Record<Exclude<Column, 'name'>, (row: Row) => number>> = {
  rate: (row) => row.rate, busy: (row) => row.busy, queue: queueOf, endpoints: (row) => row.endpoints,
  failures: (row) => row.failures, age: (row) => -row.born,
}

/** As they were when the reader left. */
const kept: { column: Column, search: string, chosen: string, closed: Set<string> } = {
  column: 'name', search: '', chosen: '', closed: new Set(),
}

function queueOf({ queue, held }: Row): number {
  return queue + Math.max(0, held)
}

interface Line {
  readonly path: string
  readonly depth: number
  readonly hasInside: boolean
}

const lastPid = ({ path }: Row): number => Number(path.slice(path.lastIndexOf('.') + 1))

/** All processes, those of a VM after it. */
function treeLines(rows: ReadonlyMap<string, Row>, closed: ReadonlySet<string>): Line[] {
  const inside = new Map<string, Row[]>()
  for (const row of rows.values()) {
    const others = inside.get(row.vm)
    if (others === undefined) inside.set(row.vm, [row])
    else others.push(row)
  }
  const lines: Line[] = []
  const add = (vm: string, depth: number): void => {
    for (const row of (inside.get(vm) ?? []).sort((a, b) => lastPid(a) - lastPid(b))) {
      const hasInside = inside.has(row.path)
      lines.push({ path: row.path, depth, hasInside })
      if (hasInside && !closed.has(row.path)) add(row.path, depth + 1)
    }
  }
  add('', 0)
  return lines
}

function linesOf(rows: ReadonlyMap<string, Row>, column: Column, search: string, closed: ReadonlySet<string>): Line[] {
  const wanted = search.trim().toLowerCase()
  const all = column === 'name' ? treeLines(rows, wanted === '' ? closed : new Set())
    : [...rows.values()].sort((a, b) => KEYS[column](b) - KEYS[column](a) || a.born - b.born)
      .map(({ path }) => ({ path, depth: 0, hasInside: false }))
  if (wanted === '') return all
  return all.filter(({ path }) => {
    const row = rows.get(path)
    return path.startsWith(wanted) || (row !== undefined && titleOf(row).toLowerCase().includes(wanted))
  })
}

export function Processes(): VNode {
  const { rows, version, population, now } = useModel()
  const [column, setColumn] = useState(kept.column)
  const [search, setSearch] = useState(kept.search)
  const [chosen, setChosen] = useState(kept.chosen)
  const [closed, setClosed] = useState(kept.closed)
  useEffect(() => { Object.assign(kept, { column, search, chosen, closed }) })
  // The order of the tree is another one only when processes come or go.
  const order = column === 'name' ? `p${population}` : `v${version}`
  const lines = useMemo(() => linesOf(rows, column, search, closed), [order, column, search, closed])
  const at = useMemo(() => lines.findIndex(({ path }) => path === chosen), [lines, chosen])
  const most = useMemo(() => Math.max(1, ...busiest(rows).map(({ rate }) => rate)), [version])

  const fold = (path: string, folds: boolean): void => {
    const next = new Set(closed)
    if (folds) next.add(path)
    else next.delete(path)
    setClosed(next)
  }

  const onKey = (event: KeyboardEvent, place: number): void => {
    const line = lines[place] as Line | undefined
    if (line === undefined || column !== 'name') return
    const { path } = line
    const isClosed = closed.has(path)
    if (event.key === 'ArrowRight' && line.hasInside) {
      if (isClosed) fold(path, false)
      else setChosen(lines[place + 1]?.path ?? chosen)
    } else if (event.key === 'ArrowLeft') {
      const vm = path.slice(0, Math.max(0, path.lastIndexOf('.')))
      if (line.hasInside && !isClosed) fold(path, true)
      else if (vm !== '') setChosen(vm)
    } else {
      return
    }
    event.preventDefault()
  }

  return (
    <div class="view processes">
      <Summary />
      <section class="panel table-panel">
        <div class="panel-head">
          <h2>Processes</h2>
          <Search value={search} onInput={setSearch} label="Search processes by name or path" />
          <span class="dim count">{number(lines.length)} of {number(rows.size + model.left)}</span>
        </div>
        <div class="table-head" role="toolbar" aria-label="Order of the table">
          {COLUMNS.map(({ id, title, tip }) => (
            <button
              key={id} type="button" class={`cell ${id}`} title={tip} aria-pressed={column === id}
              onClick={() => { setColumn(id) }}
            >{title}<span class="mark" aria-hidden="true">{column === id && id !== 'name' ? '▼' : ''}</span></button>
          ))}
        </div>
        <VirtualList
          id="processes" label="Processes" role="treegrid" count={lines.length} rowHeight={30} chosen={at} keepsPlace
          onChoose={(place) => { setChosen(lines[place]?.path ?? '') }}
          onOpen={(place) => { go(processLink(lines[place].path)) }}
          onKey={onKey}
          empty={rows.size === 0 ? 'No processes are known yet.' : 'No process has a name or a path like that.'}
          row={(place) => {
            const { path, depth, hasInside } = lines[place]
            const row = rows.get(path)
            if (row === undefined) return { props: { class: '' }, children: null }
            const isClosed = closed.has(row.path)
            const inVm = column !== 'name' && row.vm !== '' ? `${model.nameOf(row.vm)} / ` : ''
            return {
              props: {
                class: `${row.kind} ${row.held >= 0 ? 'is-paused' : ''} ${row.failures > 0 ? 'has-failed' : ''}`,
                'aria-level': depth + 1,
                ...hasInside && column === 'name' ? { 'aria-expanded': !isClosed } : {},
              },
              children: <>
                <span class="cell name" role="gridcell" style={{ paddingLeft: `${8 + depth * 18}px` }}>
                  <span
                    class="fold" aria-hidden="true"
                    onClick={(event) => {
                      if (!hasInside) return
                      event.stopPropagation()
                      fold(row.path, !isClosed)
                    }}
                  >{hasInside ? (isClosed ? '▸' : '▾') : ''}</span>
                  <Kind kind={row.kind} />
                  <span class="title">{inVm === '' ? null : <span class="dim">{inVm}</span>}{titleOf(row)}</span>
                  {row.held >= 0 ? <span class="tag warn">paused</span> : null}
                  <span class="dim path">{row.path}</span>
                </span>
                <span class="cell rate" role="gridcell">
                  <span class="bar" style={{ transform: `scaleX(${Math.min(1, row.rate / most)})` }} />
                  <span class={row.rate === 0 ? 'figure dim' : 'figure'}>{number(row.rate)}</span>
                </span>
                <span class="cell busy" role="gridcell">{percent(row.busy)}</span>
                <span class={`cell queue ${queueOf(row) > 100 ? 'bad' : ''}`} role="gridcell">
                  {number(queueOf(row))}
                </span>
                <span class="cell endpoints" role="gridcell">{number(row.endpoints)}</span>
                <span class={`cell failures ${row.failures > 0 ? 'bad' : ''}`} role="gridcell">
                  {number(row.failures)}
                </span>
                <span class="cell age" role="gridcell">{duration(now - row.born)}</span>
              </>,
            }
          }}
        />
      </section>
    </div>
  )
}

export function Kind({ kind }: { readonly kind: Row['kind'] }): VNode {
  const title = { vm: 'a VM, with processes inside', driver: 'a driver', process: 'a process' }[kind]
  return <span class={`kind ${kind}`} title={title}>{{ vm: 'VM', driver: 'driver', process: '' }[kind]}</span>
}

/** A field that `/` leads to. */
export function Search(
  { value, onInput, label }: {
    readonly value: string, readonly onInput: (text: string) => void, readonly label: string
  },
): VNode {
  const field = useRef<HTMLInputElement>(null)
  return (
    <input
      ref={field} class="search" type="search" placeholder="Search  /" aria-label={label} value={value} data-search
      onInput={({ currentTarget }) => { onInput(currentTarget.value) }}
      onKeyDown={(event) => {
        if (event.key === 'Escape') {
          onInput('')
          field.current?.blur()
        } else if (event.key === 'ArrowDown') {
          event.preventDefault()
          field.current?.closest('section')?.querySelector<HTMLElement>('.virtual')?.focus()
        }
      }}
    />
  )
}

/** The five that have the most messages. */
function busiest(rows: ReadonlyMap<string, Row>): Row[] {
  const found: Row[] = []
  for (const row of rows.values()) {
    if (row.rate <= 0 || (found.length === 5 && row.rate <= found[4].rate)) continue
    found.push(row)
    found.sort((a, b) => b.rate - a.rate)
    found.length = Math.min(found.length, 5)
  }
  return found
}

/** Three panels of a size that doesn't change. */
function Summary(): VNode {
  const { rows, crashes, version, history, hello } = useModel()
  const counts = useMemo(() => {
    const found = { vm: 0, driver: 0, process: 0, endpoints: 0, queue: 0, rate: 0 }
    for (const row of rows.values()) {
      found[row.kind]++
      found.endpoints += row.endpoints
      found.queue += queueOf(row)
      found.rate += row.rate
    }
    return found
  }, [version])
  const busy = useMemo(() => busiest(rows), [version])
  const wrong = useMemo(() => [...rows.values()].filter((row) => row.held >= 0 || row.failures > 0), [version])
  const most = Math.max(1, ...busy.map(({ rate }) => rate))
  return (
    <div class="summary">
      <section class="panel running">
        <h2>What is running</h2>
        <div class="big">{number(rows.size + model.left)} <span>{rows.size === 1 ? 'process' : 'processes'}</span></div>
        <dl class="facts">
          <dt>VMs inside</dt><dd>{number(counts.vm)}</dd>
          <dt>Drivers</dt><dd>{number(counts.driver)}</dd>
          <dt>Endpoints</dt><dd>{number(counts.endpoints)}</dd>
          <dt>Program</dt><dd>process {hello?.pid ?? '?'}, Node {hello?.node ?? '?'}</dd>
        </dl>
      </section>
      <section class="panel busiest">
        <h2>What is busy</h2>
        <div class="big">{number(counts.rate)} <span>messages/s</span><Chart values={history} /></div>
        <ol class="top">
          {busy.map((row) => (
            <li key={row.path}>
              <a href={processLink(row.path)}>{titleOf(row)}</a>
              <span class="meter"><span style={{ transform: `scaleX(${row.rate / most})` }} /></span>
              <span class="figure">{number(row.rate)}/s</span>
            </li>
          ))}
          {busy.length === 0 ? <li class="dim">Nothing was said in the last second.</li> : null}
        </ol>
      </section>
      <section class={`panel wrong ${crashes.length + wrong.length > 0 ? 'some' : ''}`}>
        <h2>What went wrong</h2>
        <div class="big">{number(crashes.length)} <span>{crashes.length === 1 ? 'failure' : 'failures'}</span></div>
        <ol class="top">
          {crashes.slice(-4).reverse().map((crash) => (
            <li key={`c${crash.id}`}>
              <a href="#/failures">{shortName(crash.who)}</a><span class="tag bad">failed</span>
            </li>
          ))}
          {wrong.slice(0, 5 - Math.min(4, crashes.length)).map((row) => (
            <li key={row.path}>
              <a href={processLink(row.path)}>{titleOf(row)}</a>
              <span class="tag warn">{row.held >= 0 ? `paused, ${row.held} wait` : `threw ${row.failures} times`}</span>
            </li>
          ))}
          {crashes.length + wrong.length === 0 ? <li class="dim">Nothing has failed, and nothing is paused.</li> : null}
        </ol>
      </section>
    </div>
  )
}

/** Numbers of the last minute. */
function Chart({ values }: { readonly values: readonly number[] }): VNode {
  const most = Math.max(1, ...values)
  const points = values.map((value, at) => `${(60 - values.length + at) * 2},${30 - value / most * 28}`).join(' ')
  return (
    <svg class="chart" viewBox="0 0 120 32" role="img"
      aria-label={`Messages a second in the last minute, at most ${number(most)}`}>
      <polyline points={points} />
    </svg>
  )
}
