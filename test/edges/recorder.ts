/** Writes down what a connection reports, in order, and what it received. */
import type { Handlers } from '../support/transports.js'
import { deferred } from '../support/util.js'
import type { SocketError, TransportConnection } from '../../src/transport/seam/transport.js'

export interface Recorder {
  /** To be given to `listen` or `connect`; it is for one connection. */
  readonly handlers: Handlers
  /** 'accepted', 'data', 'end', 'closed ECONNRESET', ...; data that follows data is not repeated. */
  readonly events: readonly string[]
  /** Resolves with the connection when it is accepted or connected. */
  readonly opened: Promise<TransportConnection>
  /** Resolves when there is nothing more to come. */
  readonly closed: Promise<SocketError | undefined>
  /** What it has received. */
  text(): string
}

/** `also` is called for every event, after it was written down. */
export function recorder(also: Handlers = {}): Recorder {
  const events: string[] = []
  const chunks: Buffer[] = []
  const opened = deferred<TransportConnection>()
  const closed = deferred<SocketError | undefined>()
  const note = (event: string): void => {
    if (event !== 'data' || events.at(-1) !== 'data') events.push(event)
  }
  const handlers: Handlers = {
    accepted: (connection) => {
      note('accepted')
      also.accepted?.(connection)
      opened.resolve(connection)
    },
    connected: (connection) => {
      note('connected')
      also.connected?.(connection)
      opened.resolve(connection)
    },
    data: (connection, data) => {
      note('data')
      chunks.push(data)
      also.data?.(connection, data)
    },
    end: (connection) => {
      note('end')
      also.end?.(connection)
    },
    written: (connection, bytes) => {
      also.written?.(connection, bytes)
    },
    closed: (connection, error) => {
      note(error === undefined ? 'closed' : `closed ${error.code}`)
      also.closed?.(connection, error)
      closed.resolve(error)
    },
  }
  return {
    handlers, events, opened: opened.promise, closed: closed.promise,
    text: () => Buffer.concat(chunks).toString('latin1'),
  }
}
