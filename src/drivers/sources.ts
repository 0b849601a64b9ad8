/**
 * Event sources that most programs need: signals, lines of a stream, events of an emitter, async
 * iterables. Subscribe to `[source, _]` in the ground VM, or in a nested VM with an event-relay.
 */
import type { EventEmitter } from 'node:events'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { argumentError } from '../support/errors.js'
import { eventSource, type EventSource } from '../vm/index.js'
import { eof, type Eof } from './tcp-records.js'

/**
 * A signal of the operating system. While it is subscribed to, the signal does nothing else.
 *
 * @param name as in `process.on`: 'SIGINT', 'SIGTERM', ...; it is also what the source fires
 */
export function signalSource(name: NodeJS.Signals): EventSource<NodeJS.Signals> {
  if (typeof name !== 'string' || !name.startsWith('SIG')) {
    throw argumentError('signalSource', 'name', "a signal's name", name)
  }
  return emitterSource(process, name, () => name)
}

/**
 * The lines of a stream, line ends stripped (LF, CRLF, CR); then `eof`.
 * Nothing is read before somebody subscribes, and no more once nobody does.
 *
 * @param stream default: standard input
 */
export function lineSource(stream: Readable = process.stdin): EventSource<string | Eof> {
  if (typeof (stream as Partial<Readable> | null)?.on !== 'function') {
    throw argumentError('lineSource', 'stream', 'a readable stream', stream)
  }
  return eventSource<string | Eof>('lines', (sink) => {
    const lines = createInterface({ input: stream, crlfDelay: Infinity })
    lines.on('line', (line) => {
      sink.fire(line)
    })
    lines.on('close', () => {
      sink.fire(eof)
    })
    return () => {
      lines.removeAllListeners()
      lines.close()
      stream.pause()
    }
  })
}

/**
 * The events of an emitter.
 *
 * @param map what to fire, from the event's arguments; default: the first one
 */
export function emitterSource<T = unknown>(
  emitter: EventEmitter,
  event: string | symbol,
  map: (...args: never[]) => T = (first?: T) => first as T,
): EventSource<T> {
  if (typeof (emitter as Partial<EventEmitter> | null)?.on !== 'function') {
    throw argumentError('emitterSource', 'emitter', 'an EventEmitter', emitter)
  }
  return eventSource<T>(String(event), (sink) => {
    const listener = (...args: unknown[]): void => {
      sink.fire((map as (...args: unknown[]) => T)(...args))
    }
    emitter.on(event, listener)
    return () => {
      emitter.off(event, listener)
    }
  })
}

/**
 * The values of an async iterable, then `eof`. An error ends it: it is fired like a value.
 * It is iterated once: after the last subscriber has gone it is closed, and fires nothing more.
 */
export function iterableSource<T>(iterable: AsyncIterable<T>): EventSource<T | Eof | Error> {
  if (typeof (iterable as Partial<AsyncIterable<T>> | null)?.[Symbol.asyncIterator] !== 'function') {
    throw argumentError('iterableSource', 'iterable', 'an async iterable', iterable)
  }
  return eventSource<T | Eof | Error>('iterable', (sink) => {
    const iterator = iterable[Symbol.asyncIterator]()
    let released = false
    const pump = async (): Promise<void> => {
      for (;;) {
        const next = await iterator.next()
        if (released) return
        sink.fire(next.done === true ? eof : next.value)
        if (next.done === true) return
      }
    }
    pump().catch((error: unknown) => {
      sink.fire(error instanceof Error ? error : new Error(String(error)))
    })
    return () => {
      released = true
      void iterator.return?.()
    }
  })
}
