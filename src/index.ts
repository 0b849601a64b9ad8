/**
 * The public face of marketplace-native. What is exported here is documented; nothing else is public.
 *
 * Topics and messages, processes and their actions, the ground VM and its event sources; then the
 * drivers.
 */
export {
  _,
  canonical,
  defineRecord,
  isGround,
  isSpecialization,
  meet,
  NO_MEETING,
  wild,
  Wildcard,
  type RecordFrom,
  type RecordOf,
  type RecordType,
} from './topic/index.js'
export * from './vm/index.js'
export * from './dsl/index.js'
