/** Topics and messages: what the rest of the project uses of this folder. */
export {
  defineInstancedRecord, defineRecord, RecordBase, withInstance,
  type RecordFrom, type RecordOf, type RecordType,
} from './record.js'
export { _, wild, Wildcard } from './wildcard.js'
export { equal, isCompound, isGround, mapKey, part, size, snapshot } from './value.js'
export { canonical, isLinear, isSpecialization, meet, NO_MEETING, sameTopic } from './meet.js'
export { AtomTable } from './atom.js'
export { RoutingIndex, type IndexEntry } from './routing-index.js'
