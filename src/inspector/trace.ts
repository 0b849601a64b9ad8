/** Owns the form of a trace's file: `{ version, events, recording }`. */
import type { Inspection } from './inspection.js'
import { eventView } from './views.js'

/** Number of the protocol, and of traces; it changes when a client of before would be misled. */
export const PROTOCOL = 1

/**
 * All events that are kept, and what is needed to replay them. Who has something redacted shows no recording, as that
 * has all values.
 */
export function traceOf({ recorder, redact, ring }: Inspection): object {
  return {
    version: PROTOCOL, events: [...ring.from()].map(eventView),
    ...recorder === undefined || redact !== undefined ? {} : { recording: recorder.recording() },
  }
}
