/**
 * What clients are shown, and how it reads as text: used by the server and by the page in a browser.
 *
 * Owns the form of previews, processes, endpoints and events, and what can be told of events alone: as one line, as a
 * diagram. It imports nothing, as it runs in browsers, too.
 */

/** A value as JSON. */
export type Preview = string | number | boolean | null | readonly Preview[] | PreviewObject

/** What is no JSON value itself. */
export interface PreviewObject {
  /** What it is. */
  readonly $: string
  readonly [field: string]: unknown
}

/** A process in a table. */
export interface ProcessRow {
  /** Pids from the outside in. */
  readonly path: string
  readonly name: string
  readonly kind: 'process' | 'vm' | 'driver'
  /** The VM that it is in, by the path of its process; '' is the ground VM. */
  readonly vm: string
  /** The process that has started it; '' if that is not known. */
  readonly parent: string
  readonly endpoints: number
  /** Actions that wait for its turn. */
  readonly queue: number
  /** Promises and other things that it waits for, those of processes inside included. */
  readonly pending: number
  readonly turns: number
  readonly messages: number
  readonly presences: number
  readonly absences: number
  readonly sent: number
  readonly failures: number
  /** Milliseconds in handlers while somebody recorded, or measured. */
  readonly handlerMs: number
  /** Milliseconds since it was started, or since somebody looks. */
  readonly age: number
  /** Events that wait for it, if it is paused; -1 if it isn't. */
  readonly held: number
}

/** A connection of a TCP driver. */
export interface SocketRow {
  /** Its number. */
  readonly socket: number
  /** 'native' or 'node'. */
  readonly transport: string
  /** Whether a listener has accepted it; otherwise this program has connected, or tries to. */
  readonly accepted: boolean
  readonly local: string
  /** '' until it is known. */
  readonly remote: string
  /** Its ends as they stand in topics; '' if it is not a conversation yet. */
  readonly name: string
  /** Bytes that the kernel has not taken yet. */
  readonly queued: number
  /** Why nothing is read of it at present. */
  readonly held: readonly string[]
  /** What the kernel knows; none on the node transport, and of Unix sockets. */
  readonly tcp?: TcpFacts
}

/** What the kernel knows of a TCP connection. Times are microseconds, but for those since a byte: milliseconds. */
export interface TcpFacts {
  readonly roundTrip: number
  readonly roundTripVariance: number
  readonly lowestRoundTrip: number
  /** Segments that were sent again, in all. */
  readonly retransmits: number
  /** Segments that seem to be lost, that are on their way, and that may be. */
  readonly lost: number
  readonly unacknowledged: number
  readonly congestionWindow: number
  readonly segmentSize: number
  readonly bytesSent: number
  readonly bytesAcknowledged: number
  readonly bytesReceived: number
  readonly bytesUnsent: number
  readonly sinceSent: number
  readonly sinceReceived: number
  /** Bytes a second that have reached the peer, lately. */
  readonly deliveryRate: number
}

/** A listener of a TCP driver. */
export interface ListenerRow {
  /** As it stands in topics. */
  readonly name: string
  readonly address: string
  readonly transport: string
}

/** A worker of `serve`. */
export interface WorkerRow {
  /** The name of that `serve`. */
  readonly serve: string
  /** Its place. */
  readonly worker: number
  /** Its name, by which it can be looked into. */
  readonly node: string
  readonly state: 'starting' | 'ready' | 'draining' | 'ended'
  /** Connections that it has from shared listeners. */
  readonly connections: number
  /** What it has counted, under the names of a transport's metrics; only of one that is ready. */
  readonly counted?: Readonly<Record<string, number>>
}

/** Another node, as a relay knows it. */
export interface NodeRow {
  /** The name of this node, as that relay has it. */
  readonly relay: string
  readonly node: string
  /** Whether all its endpoints are here. */
  readonly up: boolean
  /** Milliseconds since it was heard. */
  readonly silentMs: number
  /** Bytes for it that it has not confirmed. */
  readonly queuedBytes: number
  readonly endpoints: number
  /** How often packets from it or to it were lost. */
  readonly gaps: number
}

/** An endpoint among others: whose it is, and what it is. */
export interface EndpointOf {
  readonly path: string
  readonly who: string
  readonly orientation: 'publisher' | 'subscriber'
  readonly interest: string
  readonly topic: Preview
  /** As it is written. */
  readonly text: string
  /** Whether it handles messages. */
  readonly hears: boolean
}

/** An endpoint as its process's page shows it. */
export interface EndpointView {
  readonly name: Preview
  /** How many VMs further out. */
  readonly level: number
  readonly orientation: 'publisher' | 'subscriber'
  readonly interest: string
  readonly topic: Preview
  /** As it is written. */
  readonly text: string
  /** Which events it handles. */
  readonly handlers: readonly string[]
  readonly peers: number
  /** The first of them. */
  readonly peerList: readonly EndpointOf[]
}

/** An event as others see it. */
export interface EventView {
  readonly id: number
  readonly turn: number
  /** The event that has caused it; 0 if it came from outside, or is not known. */
  readonly cause: number
  readonly kind: 'message' | 'presence' | 'absence'
  /** The process that heard it. */
  readonly path: string
  readonly who: string
  /** The topic of its endpoint. */
  readonly text: string
  /** The event source that it came from, if it came from outside. */
  readonly source?: string
  /* What is known of it if somebody recorded. */
  /** When, in milliseconds of `performance.now()`. */
  readonly at?: number
  readonly subject?: Preview | undefined
  readonly reason?: Preview | undefined
  readonly state?: Preview | undefined
  readonly error?: Preview | undefined
}

/** The processes that took part in events, as a sequence diagram in Mermaid's language. */
export function mermaid(events: readonly EventView[]): string {
  const { actors, arrows } = sequenceOf(events)
  return [
    'sequenceDiagram',
    ...actors.map((who, at) => `  participant p${at} as ${plain(who)}`),
    ...arrows.map(({ from, to, event }) => {
      const arrow = event.kind === 'message' ? '->>' : event.kind === 'presence' ? '-->>' : '--x'
      return `  p${from}${arrow}p${to}: ${plain(eventText(event))}`
    }),
  ].join('\n') + '\n'
}

/** An event's way from the process that has caused it to the one that heard it, by their places. */
export interface Arrow {
  readonly from: number
  readonly to: number
  readonly event: EventView
}

/** Who took part in events, in the order in which they did, and what went from whom to whom. */
export function sequenceOf(events: readonly EventView[]): { readonly actors: string[], readonly arrows: Arrow[] } {
  const places = new Map<string, number>()
  const actors: string[] = []
  const placeOf = (key: string, who: string): number => {
    let place = places.get(key)
    if (place === undefined) {
      place = actors.push(who) - 1
      places.set(key, place)
    }
    return place
  }
  const byId = new Map(events.map((event) => [event.id, event]))
  const arrows = events.map((event) => {
    const cause = byId.get(event.cause)
    const from = cause !== undefined ? placeOf(cause.path, cause.who)
      : placeOf(`source ${event.source ?? ''}`, event.source === undefined ? 'outside' : `outside: ${event.source}`)
    return { from, to: placeOf(event.path, event.who), event }
  })
  return { actors, arrows }
}

/** What an event is about: what was said, if that was recorded, or else the topic of who heard it. */
export function eventText({ subject, text }: EventView): string {
  return subject === undefined ? text : previewText(subject)
}

/** Characters that mean something to Mermaid. */
function plain(text: string): string {
  const short = text.length > 80 ? `${text.slice(0, 77)}...` : text
  return short.replace(/[\n\r]/g, ' ').replace(/[#;:<>{}]/g, (at) => `#${at.charCodeAt(0)};`)
}

/** A preview as text, on one line. */
export function previewText(shown: Preview): string {
  if (shown === null || typeof shown !== 'object') return typeof shown === 'string' ? `'${shown}'` : String(shown)
  if (isList(shown)) return `[${shown.map(previewText).join(', ')}]`
  const values = (shown['values'] ?? shown['items'] ?? []) as Preview[]
  switch (shown.$) {
    case 'record':
      return `${String(shown['label'])}(${values.map(previewText).join(', ')}${
        shown['left'] === undefined ? '' : ', ...'})${
        typeof shown['instance'] === 'number' ? `#${shown['instance']}` : ''}`
    case 'array':
      return `[${values.map(previewText).join(', ')}, ... of ${String(shown['length'])}]`
    case 'bytes':
      return `bytes(${JSON.stringify(shown['text'] ?? '')}${Number(shown['length']) > 64 ? ', ...' : ''})`
    case 'string':
      return `'${String(shown['head'])}...'`
    case 'object':
      return `${typeof shown['class'] === 'string' ? `${shown['class']} ` : ''}{${
        (shown['entries'] as [string, Preview][]).map(([key, value]) => `${key}: ${previewText(value)}`).join(', ')}}`
    case 'error':
      return `${String(shown['name'])}: ${previewText(shown['message'] as Preview)}`
    case 'undefined': case '_':
      return shown.$
    case 'wildcard':
      return `?${String(shown['name'])}`
    case 'bigint':
      return `${String(shown['value'])}n`
    case 'symbol':
      return `Symbol(${String(shown['value'])})`
    case 'more':
      return `[${String(shown['of'])}]`
    default:
      return `<${shown.$}${typeof shown['value'] === 'string' ? ` ${shown['value']}` : ''}${
        typeof shown['name'] === 'string' ? ` ${shown['name']}` : ''}>`
  }
}

export function isList(shown: Preview): shown is readonly Preview[] {
  return Array.isArray(shown)
}
