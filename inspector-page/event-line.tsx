/** An event on one line. */
import type { VNode } from 'preact'
import { eventText, type EventView } from '../src/inspector/shown.js'
import { eventLink } from './route.js'
import { clock, shortName } from './text.js'

const SHORT = 300

/** @param own whether it is clear whose it is */
export function EventLine({ event, own = false }: { readonly event: EventView, readonly own?: boolean }): VNode {
  return (
    <a class="event-line" href={eventLink(event.id)}>
      <span class="id">{event.id}</span>
      <EventKind event={event} />
      {own ? null : <span class="who" title={event.who}>{shortName(event.who)}</span>}
      <code>{eventText(event).slice(0, SHORT)}</code>
      <span class="dim time">{clock(event.at)}</span>
    </a>
  )
}

export function EventKind({ event }: { readonly event: EventView }): VNode {
  const has = event.error === undefined ? '' : 'threw'
  return <span class={`event-kind ${event.kind} ${has}`}>{has === '' ? event.kind : 'threw'}</span>
}
