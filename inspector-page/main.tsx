/**
 * The inspector's page: what is on every screen, and which view is on this one.
 *
 * It is one client of the inspector's protocol (docs/inspector.md), bundled into one file that asks nobody else.
 */
import { render, type VNode } from 'preact'
import { useEffect, useRef } from 'preact/hooks'
import { Act } from './act.js'
import { Breakpoints } from './breakpoints.js'
import { Failures } from './failures.js'
import { Meetings } from './meetings.js'
import { model, useModel } from './model.js'
import { addressOf, lookedInto, Network } from './network.js'
import { ProcessPage } from './process.js'
import { Processes } from './processes.js'
import { go, useRoute, type Route } from './route.js'
import { Sockets } from './sockets.js'
import { Trace } from './trace.js'

const TABS = [
  ['processes', 'Processes'], ['trace', 'Trace'], ['meetings', 'Who meets whom'],
  ['sockets', 'Sockets'], ['network', 'Workers, nodes'], ['breakpoints', 'Breakpoints'],
  ['failures', 'Failures'], ['act', 'Act'],
] as const

const KEYS = [
  ['/', 'Search, or the first field of this view'], ['1 … 8', 'The views, from left to right'],
  ['Tab', 'The next thing that can be used'], ['↑ ↓ Page keys Home End', 'In a table: another row'],
  ['← →', 'In the tree: close and open a VM'], ['Enter', 'Open the row'], ['Escape', 'Leave the search, close this'],
  ['?', 'This help'],
] as const

function Page(): VNode {
  const route = useRoute()
  const help = useRef<HTMLDialogElement>(null)
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => { pressed(event, help.current) }
    document.addEventListener('keydown', onKey)
    return () => { document.removeEventListener('keydown', onKey) }
  }, [])
  const { hello } = useModel()
  const tabs = TABS.filter(([id]) => id !== 'act' || hello?.readOnly !== true)
  const active = { process: 'processes', event: 'trace' }[route.view] ?? route.view
  return (
    <>
      <header class="top-bar">
        <span class="brand">marketplace <b>inspector</b></span>
        <nav aria-label="Views">
          {tabs.map(([id, title]) => (
            <a key={id} href={`#/${id}`} aria-current={active === id ? 'page' : undefined}>
              {title}<Badge of={id} />
            </a>
          ))}
        </nav>
        <span class="right">
          {lookedInto === '' ? null : (
            <span class="tag warn">worker {lookedInto} <a href={`${addressOf('')}#/network`}>main thread</a></span>
          )}
          <PauseAll />
          <State />
          <button type="button" aria-label="Keys" title="Keys (?)" onClick={() => help.current?.showModal()}>?</button>
        </span>
      </header>
      <Lost />
      <main><View route={route} /></main>
      <Notices />
      <dialog ref={help} class="help" aria-label="Keys">
        <h2>Keys</h2>
        <dl>{KEYS.map(([key, what]) => <><dt><kbd>{key}</kbd></dt><dd>{what}</dd></>)}</dl>
        <form method="dialog"><button type="submit">Close</button></form>
      </dialog>
    </>
  )
}

function View({ route: { view, argument } }: { readonly route: Route }): VNode {
  const { file, connection } = useModel()
  if (connection.status.is === 'none' && file === undefined && view !== 'trace') {
    return <Trace event={0} />
  }
  switch (view) {
    case 'process': return <ProcessPage path={argument} key={argument} />
    case 'trace': return <Trace event={0} key="trace" />
    case 'event': return <Trace event={Number(argument) || 0} key="trace" />
    case 'meetings': return <Meetings />
    case 'sockets': return <Sockets />
    case 'network': return <Network />
    case 'breakpoints': return <Breakpoints />
    case 'failures': return <Failures />
    case 'act': return <Act />
    default: return <Processes />
  }
}

function Badge({ of }: { readonly of: string }): VNode | null {
  const { crashes, pausedCount } = useModel()
  const count = of === 'failures' ? crashes.length : of === 'breakpoints' ? pausedCount : 0
  return count === 0 ? null : <span class={`badge ${of === 'failures' ? 'bad' : 'warn'}`}>{count}</span>
}

function PauseAll(): VNode | null {
  const { canAct, hello, groundPaused, pausedCount } = useModel()
  if (hello?.readOnly === true) return null
  const act = async (what: string): Promise<void> => {
    if (!await model.act(what)) return
    model.groundPaused = what === 'pause'
    model.changed()
  }
  return groundPaused || pausedCount > 0
    ? <button type="button" class="pause-all on" disabled={!canAct} onClick={() => void act('resume')}>
      All go on</button>
    : <button type="button" class="pause-all" disabled={!canAct} onClick={() => void act('pause')}
      title="Every process but drivers; what they should hear waits">Pause all</button>
}

function State(): VNode {
  const { connection: { status }, hello, file } = useModel()
  const text = status.is === 'open' ? hello?.readOnly === true ? 'only looks' : 'connected'
    : status.is === 'none' ? file === undefined ? 'no program' : 'a file' : status.is
  return <span class={`state ${status.is}`} role="status" title={`process ${hello?.pid ?? '?'}`}>{text}</span>
}

/** Over what was known last, which stays. */
function Lost(): VNode | null {
  const { connection } = useModel()
  const { status } = connection
  if (status.is !== 'lost' && status.is !== 'refused') return null
  return (
    <div class={`lost ${status.is}`} role="alert">
      <span>{status.why}</span>
      <button type="button" onClick={() => { connection.retry() }}>Try now</button>
    </div>
  )
}

function Notices(): VNode {
  const { notices } = useModel()
  return (
    <div class="notices" role="status">
      {notices.map(({ id, text, to }) => (
        <div key={id} class="notice">
          {to === undefined ? <span>{text}</span> : <a href={to}>{text}</a>}
          <button type="button" aria-label="Forget" onClick={() => { model.forget(id) }}>×</button>
        </div>
      ))}
    </div>
  )
}

function pressed(event: KeyboardEvent, help: HTMLDialogElement | null): void {
  const target = event.target as HTMLElement
  const types = target.matches('input:not([type=button]), select, textarea')
  if (event.ctrlKey || event.metaKey || event.altKey || types || document.querySelector('dialog[open]') !== null) return
  if (event.key === '?') {
    help?.showModal()
  } else if (event.key === '/') {
    document.querySelector<HTMLElement>('main [data-search], main input:not([hidden])')?.focus()
  } else {
    const links = document.querySelectorAll<HTMLAnchorElement>('nav a')
    const link = /^[1-9]$/.test(event.key) ? links.item(Number(event.key) - 1) as HTMLAnchorElement | null : null
    if (link === null) return
    go(link.hash)
  }
  event.preventDefault()
}

const root = document.getElementById('page')
if (root !== null) render(<Page />, root)
