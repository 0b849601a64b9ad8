/**
 * Skeletons: the form of a topic with its ground parts left out.
 *
 * A skeleton says where a topic has wildcards, where it has ground values ("keys"), and which
 * constructors lie above its wildcards. The outermost constructor is always spelt out, so that topics
 * can be grouped by it. Topics with equal skeletons share one shape of the routing index.
 *
 * It is written as a list of tokens, a constructor before its parts: then everything that is done with
 * skeletons is one walk along the list, whatever their depth. Equal skeletons are one object while
 * somebody holds it: it is found by walking a tree that has a branch for each token, and is taken out of it
 * again when nobody does.
 */
import { RecordBase } from './record.js'
import { isCompound, part, size, type Compound } from './value.js'
import { Wildcard } from './wildcard.js'

/** A ground value, a wildcard, or above 1 a constructor: a kind of records, or a length of arrays. */
export type Token = number

export const KEY: Token = 0
export const WILD_PART: Token = 1

export function constructorToken(compound: Compound): Token {
  return compound instanceof RecordBase ? 2 * compound.$kind.id + 3 : 2 * compound.length + 2
}

export class Skeleton {
  readonly tokens: readonly Token[]
  /** For each token, where what it begins has ended. */
  readonly ends: readonly number[]
  /** How many keys there are. */
  readonly keys: number
  /** Which parts of the outermost constructor are its first two keys, if they are: part numbers, or -1. */
  readonly firstKey: number
  readonly secondKey: number
  /** Where it is in the tree; undefined when it isn't: then nobody holds it, and another one may be equal. */
  branch: Branch | undefined
  holders = 0

  constructor({ tokens, ends, length }: Written, branch: Branch | undefined) {
    this.tokens = tokens.slice(0, length)
    this.ends = ends.slice(0, length)
    let keys = 0
    for (const token of this.tokens) if (token === KEY) keys++
    this.keys = keys
    const keyParts: number[] = []
    for (let i = 1, n = 0; i < length; i = this.ends[i], n++) if (this.tokens[i] === KEY) keyParts.push(n)
    this.firstKey = keyParts[0] ?? -1
    this.secondKey = keyParts[1] ?? -1
    this.branch = branch
  }

  /** Whether it is that of a topic which is nothing but a wildcard. */
  get isWild(): boolean {
    return this.tokens[0] === WILD_PART
  }
}

/** The skeletons that begin with the same tokens. */
class Branch {
  skeleton: Skeleton | undefined = undefined
  /** One branch, as is nearly always the case, or several. */
  private next: Branch | Map<Token, Branch> | undefined = undefined

  constructor(
    readonly token: Token,
    readonly before: Branch | undefined,
  ) {}

  get isEmpty(): boolean {
    return this.skeleton === undefined && this.next === undefined
  }

  step(token: Token): Branch | undefined {
    const { next } = this
    if (next instanceof Branch) return next.token === token ? next : undefined
    return next?.get(token)
  }

  grow(token: Token): Branch {
    const branch = new Branch(token, this)
    if (this.next === undefined) this.next = branch
    else if (this.next instanceof Map) this.next.set(token, branch)
    else this.next = new Map([[this.next.token, this.next], [token, branch]])
    return branch
  }

  cut(branch: Branch): void {
    if (this.next === branch) this.next = undefined
    else if (this.next instanceof Map && this.next.delete(branch.token) && this.next.size === 0) {
      this.next = undefined
    }
  }
}

/** What is written is written over the last one, unless that was longer. */
const REUSED_MAX = 4096

/** A topic's skeleton, written down, and what is needed meanwhile. */
class Written {
  /** The first `length` of them. */
  readonly tokens: Token[] = []
  readonly ends: number[] = []
  length = 0
  /** The compounds around, from the outside in: with the part that is next, and where their tokens begin. */
  private readonly around: Compound[] = []
  private readonly nextParts: number[] = []
  private readonly begins: number[] = []
  private readonly open: boolean[] = []

  write(topic: unknown): void {
    const { tokens, ends, around, nextParts, begins, open } = this
    if (!isCompound(topic)) {
      tokens[0] = topic instanceof Wildcard ? WILD_PART : KEY
      ends[0] = 1
      this.length = 1
      return
    }
    let compound = topic
    let next = 0
    let begin = 0
    let isOpen = false
    let length = 1
    tokens[0] = constructorToken(compound)
    for (;;) {
      if (next < size(compound)) {
        const inner = part(compound, next++)
        if (isCompound(inner)) {
          around.push(compound)
          nextParts.push(next)
          begins.push(begin)
          open.push(isOpen)
          compound = inner
          next = 0
          begin = length
          isOpen = false
          tokens[length++] = constructorToken(inner)
        } else {
          const isWild = inner instanceof Wildcard
          isOpen ||= isWild
          tokens[length++] = isWild ? WILD_PART : KEY
          ends[length - 1] = length
        }
        continue
      }
      const above = around.pop()
      if (!isOpen && above !== undefined) {
        // Ground: a key, whatever is inside.
        length = begin + 1
        tokens[begin] = KEY
      }
      ends[begin] = length
      if (above === undefined) break
      compound = above
      next = nextParts.pop() as number
      begin = begins.pop() as number
      isOpen = (open.pop() as boolean) || isOpen
    }
    this.length = length
  }
}

/** The skeletons of the topics in the routing indexes that belong together. */
export class SkeletonTable {
  private readonly root = new Branch(-1, undefined)
  /** Taken out while it is in use: a proxy in a message may run code that comes here again. */
  private written: Written | undefined = undefined
  private held = 0

  /** Skeletons that somebody holds. */
  get size(): number {
    return this.held
  }

  /** The skeleton of a topic, to be held until `release`. */
  hold(topic: unknown): Skeleton {
    const written = this.write(topic)
    const { tokens, length } = written
    let branch = this.root
    for (let i = 0; i < length; i++) branch = branch.step(tokens[i]) ?? branch.grow(tokens[i])
    const skeleton = (branch.skeleton ??= new Skeleton(written, branch))
    if (skeleton.holders++ === 0) this.held++
    this.reuse(written)
    return skeleton
  }

  release(skeleton: Skeleton): void {
    if (--skeleton.holders > 0) return
    this.held--
    let branch = skeleton.branch
    skeleton.branch = undefined
    if (branch !== undefined) branch.skeleton = undefined
    while (branch?.before !== undefined && branch.isEmpty) {
      branch.before.cut(branch)
      branch = branch.before
    }
  }

  /** The skeleton of a topic, which isn't kept. */
  skeletonOf(topic: unknown): Skeleton {
    const written = this.write(topic)
    const { tokens, length } = written
    let branch: Branch | undefined = this.root
    for (let i = 0; i < length && branch !== undefined; i++) branch = branch.step(tokens[i])
    const skeleton = branch?.skeleton ?? new Skeleton(written, undefined)
    this.reuse(written)
    return skeleton
  }

  private write(topic: unknown): Written {
    const written = this.written ?? new Written()
    this.written = undefined
    written.write(topic)
    return written
  }

  private reuse(written: Written): void {
    if (written.tokens.length <= REUSED_MAX) this.written = written
  }
}

/**
 * How topics of one skeleton are told apart by topics of another: they meet (but for repeated wildcards)
 * exactly when both have the constructors of the common skeleton at its places, and equal values at its keys.
 *
 * @returns its tokens; undefined when no topics of these skeletons can meet
 */
export function commonTokens(a: Skeleton, b: Skeleton): Token[] | undefined {
  const tokens: Token[] = []
  const copy = (from: Skeleton, begin: number): number => {
    const end = from.ends[begin]
    for (let i = begin; i < end; i++) tokens.push(from.tokens[i])
    return end
  }
  let i = 0
  let j = 0
  while (i < a.tokens.length) {
    const x = a.tokens[i]
    const y = b.tokens[j]
    if (x === WILD_PART || y === WILD_PART) {
      tokens.push(WILD_PART)
      i = a.ends[i]
      j = b.ends[j]
    } else if (x === KEY) {
      // Ground here: it must have whatever constructors the other side has.
      j = copy(b, j)
      i++
    } else if (y === KEY) {
      i = copy(a, i)
      j++
    } else if (x === y) {
      tokens.push(x)
      i++
      j++
    } else {
      return undefined
    }
  }
  return tokens
}

/** Whether a topic has the constructors that tokens spell out; `open`: a wildcard stands in the place of one. */
export type Fit = 'no' | 'yes' | 'open'

/** Finds the values at the keys of a topic, in reading order; `found` is filled with them from index 0 on. */
export function valuesAt(topic: unknown, tokens: readonly Token[], found: unknown[]): Fit {
  // Mostly each part has one token: then there is nothing to remember on the way.
  if (isCompound(topic) && tokens.length === size(topic) + 1 && tokens[0] === constructorToken(topic)) {
    return partsAt(topic, tokens, found)
  }
  const waiting: unknown[] = [topic]
  let n = 0
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i]
    const value = waiting.pop()
    if (token === KEY) {
      found[n++] = value
    } else if (token !== WILD_PART) {
      if (!isCompound(value)) return value instanceof Wildcard ? 'open' : 'no'
      if (constructorToken(value) !== token) return 'no'
      for (let j = size(value) - 1; j >= 0; j--) waiting.push(part(value, j))
    }
  }
  return 'yes'
}

function partsAt(topic: Compound, tokens: readonly Token[], found: unknown[]): Fit {
  let n = 0
  for (let i = 1; i < tokens.length; i++) {
    const token = tokens[i]
    if (token === WILD_PART) continue
    const value = part(topic, i - 1)
    if (token === KEY) {
      found[n++] = value
    } else if (!isCompound(value)) {
      return value instanceof Wildcard ? 'open' : 'no'
    } else if (constructorToken(value) !== token) {
      return 'no'
    }
  }
  return 'yes'
}

/**
 * What can be said of all topics of one skeleton whose first two keys have the constructors of those of `topic`:
 * 'no': they don't have the constructors that tokens spell out; 'yes': they do, and there is no key; else 'open'.
 */
export function fitByKeys(topic: unknown, of: Skeleton, tokens: readonly Token[]): Fit {
  if (!isCompound(topic)) return 'open'
  let i = 1
  let at = 1
  for (let n = 0; n < size(topic); n++) {
    const isKey = of.tokens[at] === KEY
    at = of.ends[at]
    const token = tokens[i++]
    if (token === WILD_PART) continue
    // Other keys differ from topic to topic.
    if (token === KEY || (isKey && n !== of.firstKey && n !== of.secondKey)) return 'open'
    const value = part(topic, n)
    if (!isCompound(value) || constructorToken(value) !== token) return isKey ? 'no' : 'open'
    for (let j = 0; j < size(value); j++) if (tokens[i++] !== WILD_PART) return 'open'
  }
  return 'yes'
}
