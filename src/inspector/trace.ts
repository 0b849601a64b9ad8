/** Owns the form of a trace's file: `{ version, events, recording }`. */
import type { Inspection } from './inspection.js'
import type { Recorder } from './recording.js'
import { eventView } from './views.js'

/** Number of the protocol, and of traces; it changes when a client of before would be misled. */
export const PROTOCOL = 1

/**
 * All events that are kept, and what is needed to replay them. Who has something redacted shows no recording, as that
 * has all values.
 */
export function traceOf(inspection: Inspection): object {
  const { recorder, redact } = inspection
  return {
    ...eventsOf(inspection),
    ...recorder === undefined || redact !== undefined ? {} : { recording: recorder.recording() },
  }
}

/** The same with the recording, as JSON: for the file that was asked for. */
export function recordedTrace(inspection: Inspection, recorder: Recorder): string {
  return `${JSON.stringify(eventsOf(inspection)).slice(0, -1)},"recording":${recorder.json()}}`
}

function eventsOf(inspection: Inspection): object {
  return { version: PROTOCOL, events: [...inspection.ring.from()].map((event) => eventView(inspection, event)) }
}
