/** One event: what it was, the chain of its causes and effects as a list and as a diagram, and the state then. */
import type { VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import { mermaid } from '../src/inspector/shown.js'
import { Diagram } from './diagram.js'
import { EventKind, EventLine } from './event-line.js'
import { messageOf, useModel } from './model.js'
import { eventLink, processLink } from './route.js'
import { clock, number, save } from './text.js'
import { chainOf, momentOf, type Chain, type Moment } from './trace-file.js'
import { differences, Section, Value, ValueText } from './value.js'

interface Facts {
  readonly id: number
  readonly chain: Chain
  readonly moment: Moment
}

export function EventPanel({ id }: { readonly id: number }): VNode {
  const { file, connection } = useModel()
  const [facts, setFacts] = useState<Facts>()
  const [error, setError] = useState('')
  useEffect(() => {
    let isOver = false
    const ask = async (): Promise<void> => {
      try {
        const [chain, moment] = await Promise.all([chainOf(id), momentOf(id)])
        if (isOver) return
        setFacts({ id, chain, moment })
        setError('')
      } catch (failure) {
        if (!isOver) setError(messageOf(failure))
      }
    }
    void ask()
    return () => { isOver = true }
  }, [id, file, connection.open])

  if (error !== '' && facts?.id !== id) {
    return <div class="event-panel"><p class="empty" role="status">{error}</p><a href="#/trace">Close</a></div>
  }
  if (facts === undefined) return <div class="event-panel"><p class="empty" role="status">Asking the program…</p></div>
  const { chain, moment } = facts
  const { event } = moment
  return (
    <div class="event-panel" aria-label={`Event ${event.id}`} role="region">
      <header class="title-bar">
        <h1>Event {event.id} <EventKind event={event} /></h1>
        <div class="buttons">
          <Step to={moment.before}>Earlier</Step><Step to={moment.after}>Later</Step>
          <a class="button" href="#/trace">Close</a>
        </div>
      </header>
      <dl class="facts wide">
        <dt>Heard by</dt><dd>{file === undefined ? <a href={processLink(event.path)}>{event.who}</a> : event.who}</dd>
        <dt>At</dt><dd>{event.at === undefined ? 'not recorded' : `${clock(event.at)} s`}</dd>
        <dt>Turn</dt><dd>{event.turn === 0 ? 'from outside' : number(event.turn)}</dd>
        <dt>Cause</dt><dd>{event.cause === 0 ? event.source ?? 'not known, or from outside'
          : <a href={eventLink(event.cause)}>event {event.cause}</a>}</dd>
        <dt>Endpoint</dt><dd><code>{event.text}</code></dd>
      </dl>
      {event.subject === undefined ? null : <div class="tree"><Value name={event.kind} value={event.subject} /></div>}
      {event.reason === undefined ? null : <div class="tree"><Value name="reason" value={event.reason} /></div>}
      {event.error === undefined ? null : <div class="tree bad"><Value name="threw" value={event.error} /></div>}
      <State moment={moment} />
      <Section title={`Because of, and what came of it (${chain.events.length})`}>
        <ol class="plain events chain">
          {chain.events.map((one) => (
            <li key={one.id} class={one.id === event.id ? 'here' : ''}
              aria-current={one.id === event.id ? 'true' : undefined}>
              <EventLine event={one} />
            </li>
          ))}
        </ol>
        {chain.left ? <p class="dim">and more</p> : null}
      </Section>
      <Sequence chain={chain} id={event.id} />
    </div>
  )
}

function Step({ to, children }: { readonly to: number, readonly children: string }): VNode {
  return to === 0
    ? <span class="button" aria-disabled="true">{children}</span>
    : <a class="button" href={eventLink(to)} title="The event of the same process">{children}</a>
}

function State({ moment: { state, stateBefore, before } }: { readonly moment: Moment }): VNode {
  if (state === undefined) {
    return <Section title="State then"><p class="empty">Not recorded: nobody traced then, or it has none.</p></Section>
  }
  const found = stateBefore === undefined ? [] : differences(stateBefore, state)
  return (
    <div class="columns two">
      <Section title="State then"><div class="tree"><Value value={state} opens={2} /></div></Section>
      <Section title="Difference to the one before">
        {stateBefore === undefined
          ? <p class="empty">{before === 0 ? 'No event before is known.' : 'That before was not recorded.'}</p>
          : found.length === 0 ? <p class="empty">None.</p> : null}
        <ul class="differences">
          {found.slice(0, 100).map(({ at, before: old, after }) => (
            <li key={at}>
              <span class="key">{at}</span>
              <del>{old === undefined ? 'not there' : <ValueText value={old} />}</del>
              <ins>{after === undefined ? 'not there' : <ValueText value={after} />}</ins>
            </li>
          ))}
        </ul>
      </Section>
    </div>
  )
}

function Sequence({ chain, id }: { readonly chain: Chain, readonly id: number }): VNode {
  const frame = useRef<HTMLDivElement>(null)
  const saveSvg = (): void => {
    const svg = frame.current?.querySelector('svg')
    if (svg instanceof SVGElement) save(`event-${id}.svg`, 'image/svg+xml', new XMLSerializer().serializeToString(svg))
  }
  return (
    <Section title="Sequence" more={
      <div class="buttons">
        <button type="button" onClick={saveSvg}>Save SVG</button>
        <button type="button" onClick={() => { save(`event-${id}.mmd`, 'text/plain', mermaid(chain.events)) }}>
          Save Mermaid</button>
      </div>
    }>
      <div class="diagram" ref={frame} tabIndex={0} role="group" aria-label="Sequence diagram">
        <Diagram events={chain.events} chosen={id} />
      </div>
    </Section>
  )
}
