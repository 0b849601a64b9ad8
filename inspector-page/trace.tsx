/** The trace: events as they come, filters, what was dropped; and files of events. */
import type { VNode } from 'preact'
import { useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { eventText, type EventView } from '../src/inspector/shown.js'
import { EventPanel } from './event-panel.js'
import { EventKind } from './event-line.js'
import { Choice, errorsOf, onSend, TextField, type Errors } from './form.js'
import { messageOf, model, useModel, type Filter } from './model.js'
import { eventLink, go } from './route.js'
import { clock, number, save, shortName } from './text.js'
import { readTraceFile } from './trace-file.js'
import { VirtualList } from './virtual-list.js'

const KINDS = [['', 'all'], ['message', 'messages'], ['presence', 'presences'], ['absence', 'absences']] as const
const RATES = [100, 1000, 2000, 5000, 10_000].map((rate) => [String(rate), `${number(rate)}/s`] as const)
const FIELDS = ['topic', 'path', 'kind', 'rate']

/** @param event the one that is looked at; 0 is none */
export function Trace({ event }: { readonly event: number }): VNode {
  const { file, connection } = useModel()
  // The program records only for those who see it.
  useEffect(() => {
    if (file !== undefined || !connection.open || model.recording) return undefined
    model.record(model.filter).catch((error: unknown) => { model.notice(messageOf(error)) })
    return undefined
  }, [connection.open, file])
  useEffect(() => () => { if (model.recording) void model.stopRecording() }, [])
  return (
    <div class={`view trace ${event > 0 ? 'with-event' : ''}`}>
      {file === undefined ? <Live chosen={event} /> : <OfFile chosen={event} />}
      {event > 0 ? <EventPanel id={event} key={file?.name ?? ''} /> : null}
    </div>
  )
}

function Live({ chosen }: { readonly chosen: number }): VNode {
  const { filter, trace, traced, dropped, recording, connection } = useModel()
  const [wanted, setWanted] = useState(filter)
  const [errors, setErrors] = useState<Errors>({})
  const [held, setHeld] = useState<{ readonly events: readonly EventView[], readonly traced: number }>()
  const events = held?.events ?? trace

  const hold = (): void => { setHeld({ events: model.trace.slice(), traced: model.traced }) }
  const change = (part: Partial<Filter>): void => { setWanted({ ...wanted, ...part }) }
  const apply = async (): Promise<void> => {
    try {
      await model.record(wanted)
      setErrors({})
    } catch (error) {
      setErrors(errorsOf(error, FIELDS))
    }
  }
  const newer = held === undefined ? 0 : traced - held.traced
  return (
    <section class="panel table-panel">
      <div class="panel-head">
        <h2>Trace</h2>
        <span class={`tag ${recording ? 'good' : ''}`}>{recording ? 'records' : 'stopped'}</span>
        <span class="dim count" role="status">
          {number(traced)} events
          {dropped > 0 ? <span class="bad">, {number(dropped)} dropped beyond the limit</span> : ''}
        </span>
        <div class="buttons">
          {recording
            ? <button type="button" onClick={() => void model.stopRecording()}>Stop</button>
            : <button type="button" class="primary" disabled={!connection.open} onClick={() => void apply()}>
              Record</button>}
          {held === undefined
            ? <button type="button" aria-pressed={false} onClick={hold}
              title="The list stays as it is, while events still come">Hold</button>
            : <button type="button" aria-pressed onClick={() => { setHeld(undefined) }}>
              Follow{newer > 0 ? ` (${number(newer)} newer)` : ''}</button>}
          <button type="button" onClick={() => {
            setHeld(undefined)
            model.clearTrace()
          }}>Clear</button>
          <Files />
        </div>
      </div>
      <form class="row-form" onSubmit={onSend(apply)}>
        <TextField name="topic" label="Topic" value={wanted.topic} onInput={(topic) => { change({ topic }) }}
          errors={errors} placeholder="any" hint="Such as ['tick', _]" />
        <TextField name="path" label="Process or VM" value={wanted.path} onInput={(path) => { change({ path }) }}
          errors={errors} placeholder="any" hint="Its path, such as 2.0" />
        <Choice name="kind" label="Kind" value={wanted.kind} options={KINDS}
          onChange={(kind) => { change({ kind }) }} />
        <Choice name="rate" label="At most" value={String(wanted.rate)} options={RATES}
          onChange={(rate) => { change({ rate: Number(rate) }) }} />
        <button type="submit">Filter</button>
      </form>
      {errors[''] === undefined ? null : <p class="error" role="alert">{errors['']}</p>}
      <EventList events={events} version={held === undefined ? traced : -held.traced} chosen={chosen}
        follows={held === undefined} onScrolledUp={() => { if (held === undefined) hold() }}
        empty={recording ? 'Nothing has happened yet that the filter lets through.' : 'Nothing is recorded.'} />
    </section>
  )
}

/** The events of a file, also without a program. */
function OfFile({ chosen }: { readonly chosen: number }): VNode {
  const { file } = useModel()
  const [text, setText] = useState('')
  const [kind, setKind] = useState('')
  const events = useMemo(() => {
    const wanted = text.toLowerCase()
    return (file?.events ?? []).filter((event) => (kind === '' || event.kind === kind) &&
      (wanted === '' || `${event.who} ${event.path} ${event.text} ${eventText(event)}`.toLowerCase().includes(wanted)))
  }, [file, text, kind])
  return (
    <section class="panel table-panel">
      <div class="panel-head">
        <h2>Trace of a file</h2>
        <span class="tag">{file?.name}</span>
        <span class="dim count">{number(events.length)} of {number(file?.events.length ?? 0)} events</span>
        <div class="buttons">
          <button type="button" onClick={() => {
            model.file = undefined
            go('#/trace')
            model.changed()
          }}>Close the file</button>
          <Files />
        </div>
      </div>
      <form class="row-form" onSubmit={onSend(() => Promise.resolve())}>
        <TextField name="text" label="Text" value={text} onInput={setText} errors={{}} placeholder="any"
          hint="Part of a process, its path or what was said" />
        <Choice name="kind" label="Kind" value={kind} onChange={setKind} options={KINDS} />
      </form>
      <EventList events={events} version={events.length} chosen={chosen} follows={false}
        empty="No event has such a text." />
    </section>
  )
}

/** Saves what the program has recorded, and reads files. */
function Files(): VNode {
  const { connection, file } = useModel()
  const input = useRef<HTMLInputElement>(null)
  const load = async (found: File | undefined): Promise<void> => {
    if (found === undefined) return
    try {
      const trace = await readTraceFile(found)
      if (model.recording) await model.stopRecording()
      model.file = trace
      go('#/trace')
      model.changed()
    } catch (error) {
      model.notice(messageOf(error))
    }
  }
  const store = async (): Promise<void> => {
    try {
      const trace = await connection.ask('export')
      save(`trace-${model.hello?.pid ?? 0}.json`, 'application/json', JSON.stringify(trace))
    } catch (error) {
      model.notice(messageOf(error))
    }
  }
  return (
    <>
      {file === undefined
        ? <button type="button" disabled={!connection.open} title="All events that the program still has, as a file"
          onClick={() => void store()}>Export</button> : null}
      <button type="button" title="Look at events of a file; no program is needed"
        onClick={() => input.current?.click()}>Import…</button>
      <input ref={input} type="file" accept=".json,application/json" hidden aria-label="File of a trace"
        onChange={({ currentTarget }) => {
          void load(currentTarget.files?.[0])
          currentTarget.value = ''
        }} />
    </>
  )
}

function EventList({ events, version, chosen, follows, onScrolledUp, empty }: {
  readonly events: readonly EventView[], readonly version: number, readonly chosen: number
  readonly follows: boolean, readonly onScrolledUp?: () => void, readonly empty: string
}): VNode {
  const [at, setAt] = useState(-1)
  useEffect(() => {
    const place = chosen === 0 ? -1 : events.findIndex(({ id }) => id === chosen)
    if (place >= 0 && place !== at) setAt(place)
  }, [chosen])
  // A new function for each change: the list then goes to its end again.
  const row = useMemo(() => (place: number) => {
    const event = events[place]
    return {
      props: { class: event.id === chosen ? 'open' : '' },
      children: <>
        <span class="cell id" role="gridcell">{event.id}</span>
        <span class="cell time" role="gridcell">{clock(event.at)}</span>
        <span class="cell kind" role="gridcell"><EventKind event={event} /></span>
        <span class="cell who" role="gridcell" title={event.who}>{shortName(event.who)}</span>
        <span class="cell text" role="gridcell"><code>{eventText(event).slice(0, 300)}</code></span>
      </>,
    }
  }, [events, version, chosen])
  return (
    <VirtualList
      id="events" label="Events" role="grid" count={events.length} rowHeight={26} chosen={follows ? -1 : at}
      follows={follows} row={row} empty={empty}
      onChoose={(place) => {
        if (follows) onScrolledUp?.()
        setAt(place)
      }}
      onOpen={(place) => { go(eventLink(events[place].id)) }}
      onPress={() => { if (follows) onScrolledUp?.() }}
      onEnd={(isAtEnd) => { if (!isAtEnd && follows) onScrolledUp?.() }}
    />
  )
}
