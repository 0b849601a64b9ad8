/**
 * Looking into a running program: what the rest of the project uses of this folder. Whoever loads it has
 * `MARKETPLACE_INSPECT`, `MARKETPLACE_RECORD` and `MARKETPLACE_REPLAY` looked at.
 */
import { inspectAsAsked, inspectWorkers, recordAsAsked, replayAsAsked } from './inspector.js'

export { inspectGrounds, inspecting, inspector, type Inspecting, type InspectorOptions } from './inspector.js'
export type { Redact } from './preview.js'
export { OUTCOME, outcomeText, recordingIn, type Outcome, type Recording } from './recording-file.js'
export { previewText, type Preview } from './shown.js'

// Who inspects finds what is recorded, or replayed.
recordAsAsked()
inspectWorkers()
replayAsAsked()
inspectAsAsked()
