/** Metrics as others read them. The parser is written after Prometheus' exposition format 0.0.4. */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { metricInstruments, prometheusText, tcpEngine, type TransportMetrics } from 'marketplace-native'
import { missing } from '../support/util.js'

interface Family {
  readonly type: string
  readonly help: string
  readonly samples: Sample[]
}

interface Sample {
  readonly name: string
  readonly labels: Record<string, string>
  readonly value: number
}

/** Reads labels one by one, as a lexer does; a value may have escapes. */
function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {}
  const label = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\n"])*)"(,|$)/y
  while (label.lastIndex < text.length) {
    const at = label.lastIndex
    const match = label.exec(text)
    if (match === null) throw new Error(`no label at ${at} of ${text}`)
    if (match[1] in labels) throw new Error(`label ${match[1]} twice`)
    labels[match[1]] = match[2].replace(/\\(.)/g, (_all, char: string) => (char === 'n' ? '\n' : char))
  }
  return labels
}

function parse(text: string): Map<string, Family> {
  const families = new Map<string, Family>()
  let current: [string, Family] | undefined
  let help: [string, string] | undefined
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.slice(0, -1).split('\n')) {
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$/.exec(line)
    if (comment?.[1] === 'HELP') {
      help = [comment[2], comment[3]]
    } else if (comment !== null) {
      const [, , name, type] = comment
      if (help?.[0] !== name) throw new Error(`${name} has no help`)
      if (!['counter', 'gauge', 'histogram'].includes(type)) throw new Error(`unknown type ${type}`)
      if (families.has(name)) throw new Error(`${name} twice`)
      current = [name, { type, help: help[1], samples: [] }]
      families.set(...current)
    } else {
      const match = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
      if (match === null || current === undefined) throw new Error(`what is this: ${line}`)
      const [name, family] = current
      const suffix = match[1].slice(name.length)
      const allowed = family.type === 'histogram' ? ['_bucket', '_sum', '_count'] : ['']
      if (!match[1].startsWith(name) || !allowed.includes(suffix)) throw new Error(`${match[1]} in ${name}`)
      const value = Number(match[3])
      if (Number.isNaN(value)) throw new Error(`no number: ${match[3]}`)
      family.samples.push({ name: match[1], labels: labelsOf(match[2] ?? ''), value })
    }
  }
  return families
}

const metrics: TransportMetrics = {
  ...tcpEngine().metrics(),
  connections: 2, accepts: 5, connects: 1, drops: 3, bytesIn: 1000, bytesOut: 2 ** 60, queuedBytes: 7,
  batches: 6, events: 23, batchSizes: [1, 2, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  kernelTime: 1_500_000_000, jsTime: 250_000_000, totalTime: 4e9,
  errors: { ECONNRESET: 3, 'odd "\\\n code': 1 },
  limited: { ...tcpEngine().metrics().limited, acceptRate: 2, pauseAbove: 1 },
  listenersPaused: 1,
}

void t.test('Prometheus reads it', async (t) => {
  const families = parse(prometheusText(metrics, { labels: { service: 'chat "1"\\\n' } }))
  const service = 'chat "1"\\\n'
  const samples = (name: string) => families.get(name)?.samples.map(({ labels, value }) => {
    t.equal(labels['service'], service)
    const own: Record<string, unknown> = { ...labels }
    delete own['service']
    return [own, value]
  })
  t.strictSame(samples('marketplace_tcp_connection_active'), [[{}, 2]])
  t.strictSame(samples('marketplace_tcp_connection_count_total'), [
    [{ network_connection_direction: 'inbound' }, 5], [{ network_connection_direction: 'outbound' }, 1],
  ])
  t.strictSame(samples('marketplace_tcp_io_bytes_total'), [
    [{ network_io_direction: 'receive' }, 1000], [{ network_io_direction: 'transmit' }, 2 ** 60],
  ])
  t.strictSame(samples('marketplace_tcp_errors_total'), [
    [{ error_type: 'ECONNRESET' }, 3], [{ error_type: 'odd "\\\n code' }, 1],
  ])
  t.strictSame(samples('marketplace_tcp_limit_count_total')?.filter(([, value]) => value !== 0), [
    [{ limit: 'acceptRate' }, 2], [{ limit: 'pauseAbove' }, 1],
  ])
  t.strictSame(samples('marketplace_tcp_listener_paused'), [[{}, 1]])
  t.strictSame(samples('marketplace_tcp_active_time_seconds_total'), [
    [{ state: 'kernel' }, 1.5], [{ state: 'javascript' }, 0.25],
  ])
  t.equal(families.get('marketplace_tcp_queued_bytes')?.type, 'gauge')
  const sizes = families.get('marketplace_tcp_batch_size')
  t.equal(sizes?.type, 'histogram')
  const of = (suffix: string) => sizes?.samples.filter(({ name }) => name.endsWith(suffix)) ?? []
  t.strictSame(of('_bucket').slice(0, 5).map(({ labels, value }) => [labels['le'], value]), [
    ['1', 1], ['3', 3], ['7', 3], ['15', 6], ['31', 6],
  ], 'cumulated')
  t.match(of('_bucket').at(-1), { labels: { le: '+Inf' }, value: 6 })
  t.match([...of('_sum'), ...of('_count')], [{ value: 23 }, { value: 6 }])
})

void t.test('of an engine that has done nothing, and of the node transport', async (t) => {
  const families = parse(prometheusText(tcpEngine().metrics()))
  const times = families.get('marketplace_tcp_active_time_seconds_total')?.samples
  t.match(times, [{ labels: { state: 'javascript' } }])
  t.equal(times?.length, 1, 'what is not known has no sample')
  t.strictSame(families.get('marketplace_tcp_errors_total')?.samples, [])
  for (const [name, { help }] of families) t.match(help, /^[A-Z].*\.$/, name)
})

void t.test('promtool has nothing to complain about', { skip: missing('promtool') }, async (t) => {
  const { status, stderr } = spawnSync('promtool', ['check', 'metrics'], { input: prometheusText(metrics) })
  t.equal(status, 0, stderr.toString())
})

void t.test('instruments of OpenTelemetry', async (t) => {
  const instruments = metricInstruments(metrics)
  t.equal(new Set(instruments.map(({ name }) => name)).size, instruments.length)
  for (const { name, unit, kind, points, bounds } of instruments) {
    t.match(name, /^marketplace\.tcp\.[a-z_.]+$/)
    t.match(unit, /^(By|s|\{[a-z]+\})$/)
    t.equal(bounds !== undefined, kind === 'histogram')
    for (const { buckets } of points) t.equal(buckets?.length, bounds && bounds.length + 1)
  }
})

void t.test('wrong arguments', async (t) => {
  t.throws(() => prometheusText(5 as never), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => prometheusText({} as never), { message: /^metricInstruments: metrics must be what/ })
  t.throws(() => prometheusText(metrics, { labels: { 'a-b': 'x' } }), { message: /must be strings by name/ })
  t.throws(() => prometheusText(metrics, { labels: { __name__: 'x' } }), { message: /options.labels/ })
  t.throws(() => prometheusText(metrics, { label: {} } as never), { message: /did you mean 'labels'/ })
})
