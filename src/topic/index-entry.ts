/** What a routing index holds, and what it keeps there for itself. Owns nothing. */
import type { Atom } from './atom.js'

/** What an index holds. The fields beside `topic`, `linear` and `receives` belong to the index. */
export interface IndexEntry {
  readonly topic: unknown
  /** Whether no wildcard stands twice in the topic. */
  readonly linear: boolean
  /** Whether messages are to find it. Changes only through the index. */
  receives: boolean
  /** Whether only messages that are instances of the topic are to find it. */
  readonly exact?: boolean
  /** The `Shape` that it is in. @internal */
  shape: object | undefined
  /** Its own among all of its shape, and positive. @internal */
  number: number
  /** Position in its shape's list, and in its bucket of the message table. @internal */
  place: number
  bucketPlace: number
  /** Atoms of its keys, held while it is in the index: up to two in fields, more in a list. @internal */
  atom0: Atom | undefined
  atom1: Atom | undefined
  moreAtoms: readonly Atom[] | undefined
}

/** The atoms of an entry's keys, of which there are at least two; `ids` is filled with them from index 0 on. */
export function putIds(entry: IndexEntry, ids: number[]): void {
  const { atom0, atom1, moreAtoms } = entry
  if (moreAtoms === undefined) {
    ids[0] = (atom0 as Atom).id
    ids[1] = (atom1 as Atom).id
  } else {
    for (let i = 0; i < moreAtoms.length; i++) ids[i] = moreAtoms[i].id
  }
}
