/**
 * Event sources that most programs need: signals, lines of a stream, events of an emitter, async
 * iterables, ticks. Subscribe to `[source, _]` in the ground VM, or in a nested VM with an event-relay.
 */
import type { EventEmitter } from 'node:events'
import { constants } from 'node:os'
import { createInterface } from 'node:readline'
import type { Readable } from 'node:stream'
import { atOnce } from '../support/answers.js'
import { argumentError, isError, rangeError, show } from '../support/errors.js'
import { log } from '../support/log.js'
import { eventSource, type EventSource } from '../vm/index.js'
import { eof, type Eof } from './tcp-records.js'

/** The longest delay that Node's timers take: 2^31 - 1 ms. */
const TIMEOUT_MAX = 0x7fffffff

/** Whether it has what is called of it. */
function hasMethods<T>(value: unknown, ...names: readonly (keyof T)[]): value is T {
  return names.every((name) => typeof (value as Partial<T> | null | undefined)?.[name] === 'function')
}

/**
 * A signal of the operating system. While it is subscribed to, the signal does nothing else.
 *
 * @param name as in `process.on`: 'SIGINT', 'SIGTERM', ...; it is also what the source fires
 */
export function signalSource(name: NodeJS.Signals): EventSource<NodeJS.Signals> {
  if (typeof name !== 'string' || !Object.hasOwn(constants.signals, name)) {
    throw argumentError('signalSource', 'name', "a signal's name", name)
  }
  if (name === 'SIGKILL' || name === 'SIGSTOP') {
    throw argumentError('signalSource', 'name', 'a signal that a program can hear', name)
  }
  return emitterSource(process, name, () => name)
}

/**
 * The lines of a stream, line ends stripped (LF, CRLF, CR); then `eof`. An error of the stream is fired
 * before that.
 * Nothing is read before somebody subscribes, and no more once nobody does.
 *
 * @param stream default: standard input
 * @throws TypeError when it is not a readable stream
 */
export function lineSource(stream?: Readable): EventSource<string | Eof | Error>
// What is given as `undefined` is a mistake, and not standard input.
export function lineSource(...given: [stream?: Readable]): EventSource<string | Eof | Error> {
  const stream = given.length === 0 ? process.stdin : given[0] as Readable
  if (!hasMethods<Readable>(stream, 'on', 'off', 'pause', 'resume')) {
    throw argumentError('lineSource', 'stream', 'a readable stream', stream)
  }
  return eventSource<string | Eof | Error>('lines', (sink) => {
    const lines = createInterface({ input: stream, crlfDelay: Infinity })
    lines.on('line', (line) => {
      sink.fire(line)
    })
    lines.on('close', () => {
      sink.fire(eof)
    })
    // Newer versions of Node pass the stream's error on to the interface.
    let failure: Error | undefined
    const failed = (error: Error): void => {
      if (failure === undefined) sink.fire(error)
      failure = error
      lines.close()
    }
    stream.on('error', failed)
    lines.on('error', failed)
    return () => {
      stream.off('error', failed)
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
  if (!hasMethods<EventEmitter>(emitter, 'on', 'off')) {
    throw argumentError('emitterSource', 'emitter', 'an EventEmitter', emitter)
  }
  if (typeof event !== 'string' && typeof event !== 'symbol') {
    throw argumentError('emitterSource', 'event', "an event's name", event)
  }
  if (typeof map !== 'function') throw argumentError('emitterSource', 'map', 'a function', map)
  return eventSource<T>(String(event), (sink) => {
    const listener = (...args: unknown[]): void => {
      let value: T
      try {
        value = (map as (...args: unknown[]) => T)(...args)
        // One that was emitted is the emitter's.
        if (!args.includes(value)) atOnce('emitterSource', 'map()', value)
      } catch (error) {
        // A failure in the VM must not be thrown at the code that emits the event.
        log('error', `the map of an emitterSource for ${String(event)} failed`, { reason: error })
        return
      }
      sink.fire(value)
    }
    emitter.on(event, listener)
    return () => {
      emitter.off(event, listener)
    }
  })
}

/**
 * The values of an async iterable, then `eof`. An error ends it: it is fired like a value.
 * It is iterated once: after the last subscriber has gone it is closed, and a later one gets `eof`.
 */
export function iterableSource<T>(iterable: AsyncIterable<T>): EventSource<T | Eof | Error> {
  if (typeof (iterable as Partial<AsyncIterable<T>> | null)?.[Symbol.asyncIterator] !== 'function') {
    throw argumentError('iterableSource', 'iterable', 'an async iterable', iterable)
  }
  let used = false
  return eventSource<T | Eof | Error>('iterable', (sink) => {
    if (used) {
      sink.fire(eof)
      return undefined
    }
    used = true
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
      const text = (): string => typeof error === 'string' ? error : `the iterable failed: ${show(error)}`
      sink.fire(isError(error) ? error : new Error(text(), { cause: error }))
    })
    return () => {
      released = true
      const close = async (): Promise<void> => {
        try {
          await iterator.return?.()
        } catch (error) {
          log('warning', 'an async iterable failed when it was closed', { reason: error })
        }
      }
      void close()
    }
  })
}

/**
 * Ticks at equal intervals by the monotonic clock: the number of each, from 1. Number n is due n times `msecs`
 * after the first subscriber came, so what one is late by does not add up. When the event loop was busy for
 * longer than an interval, the ticks that it missed are left out, and the number of the next one says so.
 *
 * @param msecs milliseconds, 1 or more; fractions count
 * @throws TypeError or RangeError when it is something else
 */
export function every(msecs: number): EventSource<number> {
  const expected = 'a number of milliseconds, 1 or more'
  if (typeof msecs !== 'number') throw argumentError('every', 'msecs', expected, msecs)
  if (!(msecs >= 1 && msecs < Infinity)) throw rangeError('every', 'msecs', expected, msecs)
  return eventSource<number>(`every ${msecs} ms`, (sink) => {
    const start = performance.now()
    let last = 0
    let timer: NodeJS.Timeout
    const arm = (): void => {
      const delay = start + (last + 1) * msecs - performance.now()
      timer = setTimeout(tick, Math.min(TIMEOUT_MAX, Math.max(1, Math.ceil(delay))))
    }
    const tick = (): void => {
      // Node's timers may be early by a part of a millisecond, and are set again for longer intervals.
      const due = Math.floor((performance.now() - start) / msecs)
      if (due > last) {
        last = due
        arm()
        sink.fire(due)
      } else {
        arm()
      }
    }
    arm()
    return () => { clearTimeout(timer) }
  })
}
