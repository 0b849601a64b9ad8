/** One process: its state, endpoints, queue, relatives and last events; and what can be done with it. */
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { EndpointView, EventView, Preview, ProcessRow } from '../src/inspector/shown.js'
import { EventLine } from './event-line.js'
import { onSend } from './form.js'
import { messageOf, model, titleOf, useModel } from './model.js'
import { Kind } from './processes.js'
import { processLink } from './route.js'
import { duration, number, percent } from './text.js'
import { Section, Value, ValueText } from './value.js'

interface Page extends ProcessRow {
  readonly state: Preview
  readonly essential: boolean
  readonly children: readonly string[]
  readonly endpointList: readonly EndpointView[]
  readonly endpointsLeft: number
  readonly actions: readonly string[]
  readonly actionsLeft: number
  readonly events: readonly EventView[]
}

const INSIDE_MAX = 100

export function ProcessPage({ path }: { readonly path: string }): VNode {
  const { rows, canAct, connection } = useModel()
  const row = rows.get(path)
  const [page, setPage] = useState<Page>()
  const [error, setError] = useState('')
  const asking = useRef(false)

  const refresh = async (): Promise<void> => {
    if (asking.current || !connection.open) return
    asking.current = true
    try {
      setPage(await connection.ask<Page>('process', { path }))
      setError('')
    } catch (failure) {
      setError(messageOf(failure))
    } finally {
      asking.current = false
    }
  }
  // Whenever the table says that something has happened to it.
  const stamp = row === undefined ? '' : [row.turns, row.messages, row.presences, row.absences, row.queue, row.held,
    row.endpoints, row.failures].join()
  useEffect(() => { void refresh() }, [path, stamp, connection.open, row === undefined])

  const act = async (what: string, request: object = {}): Promise<void> => {
    if (await model.act(what, { path, ...request })) await refresh()
  }

  if (page?.path !== path) {
    return <div class="view"><p class="empty" role="status">{error === '' ? 'Asking the program…' : error}</p></div>
  }
  const isOver = error !== ''
  const isPaused = page.held >= 0
  const inside = page.kind === 'vm' ? [...rows.values()].filter(({ vm }) => vm === path) : []
  return (
    <div class="view process">
      <header class="title-bar">
        <h1><Kind kind={page.kind} /> {titleOf(page)} <span class="dim path">{path}</span></h1>
        <span class="tag-space">
          {isOver ? <span class="tag bad">has ended</span> : isPaused
            ? <span class="tag warn">paused: {number(page.held)} events wait</span>
            : <span class="tag good">runs</span>}
        </span>
        {model.hello?.readOnly === true ? null : (
          <div class="buttons" role="group" aria-label="Actions">
            <button type="button" disabled={!canAct || isOver || isPaused || page.kind === 'driver'}
              title={page.kind === 'driver' ? 'Drivers can\'t be paused: others wait for them'
                : 'What it should hear waits'}
              onClick={() => void act('pause')}>Pause</button>
            <button type="button" disabled={!canAct || isOver || !isPaused} title="It does, or hears, one thing"
              onClick={() => void act('step')}>Step</button>
            <button type="button" disabled={!canAct || isOver || !isPaused}
              onClick={() => void act('resume')}>Go on</button>
            <Kill disabled={!canAct || isOver} onKill={(reason) => act('kill', { reason })} />
          </div>
        )}
      </header>
      <dl class="facts wide">
        <dt>Messages/s</dt><dd>{number(row?.rate ?? 0)}</dd>
        <dt>Handlers</dt><dd>{percent(row?.busy ?? 0)}</dd>
        <dt>Handled</dt><dd>{number(page.messages)} messages, {number(page.presences)} presences, {
          number(page.absences)} absences</dd>
        <dt>Sent</dt><dd>{number(page.sent)}</dd>
        <dt>Turns</dt><dd>{number(page.turns)}</dd>
        <dt>Failures</dt><dd class={page.failures > 0 ? 'bad' : ''}>{number(page.failures)}</dd>
        <dt>Waits for</dt><dd>{number(page.pending)} promises or others</dd>
        <dt>Age</dt><dd>{duration(page.age)}</dd>
        <dt>In</dt><dd>{page.vm === '' ? 'the ground VM' : <ProcessLink path={page.vm} />}</dd>
        <dt>Started by</dt><dd>{page.parent === '' ? 'not known' : <ProcessLink path={page.parent} />}</dd>
        {page.essential ? <><dt>Essential</dt><dd>its VM ends with it</dd></> : null}
      </dl>
      <div class="columns">
        <Section title="State"><div class="tree"><Value value={page.state} opens={2} /></div></Section>
        <Section title={`Endpoints (${page.endpoints})`}>
          <Endpoints list={page.endpointList} left={page.endpointsLeft} />
        </Section>
        <Section title="Last events" tall more={<a href="#/trace" onClick={() => { traceOf(path) }}>Trace it</a>}>
          {page.events.length === 0 ? <p class="empty">It has heard nothing since somebody looks.</p> : null}
          <ol class="plain events">
            {page.events.slice(-50).reverse().map((event) => <li key={event.id}><EventLine event={event} own /></li>)}
          </ol>
        </Section>
        <Section title={`Queue (${page.queue})`}>
          {page.actions.length === 0 ? <p class="empty">No actions wait.</p> : null}
          <ol class="plain">{page.actions.map((text, at) => <li key={at}><code>{text}</code></li>)}</ol>
          {page.actionsLeft > 0 ? <p class="dim">and {number(page.actionsLeft)} more</p> : null}
        </Section>
        {page.kind === 'vm' ? (
          <Section title={`Inside (${inside.length})`}>
            <Links paths={inside.slice(0, INSIDE_MAX).map((one) => one.path)} />
            {inside.length > INSIDE_MAX ? <p class="dim">and {number(inside.length - INSIDE_MAX)} more</p> : null}
          </Section>
        ) : null}
        <Section title={`Has started (${page.children.length})`}>
          {page.children.length === 0 ? <p class="empty">No process that is there is known to be its child.</p> : null}
          <Links paths={page.children} />
        </Section>
      </div>
    </div>
  )
}

/** The trace will be of this process. */
function traceOf(path: string): void {
  model.filter = { ...model.filter, path }
  if (model.recording) model.record(model.filter).catch((error: unknown) => { model.notice(messageOf(error)) })
}

export function ProcessLink({ path }: { readonly path: string }): VNode {
  if (!model.rows.has(path)) return <span class="dim">process {path}, which is not there any more</span>
  return <a href={processLink(path)}>{model.nameOf(path)}</a>
}

function Links({ paths }: { readonly paths: readonly string[] }): VNode {
  return (
    <ul class="links">
      {paths.map((path) => <li key={path}><ProcessLink path={path} /> <span class="dim path">{path}</span></li>)}
    </ul>
  )
}

function Endpoints({ list, left }: { readonly list: readonly EndpointView[], readonly left: number }): VNode {
  if (list.length === 0) return <p class="empty">It has none.</p>
  return (
    <>
      <ul class="endpoints">
        {list.map((endpoint, at) => (
          <li key={at}>
            <details>
              <summary>
                <span class={`role ${endpoint.orientation}`}>{endpoint.orientation}</span>
                <code>{endpoint.text}</code>
                <span class="dim">{number(endpoint.peers)} {endpoint.peers === 1 ? 'peer' : 'peers'}</span>
              </summary>
              <dl class="facts">
                <dt>Name</dt><dd><ValueText value={endpoint.name} /></dd>
                <dt>Interest</dt><dd>{endpoint.interest}</dd>
                <dt>Handles</dt><dd>{endpoint.handlers.length === 0 ? 'nothing' : endpoint.handlers.join(', ')}</dd>
                {endpoint.level === 0 ? null : <><dt>Level</dt><dd>{-endpoint.level} further out</dd></>}
              </dl>
              <ul class="links">
                {endpoint.peerList.map((peer, place) => (
                  <li key={place}><a href={processLink(peer.path)}>{peer.who}</a> <code>{peer.text}</code></li>
                ))}
              </ul>
              {endpoint.peers > endpoint.peerList.length
                ? <p class="dim">and {number(endpoint.peers - endpoint.peerList.length)} more</p> : null}
            </details>
          </li>
        ))}
      </ul>
      {left > 0 ? <p class="dim">and {number(left)} more</p> : null}
    </>
  )
}

function Kill({ disabled, onKill }: {
  readonly disabled: boolean, readonly onKill: (reason: string) => Promise<void>
}): VNode {
  const dialog = useRef<HTMLDialogElement>(null)
  const [reason, setReason] = useState('')
  return (
    <>
      <button type="button" class="danger" disabled={disabled} onClick={() => { dialog.current?.showModal() }}>
        Kill…</button>
      <dialog ref={dialog} aria-label="Kill the process">
        <form onSubmit={onSend(async () => {
          dialog.current?.close()
          await onKill(reason)
        })}>
          <label class="field text">
            <span class="label">Reason, which those who meet it are told</span>
            <input type="text" name="reason" value={reason}
              onInput={({ currentTarget }) => { setReason(currentTarget.value) }} />
          </label>
          <div class="buttons">
            <button type="submit" class="danger">Kill it</button>
            <button type="button" onClick={() => { dialog.current?.close() }}>Leave it</button>
          </div>
        </form>
      </dialog>
    </>
  )
}

