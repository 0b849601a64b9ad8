/** Processes that have failed: kept with their reason, stack, state and last events until somebody dismisses them. */
import type { VNode } from 'preact'
import { EventLine } from './event-line.js'
import { model, useModel } from './model.js'
import { shortName } from './text.js'
import { Section, Value } from './value.js'

export function Failures(): VNode {
  const { crashes, hello, connection } = useModel()
  if (crashes.length === 0) {
    return (
      <div class="view">
        <Section title="Failures"><p class="empty">No process has failed since somebody looks.</p></Section>
      </div>
    )
  }
  return (
    <div class="view">
      {[...crashes].reverse().map((crash) => (
        <Section key={crash.id} title={shortName(crash.who)} more={<>
          <span class="dim path">{crash.path}</span>
          <time class="dim count" dateTime={new Date(crash.at).toISOString()}>
            {new Date(crash.at).toLocaleTimeString()}</time>
          {hello?.readOnly === true ? null
            : <button type="button" disabled={!connection.open} onClick={() => void model.dismiss(crash.id)}>
              Dismiss</button>}
        </>}>
          <div class="tree bad"><Value name="reason" value={crash.reason} opens={1} /></div>
          <div class="tree"><Value name="state" value={crash.state} opens={0} /></div>
          {crash.event === undefined ? null : <p class="line">Threw at <EventLine event={crash.event} own /></p>}
          <details class="branch" open={crashes.length < 4}>
            <summary>Last events ({crash.last.length})</summary>
            <ol class="plain events">
              {crash.last.map((event) => <li key={event.id}><EventLine event={event} own /></li>)}
            </ol>
          </details>
        </Section>
      ))}
    </div>
  )
}
