/** Topics and messages: what the rest of the project uses of this folder. */
export {
  defineCheckedRecord, defineInstancedRecord, defineRecord, instanceOf, kindNamed, knownRecords, makeRecord,
  RecordBase, recordNamed, withInstance,
  type RecordFrom, type RecordKind, type RecordOf, type RecordType,
} from './record.js'
export { _, ANY_INSTANCE, CANONICAL_MAX, instanceNumber, instanceWild, wild, Wildcard } from './wildcard.js'
export { sharedName, sharedSymbol, shareSymbol } from './shared-symbol.js'
export { equal, isCompound, isGround, mapParts, part, rebuild, size } from './value.js'
export { mapKey } from './structural-key.js'
export { examine, isLinear, snapshot } from './examine.js'
export { topicLimits, type TopicLimits } from './limits.js'
export { canonical, isSpecialization, meet, meetExamined, NO_MEETING, sameTopic } from './meet.js'
export { AtomTable } from './atom.js'
export { KeyTable } from './key-table.js'
export { RoutingIndex, type IndexEntry } from './routing-index.js'
