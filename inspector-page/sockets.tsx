/**
 * Sockets: what the TCP drivers listen on, their connections, and of one of them everything that the kernel knows, with
 * charts of the last minutes.
 *
 * Owns the samples of the charts. The program is asked only while this is on the screen: it keeps nothing for it.
 */
import type { VNode } from 'preact'
import { useMemo, useRef, useState } from 'preact/hooks'
import type { ListenerRow, SocketRow } from '../src/inspector/shown.js'
import { onSend } from './form.js'
import { model, useModel } from './model.js'
import { usePolled } from './polled.js'
import { bytes, duration, milliseconds, number } from './text.js'
import { Section } from './value.js'
import { VirtualList } from './virtual-list.js'

interface Answer {
  readonly sockets: readonly SocketRow[]
  readonly listeners: readonly ListenerRow[]
  readonly left: number
}

/** What was known of a socket at one time. */
interface Sample {
  readonly at: number
  readonly received: number
  readonly sent: number
  readonly roundTrip: number
  readonly queued: number
  /** Bytes a second since the sample before. */
  readonly inward: number
  readonly outward: number
}

/** Samples of a socket: two minutes. */
const SAMPLES = 120

/** By the sockets' numbers; they outlast a look at another view. */
let samples = new Map<number, Sample[]>()

type Column = 'name' | 'in' | 'out' | 'queued' | 'trip' | 'again' | 'last'

const COLUMNS: readonly { readonly id: Column, readonly title: string, readonly tip: string }[] = [
  { id: 'name', title: 'Connection', tip: 'The peer, and this side' },
  { id: 'in', title: 'In', tip: 'Bytes that came in the last second' },
  { id: 'out', title: 'Out', tip: 'Bytes that the peer has confirmed in the last second' },
  { id: 'queued', title: 'Queue', tip: 'Bytes that the kernel has not taken yet' },
  { id: 'trip', title: 'Round trip', tip: 'As the kernel has measured it' },
  { id: 'again', title: 'Resent', tip: 'Segments that were sent again' },
  { id: 'last', title: 'Last byte', tip: 'Since data came or was sent' },
]

function take(answer: Answer): void {
  const at = performance.now()
  const next = new Map<number, Sample[]>()
  for (const { socket, tcp, queued } of answer.sockets) {
    const known = samples.get(socket) ?? []
    const before = known.at(-1)
    const seconds = before === undefined ? 0 : (at - before.at) / 1000
    const received = tcp?.bytesReceived ?? 0
    const sent = tcp?.bytesAcknowledged ?? 0
    const rate = (now: number, then = 0): number => seconds <= 0 ? 0 : Math.max(0, now - then) / seconds
    next.set(socket, [...known.slice(-SAMPLES + 1), {
      at, received, sent, queued, roundTrip: (tcp?.roundTrip ?? 0) / 1000,
      inward: rate(received, before?.received), outward: rate(sent, before?.sent),
    }])
  }
  samples = next
}

const lastOf = ({ socket }: SocketRow): Sample | undefined => samples.get(socket)?.at(-1)
const silence = ({ tcp }: SocketRow): number => tcp === undefined ? -1 : Math.min(tcp.sinceReceived, tcp.sinceSent)

const KEYS: Readonly<Record<Exclude<Column, 'name'>, (row: SocketRow) => number>> = {
  in: (row) => lastOf(row)?.inward ?? 0, out: (row) => lastOf(row)?.outward ?? 0, queued: (row) => row.queued,
  trip: (row) => row.tcp?.roundTrip ?? -1, again: (row) => row.tcp?.retransmits ?? -1, last: silence,
}

export function Sockets(): VNode {
  const { answer, error } = usePolled<Answer>('sockets', take)
  const [column, setColumn] = useState<Column>('name')
  const [chosen, setChosen] = useState(0)
  const rows = useMemo(() => {
    const all = [...answer?.sockets ?? []]
    const order = column === 'name' ? undefined : KEYS[column]
    return all.sort((a, b) => order === undefined ? a.socket - b.socket : order(b) - order(a))
  }, [answer, column])
  const open = rows.find(({ socket }) => socket === chosen)
  return (
    <div class="view sockets">
      <section class="panel table-panel">
        <div class="panel-head">
          <h2>Connections</h2>
          <span class="dim count" role="status">
            {error === '' ? answer === undefined ? 'Asking the program…' : number(rows.length + answer.left) : error}
          </span>
          <Listeners listeners={answer?.listeners ?? []} />
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
          id="sockets" label="Connections" role="grid" count={rows.length} rowHeight={30} keepsPlace
          chosen={rows.findIndex(({ socket }) => socket === chosen)}
          onChoose={(place) => { setChosen(rows[place]?.socket ?? 0) }}
          onOpen={(place) => { setChosen(rows[place]?.socket ?? 0) }}
          empty="No TCP driver has a connection."
          row={(place) => ({ props: { class: '' }, children: <Cells row={rows[place]} /> })}
        />
        {(answer?.left ?? 0) > 0 ? <p class="dim">and {number(answer?.left ?? 0)} more, of which less waits</p> : null}
      </section>
      {open === undefined
        ? <p class="dim hint">{rows.length === 0 ? '' : 'Choose a connection to see what the kernel knows of it.'}</p>
        : <Facts row={open} key={open.socket} />}
    </div>
  )
}

function Cells({ row }: { readonly row: SocketRow }): VNode {
  const { tcp, held, queued, accepted } = row
  const sample = lastOf(row)
  const rate = (value: number | undefined): string => tcp === undefined ? '–' : `${bytes(value ?? 0)}/s`
  return (
    <>
      <span class="cell name" role="gridcell">
        <span class="kind vm" title={accepted ? 'A listener has accepted it' : 'This program has connected'}>
          {accepted ? 'in' : 'out'}</span>
        <span class="title">{row.remote === '' ? 'connecting…' : row.remote}
          <span class="dim"> {row.name === '' ? row.local : row.name}</span></span>
        {held.map((why) => <span class="tag warn" key={why}>{why === 'paused' ? why : `waits: ${why}`}</span>)}
      </span>
      <span class="cell in" role="gridcell">{rate(sample?.inward)}</span>
      <span class="cell out" role="gridcell">{rate(sample?.outward)}</span>
      <span class={`cell queued ${queued > 65_536 ? 'bad' : ''}`} role="gridcell">{bytes(queued)}</span>
      <span class="cell trip" role="gridcell">{tcp === undefined ? '–' : milliseconds(tcp.roundTrip / 1000)}</span>
      <span class={`cell again ${(tcp?.retransmits ?? 0) > 0 ? 'bad' : ''}`} role="gridcell">
        {tcp === undefined ? '–' : number(tcp.retransmits)}</span>
      <span class="cell last" role="gridcell">{tcp === undefined ? '–' : duration(silence(row))}</span>
    </>
  )
}

function Listeners({ listeners }: { readonly listeners: readonly ListenerRow[] }): VNode | null {
  if (listeners.length === 0) return null
  return (
    <span class="listeners">
      {listeners.slice(0, 8).map(({ name, address }) => (
        <span class="tag good" key={name} title={`Listens on ${address}`}>{name}</span>
      ))}
      {listeners.length > 8 ? <span class="dim">and {listeners.length - 8} more</span> : null}
    </span>
  )
}

function Facts({ row }: { readonly row: SocketRow }): VNode {
  const { canAct, hello } = useModel()
  const { tcp } = row
  const known = samples.get(row.socket) ?? []
  return (
    <Section title={`${row.remote} – ${row.local}`} more={hello?.readOnly === true ? undefined
      : <Close disabled={!canAct} onClose={(reason) =>
        model.act('close', { socket: row.socket, ...reason === '' ? {} : { reason } })} />}>
      <div class="charts">
        <Chart title="In" values={known.map(({ inward }) => inward)} text={(value) => `${bytes(value)}/s`} />
        <Chart title="Out" values={known.map(({ outward }) => outward)} text={(value) => `${bytes(value)}/s`} />
        <Chart title="Round trip" values={known.map(({ roundTrip }) => roundTrip)} text={milliseconds} />
        <Chart title="Queue" values={known.map(({ queued }) => queued)} text={bytes} />
      </div>
      {tcp === undefined
        ? <p class="dim">The kernel tells of TCP connections of the native transport, and of no others.</p>
        : <dl class="facts wide">
          <dt>Received</dt><dd>{bytes(tcp.bytesReceived)}</dd>
          <dt>Confirmed</dt><dd>{bytes(tcp.bytesAcknowledged)} of {bytes(tcp.bytesSent)} sent</dd>
          <dt>In the kernel, unsent</dt><dd>{bytes(tcp.bytesUnsent)}</dd>
          <dt>Round trip</dt><dd>{milliseconds(tcp.roundTrip / 1000)}, ± {milliseconds(tcp.roundTripVariance / 1000)
          }, at least {milliseconds(tcp.lowestRoundTrip / 1000)}</dd>
          <dt>Sent again</dt><dd class={tcp.retransmits > 0 ? 'bad' : ''}>{number(tcp.retransmits)} segments</dd>
          <dt>On their way</dt><dd>{number(tcp.unacknowledged)} of {number(tcp.congestionWindow)} segments, {
            number(tcp.lost)} lost</dd>
          <dt>Segment</dt><dd>{bytes(tcp.segmentSize)}</dd>
          <dt>Lately</dt><dd>{bytes(tcp.deliveryRate)}/s delivered</dd>
          <dt>Last came</dt><dd>{duration(tcp.sinceReceived)} ago</dd>
          <dt>Last sent</dt><dd>{duration(tcp.sinceSent)} ago</dd>
          <dt>Reading</dt><dd>{row.held.length === 0 ? 'goes on' : `waits: ${row.held.join(', ')}`}</dd>
          <dt>Transport</dt><dd>{row.transport}</dd>
        </dl>}
    </Section>
  )
}

/** The last two minutes, and the largest and the newest value. */
function Chart({ title, values, text }: {
  readonly title: string, readonly values: readonly number[], readonly text: (value: number) => string
}): VNode {
  const most = Math.max(...values, 0)
  const points = values.map((value, at) =>
    `${(SAMPLES - values.length + at) * 2},${most === 0 ? 46 : 46 - value / most * 44}`).join(' ')
  const newest = text(values.at(-1) ?? 0)
  return (
    <figure class="chart-of">
      <figcaption>{title} <b>{newest}</b> <span class="dim">at most {text(most)}</span></figcaption>
      <svg viewBox={`0 0 ${SAMPLES * 2} 48`} preserveAspectRatio="none" role="img"
        aria-label={`${title} in the last two minutes: now ${newest}, at most ${text(most)}`}>
        <polyline points={points} vector-effect="non-scaling-stroke" />
      </svg>
    </figure>
  )
}

function Close({ disabled, onClose }: {
  readonly disabled: boolean, readonly onClose: (reason: string) => Promise<unknown>
}): VNode {
  const dialog = useRef<HTMLDialogElement>(null)
  const [reason, setReason] = useState('')
  return (
    <div class="buttons">
      <button type="button" class="danger" disabled={disabled} onClick={() => { dialog.current?.showModal() }}>
        Close it…</button>
      <dialog ref={dialog} aria-label="Close the connection">
        <form onSubmit={onSend(async () => {
          dialog.current?.close()
          await onClose(reason)
        })}>
          <label class="field text">
            <span class="label">Reason, which the program hears with its absence</span>
            <input type="text" name="reason" value={reason}
              onInput={({ currentTarget }) => { setReason(currentTarget.value) }} />
          </label>
          <div class="buttons">
            <button type="submit" class="danger">Close it</button>
            <button type="button" onClick={() => { dialog.current?.close() }}>Leave it</button>
          </div>
        </form>
      </dialog>
    </div>
  )
}
