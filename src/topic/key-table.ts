/**
 * A hash table from short tuples of positive integers to values: open addressing, linear probing,
 * deletion by backward shift (Knuth, TAOCP 3, 6.4, algorithm R). Keys live in one Int32Array, so that
 * a look-up touches one or two cache lines.
 *
 * Where entries come and go it also spares the garbage collector: a Map of V8 that has had so many deletions is
 * copied, and its old memory refers to the new one and still to all entries of then. Once such an old copy is in the
 * old generation it keeps the next one from being freed, and so on, so that everything that was ever in the Map
 * stays until the next full collection.
 */
export class KeyTable<V> {
  /** Integers in a key; at least 1. */
  readonly width: number
  private keys: Int32Array
  private values: (V | undefined)[]
  private mask: number
  private used = 0

  constructor(width: number) {
    this.width = width
    // Long keys are those of forms that few topics have.
    const capacity = width > 2 ? 2 : 8
    this.mask = capacity - 1
    this.keys = new Int32Array(capacity * width)
    this.values = new Array<V | undefined>(capacity).fill(undefined)
  }

  get size(): number {
    return this.used
  }

  /** Where the key (a) is, or -1. For width 1. */
  find1(a: number): number {
    const { keys, mask } = this
    for (let i = scramble(a) & mask; ; i = (i + 1) & mask) {
      const key = keys[i]
      if (key === a) return i
      if (key === 0) return -1
    }
  }

  /** The value of the key (a). For width 1. */
  get1(a: number): V | undefined {
    const index = this.find1(a)
    return index < 0 ? undefined : this.values[index]
  }

  /** Adds the key (a), or gives it another value. For width 1. */
  set1(a: number, value: V): void {
    const index = this.find1(a)
    if (index >= 0) this.values[index] = value
    else this.add([a], value)
  }

  /** For width 1. @returns whether the key was there */
  delete1(a: number): boolean {
    const index = this.find1(a)
    if (index >= 0) this.removeAt(index)
    return index >= 0
  }

  /** All values, in no order. */
  all(): V[] {
    const { keys, width, values } = this
    return values.filter((_value, i) => keys[i * width] !== 0) as V[]
  }

  /** Where the key (a, b) is, or -1. For width 2. */
  find2(a: number, b: number): number {
    const { keys, mask } = this
    for (let i = scramble(Math.imul(a, 31) + b) & mask; ; i = (i + 1) & mask) {
      const key = keys[i * 2]
      if (key === a && keys[i * 2 + 1] === b) return i
      if (key === 0) return -1
    }
  }

  /** Where the key is, or -1. For any width. */
  find(key: readonly number[]): number {
    if (this.width === 1) return this.find1(key[0])
    if (this.width === 2) return this.find2(key[0], key[1])
    for (let i = this.home(key) & this.mask; ; i = (i + 1) & this.mask) {
      if (this.keys[i * this.width] === 0) return -1
      if (this.matches(i, key)) return i
    }
  }

  valueAt(index: number): V {
    return this.values[index] as V
  }

  setAt(index: number, value: V): void {
    this.values[index] = value
  }

  /** Adds a key that is not there yet. */
  add(key: readonly number[], value: V): void {
    // Two thirds are full at most: a look-up takes two or three steps then, and there are large tables of which each
    // connection pays its part.
    if (this.used * 3 > this.mask * 2) this.resize((this.mask + 1) * 2)
    this.insert(key, value)
    this.used++
  }

  removeAt(index: number): void {
    const { keys, values, mask, width } = this
    let hole = index
    for (let i = (hole + 1) & mask; keys[i * width] !== 0; i = (i + 1) & mask) {
      const home = hashAt(keys, i, width) & mask
      // Move what would no longer be reached past the hole.
      if (((i - home) & mask) >= ((i - hole) & mask)) {
        keys.copyWithin(hole * width, i * width, (i + 1) * width)
        values[hole] = values[i]
        hole = i
      }
    }
    keys.fill(0, hole * width, (hole + 1) * width)
    values[hole] = undefined
    this.used--
    if (this.mask > 63 && this.used * 8 < this.mask) this.resize((this.mask + 1) / 2)
  }

  private insert(key: readonly number[], value: V): void {
    const { keys, width } = this
    const i = this.freeFrom(this.home(key))
    for (let j = 0; j < width; j++) keys[i * width + j] = key[j]
    this.values[i] = value
  }

  /** Where the next key with this hash has its place. */
  private freeFrom(hash: number): number {
    const { keys, mask, width } = this
    let i = hash & mask
    while (keys[i * width] !== 0) i = (i + 1) & mask
    return i
  }

  private matches(index: number, key: readonly number[]): boolean {
    for (let j = 0; j < this.width; j++) if (this.keys[index * this.width + j] !== key[j]) return false
    return true
  }

  private home(key: readonly number[]): number {
    let h = key[0]
    for (let j = 1; j < this.width; j++) h = Math.imul(h, 31) + key[j]
    return scramble(h)
  }

  private resize(capacity: number): void {
    const { keys, values, mask, width } = this
    this.mask = capacity - 1
    this.keys = new Int32Array(capacity * width)
    this.values = new Array<V | undefined>(capacity).fill(undefined)
    for (let i = 0; i <= mask; i++) {
      if (keys[i * width] === 0) continue
      const to = this.freeFrom(hashAt(keys, i, width))
      for (let j = 0; j < width; j++) this.keys[to * width + j] = keys[i * width + j]
      this.values[to] = values[i]
    }
  }
}

/** The hash of the key in a place. */
function hashAt(keys: Int32Array, index: number, width: number): number {
  const begin = index * width
  let h = keys[begin]
  for (let j = 1; j < width; j++) h = Math.imul(h, 31) + keys[begin + j]
  return scramble(h)
}

/** Multiplicative hashing (Knuth, TAOCP 3, 6.4) with the high bits folded into the low ones. */
function scramble(h: number): number {
  const x = Math.imul(h, 0x9e3779b1)
  return (x ^ (x >>> 15)) >>> 0
}
