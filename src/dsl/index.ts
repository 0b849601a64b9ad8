/** The comfortable way to write programs: what the rest of the project uses of this folder. */
export { answering, type AnsweringOptions } from './answering.js'
export { endpoint, type EndpointOptions } from './endpoint.js'
export type { Meeting, MessageOf } from './message-of.js'
export { sequence, type Step } from './sequence.js'
