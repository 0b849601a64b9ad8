/**
 * A transport's counters in the terms of others: OpenTelemetry's instruments, Prometheus' text format.
 *
 * Owns their names, units and meanings there. Invariants: a name keeps its unit and its meaning; what a
 * transport doesn't know has no point, rather than one that says 0.
 */
import { checkOptions, ofType } from '../../support/checks.js'
import { argumentError } from '../../support/errors.js'
import type { TransportMetrics } from './metrics.js'

/** One value of an instrument. */
export interface MetricPoint {
  /** What tells it from the instrument's other points. */
  readonly attributes: Readonly<Record<string, string>>
  /** Of a counter or an updowncounter, and the sum of a histogram. */
  readonly value: number
  /** Of a histogram: how many there were in each bucket, not cumulated; one more than `bounds`. */
  readonly buckets?: readonly number[]
}

/** An instrument as OpenTelemetry has them, and its values. */
export interface MetricInstrument {
  /** Dotted, as semantic conventions are: `marketplace.tcp.io`. */
  readonly name: string
  /** In UCUM's notation: `By`, `s`, `{connection}`. */
  readonly unit: string
  /** What is counted, in a sentence. */
  readonly description: string
  /** A counter only grows, and begins at 0 with the driver; an updowncounter says how many there are now. */
  readonly kind: 'counter' | 'updowncounter' | 'histogram'
  /** Of a histogram: the highest values of its buckets but the last. */
  readonly bounds?: readonly number[]
  /** Its values, told apart by attributes. */
  readonly points: readonly MetricPoint[]
}

const NANOSECONDS = 1e9

type Points = readonly (readonly [value: number | undefined, attributes?: Readonly<Record<string, string>>])[]

function instrument(
  kind: 'counter' | 'updowncounter', name: string, unit: string, description: string, points: Points,
): MetricInstrument {
  const known = points.flatMap(([value, attributes = {}]) =>
    value === undefined ? [] : [{ attributes, value }])
  return { name: `marketplace.tcp.${name}`, unit, description, kind, points: known }
}

const seconds = (nanoseconds: number | undefined): number | undefined =>
  nanoseconds === undefined ? undefined : nanoseconds / NANOSECONDS

/**
 * Counters as instruments of OpenTelemetry: for observable counters, or for an exporter of your own.
 *
 * @param metrics as `tcpEngine().metrics()` gives them
 * @throws TypeError for anything else
 */
export function metricInstruments(metrics: TransportMetrics): MetricInstrument[] {
  if (typeof metrics !== 'object' || metrics === null || !Array.isArray(metrics.batchSizes)) {
    throw argumentError('metricInstruments', 'metrics', 'what `metrics()` of an engine gives', metrics)
  }
  return [...ofConnections(metrics), ...ofBytes(metrics), ...ofTime(metrics)]
}

function ofConnections(m: TransportMetrics): MetricInstrument[] {
  const errors: Points = Object.entries(m.errors).map(([code, count]) => [count, { 'error.type': code }])
  return [
    instrument('updowncounter', 'connection.active', '{connection}', 'Connections that are open.', [
      [m.connections],
    ]),
    instrument('counter', 'connection.count', '{connection}', 'Connections that were established.', [
      [m.accepts, { 'network.connection.direction': 'inbound' }],
      [m.connects, { 'network.connection.direction': 'outbound' }],
    ]),
    instrument('counter', 'connection.dropped', '{connection}',
      'Connections that were reset because of a limit of their listener.', [[m.drops]]),
    instrument('counter', 'limit.count', '{event}', 'Times that a limit of a listener did something, by its name.',
      Object.entries(m.limited).map(([limit, count]) => [count, { limit }])),
    instrument('updowncounter', 'listener.paused', '{listener}',
      'Listeners that are paused because the event loop is late.', [[m.listenersPaused]]),
    instrument('counter', 'tls.handshakes', '{handshake}', 'TLS handshakes that are over.', [
      [m.tlsHandshakes, { outcome: 'success' }], [m.tlsFailures, { outcome: 'failure' }],
    ]),
    instrument('counter', 'errors', '{error}', 'Errors of sockets, by code.', errors),
  ]
}

function ofBytes(m: TransportMetrics): MetricInstrument[] {
  const direction = (of: string): Record<string, string> => ({ 'network.io.direction': of })
  return [
    instrument('counter', 'io', 'By', 'Bytes received from the kernel, and taken by it.', [
      [m.bytesIn, direction('receive')], [m.bytesOut, direction('transmit')],
    ]),
    instrument('counter', 'chunks', '{chunk}', 'Pieces in which they came and went.', [
      [m.chunksIn, direction('receive')], [m.chunksOut, direction('transmit')],
    ]),
    instrument('updowncounter', 'queued', 'By', 'Bytes that wait to be sent.', [[m.queuedBytes]]),
    instrument('updowncounter', 'slab.usage', 'By', 'Memory that is received into.', [
      [m.slabBytesFree, { state: 'free' }], [m.slabBytesPinned, { state: 'pinned' }],
      [m.slabBytesIdle, { state: 'idle' }],
    ]),
    instrument('counter', 'slab.stalls', '{stall}',
      'Times that reading stopped because maxSlabBytes were in use.', [[m.slabStalls]]),
  ]
}

function ofTime(m: TransportMetrics): MetricInstrument[] {
  // Element i counts batches of 2**i to 2**(i+1) - 1 events, the last one all bigger ones.
  const bounds = m.batchSizes.slice(0, -1).map((_count, i) => 2 ** (i + 1) - 1)
  return [
    instrument('counter', 'active_time', 's', 'Time at work: in system calls, in JavaScript.', [
      [seconds(m.kernelTime), { state: 'kernel' }], [seconds(m.jsTime), { state: 'javascript' }],
    ]),
    instrument('counter', 'open_time', 's', 'Time that the engine was open.', [[seconds(m.totalTime)]]),
    {
      name: 'marketplace.tcp.batch.size', unit: '{event}', kind: 'histogram', bounds,
      description: 'Events with which the program was called at a time.',
      points: [{ attributes: {}, value: m.events, buckets: m.batchSizes }],
    },
  ]
}

/** Options of `prometheusText`. */
export interface PrometheusOptions {
  /** Labels for every sample, such as `{ service: 'chat' }`. */
  readonly labels?: Readonly<Record<string, string>> | undefined
}

/**
 * Counters in Prometheus' text format 0.0.4, for the body of what is scraped, whose `content-type` is
 * `text/plain; version=0.0.4; charset=utf-8`. Names are as OpenTelemetry translates its own:
 * `marketplace_tcp_io_bytes_total{network_io_direction="receive"}`.
 *
 * @param metrics as `tcpEngine().metrics()` gives them
 * @throws TypeError when an argument is wrong
 */
export function prometheusText(metrics: TransportMetrics, options: PrometheusOptions = {}): string {
  checkOptions('prometheusText', options, { labels: ofType('object') }, 'options.')
  const labels = Object.entries(options.labels ?? {})
  for (const [name, value] of labels) {
    if (/^(?!__)[a-zA-Z_][a-zA-Z0-9_]*$/.test(name) && typeof value === 'string') continue
    throw argumentError('prometheusText', 'options.labels', 'strings by name of label', { [name]: value })
  }
  return metricInstruments(metrics).map((one) => familyOf(one, labels)).join('')
}

type Labels = readonly (readonly [name: string, value: string])[]

const UNITS: Readonly<Record<string, string>> = { By: '_bytes', s: '_seconds' }
const TYPES = { counter: 'counter', updowncounter: 'gauge', histogram: 'histogram' } as const

function familyOf(of: MetricInstrument, common: Labels): string {
  const { name, unit, description, kind, bounds, points } = of
  const total = kind === 'counter' ? '_total' : ''
  const family = `${name.replaceAll('.', '_')}${UNITS[unit] ?? ''}${total}`
  const lines = [`# HELP ${family} ${escaped(description, /[\\\n]/g)}`, `# TYPE ${family} ${TYPES[kind]}`]
  for (const { attributes, value, buckets } of points) {
    const own: Labels = Object.entries(attributes).map(([key, text]) => [key.replaceAll('.', '_'), text])
    const labels = [...common, ...own]
    if (buckets === undefined || bounds === undefined) {
      lines.push(sample(family, labels, value))
      continue
    }
    let count = 0
    buckets.forEach((inBucket, i) => {
      count += inBucket
      const le = i < bounds.length ? String(bounds[i]) : '+Inf'
      lines.push(sample(`${family}_bucket`, [...labels, ['le', le]], count))
    })
    lines.push(sample(`${family}_sum`, labels, value), sample(`${family}_count`, labels, count))
  }
  return `${lines.join('\n')}\n`
}

function sample(name: string, labels: Labels, value: number): string {
  const inside = labels.map(([key, text]) => `${key}="${escaped(text, /[\\\n"]/g)}"`).join(',')
  return `${name}${inside === '' ? '' : `{${inside}}`} ${value}`
}

function escaped(text: string, what: RegExp): string {
  return text.replace(what, (char) => (char === '\n' ? '\\n' : `\\${char}`))
}
