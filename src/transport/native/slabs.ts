/**
 * The memory that the engine receives into: slabs, which this side allocates and lends.
 *
 * Owns how many there are, of which kind, and the limit of all together. A slab is filled from its
 * start; when it is full it is spent: only the views that the program keeps hold it then, and the
 * garbage collector frees it, and its memory comes back to the addon for the next one. In mode 'borrowed'
 * it is filled again instead, unless the views are needed for so long that reading would have to wait for it.
 * In mode 'isolated' it is always filled again, as the program gets copies, and no view ever leaves this
 * folder.
 *
 * Invariants: memory given to the engine is used for nothing else; what is lent and what is pinned is at
 * most `max` bytes, except that there is always one slab.
 */
import { log } from '../../support/log.js'
import { clearTimeout, performance, setTimeout } from '../../support/real-time.js'
import type { SlabCounts } from '../seam/metrics.js'
import { Stat } from '../seam/stats.js'
import { Purpose } from './layout.js'
import { idleMemoryMax, receiveMemory } from './receive-memory.js'
import { defaultBuffers, isolated, kSlab } from '../seam/buffers-option.js'
import { slabChecks } from '../seam/transport-options.js'
import type { TransportOptions } from '../seam/transport.js'

/** What the addon has for slabs. The handle is opaque; results are >= 0, or a negative errno. */
export interface SlabCalls {
  slabMemory(handle: object, size: number): ArrayBuffer | undefined
  idleMemory(handle: object): number
  addSlab(handle: object, buffer: ArrayBufferLike, purpose: number): number
  reclaim(handle: object, press: boolean): void
  collectYoung(): boolean
}

/** What the engine is told of slabs. */
export interface SlabOptions {
  /** Slabs are filled again once a turn's views are over: they are borrowed, or nobody has any. */
  readonly reuseSlabs: boolean
  /** What is received is copied, each piece into memory of its own. */
  readonly isolates: boolean
  /** And overwritten before. */
  readonly poisonSlabs: boolean
  /** Bytes of slabs that nothing refers to any more which are kept for the next ones. */
  readonly idleMemoryMax: number
  /** Most bytes that are lent or pinned. */
  readonly maxSlabBytes: number
}

const MAX_DEFAULT = 1024 * 1024 * 1024

/** The part of a transport's options that is about memory, checked. */
export function slabOptions(call: string, options: TransportOptions): SlabOptions {
  for (const name of Object.keys(slabChecks) as (keyof typeof slabChecks)[]) {
    if (options[name] !== undefined) slabChecks[name](call, name, options[name])
  }
  const { buffers = defaultBuffers(), poison = process.env.MARKETPLACE_POISON === '1' } = options
  const { maxSlabBytes = MAX_DEFAULT } = options
  const isolates = buffers === 'isolated'
  return {
    reuseSlabs: isolates || buffers === 'borrowed',
    isolates,
    // What is never filled again is never overwritten either.
    poisonSlabs: poison && (isolates || buffers === 'borrowed'),
    maxSlabBytes,
    idleMemoryMax: idleMemoryMax(maxSlabBytes),
  }
}

/**
 * One kind of slab. Small pieces have slabs of their own, so that whoever keeps one of them keeps
 * little else.
 */
class Kind {
  /** Slabs wanted: a turn can receive this many before it has to stop. */
  wanted: number
  lent = 0
  /** Retirements since the last shortage. */
  calm = 0

  constructor(readonly purpose: number, readonly size: number, readonly min: number, readonly max: number) {
    this.wanted = min
  }
}

const BIG_SIZE = 128 * 1024
const SMALL_SIZE = 32 * 1024
const TINY_SIZE = 4 * 1024
/** So many retirements without a shortage, and one slab less is enough. */
const CALM = 256
/** Least milliseconds between two looks for room at the limit; and looking takes a tenth of the time. */
const PATIENCE = 20
const SHARE = 10

/**
 * With so many bytes of slabs since the last time, V8 is asked to collect young garbage, among which spent ones are.
 * By itself it does that at 32 MiB, and collects the old generation as often: see `collect_young` of the addon.
 */
const YOUNG_MAX = 6 * 1024 * 1024

export class Slab {
  /** All of it, for who looks at single bytes: made when it is asked for first. */
  #bytes: Uint8Array | undefined

  constructor(
    readonly slabs: Slabs,
    readonly kind: Kind,
    readonly buffer: ArrayBuffer,
    /** The addon's number; 0 (the arena's) once it was released. */
    public id: number,
  ) {}

  get bytes(): Uint8Array {
    this.#bytes ??= new Uint8Array(this.buffer)
    return this.#bytes
  }
}

type TaggedBuffer = ArrayBufferLike & { [kSlab]?: Slab }

/** The slab that these bytes are in. */
export function slabOf(data: Uint8Array): Slab | undefined {
  return (data.buffer as TaggedBuffer)[kSlab]
}

export class Slabs implements SlabCounts {
  /** Their memory is received into again: whoever keeps a view of it copies it. */
  readonly reused: boolean
  readonly isolates: boolean
  /** Times that reading stopped because of the limit. */
  stalls = 0

  readonly #addon: SlabCalls
  readonly #handle: object
  readonly #recycle: (size: number) => ArrayBuffer | undefined
  readonly #max: number
  /** Written by the addon; `slabsSpent` may still be reachable. */
  readonly #stats: Float64Array
  /** Called when slabs were added outside of a batch. */
  readonly #added: () => void
  readonly #slabs: (Slab | undefined)[] = []
  readonly #retired: Slab[] = []
  readonly #big = new Kind(Purpose.input, BIG_SIZE, 4, 16)
  readonly #small = new Kind(Purpose.smallInput, SMALL_SIZE, 2, 16)
  /** None before short datagrams came. */
  readonly #tiny = new Kind(Purpose.tinyInput, TINY_SIZE, 0, 32)
  #lent = 0
  /** Bytes of slabs since young garbage was collected for them; NaN where that can't be done. */
  #young = 0
  #lookAt = 0
  #timer: NodeJS.Timeout | undefined
  #stalled = false
  /** There was no big one left to fill, and none could be added. */
  #shortage = false
  #closed = false

  constructor(
    addon: SlabCalls, handle: object, stats: Float64Array, options: SlabOptions, added: () => void,
  ) {
    this.#addon = addon
    this.#handle = handle
    this.#recycle = (size) => addon.slabMemory(handle, size)
    this.#stats = stats
    this.#max = options.maxSlabBytes
    this.#added = added
    this.reused = options.reuseSlabs
    this.isolates = options.isolates
    this.#fill(this.#big)
    if (!this.reused) this.#fill(this.#small)
  }

  /** Bytes of slabs that are to be filled, or are being filled. */
  get free(): number {
    return this.#closed ? 0 : this.#lent
  }

  /** Bytes of full slabs that were reachable at the last garbage collection. */
  get pinned(): number {
    if (this.#closed) return 0
    this.#addon.reclaim(this.#handle, false)
    return this.#stats[Stat.slabsSpent] + this.#unreleased()
  }

  /** Bytes of slabs that nothing refers to any more, kept for the next ones. */
  get idle(): number {
    return this.#addon.idleMemory(this.#handle)
  }

  /** The bytes of a `data` record. */
  view(id: number, offset: number, length: number): Buffer {
    const view = Buffer.from((this.#slabs[id] as Slab).buffer, offset, length)
    return this.isolates ? isolated(view) : view
  }

  /** The bytes of all of a slab. */
  bytes(id: number): Uint8Array {
    return (this.#slabs[id] as Slab).bytes
  }

  /** Nothing more will be received into this slab: it is replaced, and released after the batch. */
  retired(id: number): void {
    const slab = this.#slabs[id] as Slab
    const { kind } = slab
    this.#retired.push(slab)
    this.#lent -= kind.size
    kind.lent--
    if (++kind.calm >= CALM && kind.wanted > kind.min) {
      kind.wanted--
      kind.calm = 0
    }
    this.#fill(kind)
  }

  /** A turn could have received more than there was memory for. */
  short(purpose: number): void {
    const kind = [this.#big, this.#small, this.#tiny].find((each) => each.purpose === purpose) as Kind
    kind.calm = 0
    if (kind.wanted < kind.max) kind.wanted++
    const { lent } = kind
    this.#fill(kind)
    if (kind === this.#big) this.#shortage = kind.lent === lent
  }

  /** Whether borrowed ones are short, all being in use; once for each time that they are. */
  takeShortage(): boolean {
    const shortage = this.reused && !this.isolates && this.#shortage
    this.#shortage = false
    return shortage
  }

  /** The retired slabs' numbers, which they lose by this. */
  takeRetired(): number[] {
    if (this.#retired.length === 0) return []
    return this.#retired.splice(0).map((slab) => {
      const { id } = slab
      this.#slabs[id] = undefined
      slab.id = 0
      return id
    })
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
  }

  #unreleased(): number {
    let bytes = 0
    for (const { kind } of this.#retired) bytes += kind.size
    return bytes
  }

  #fill(kind: Kind): void {
    while (kind.lent < kind.wanted) {
      if (!this.#hasRoom(kind)) {
        this.#stall()
        return
      }
      if (!this.#add(kind)) return
    }
  }

  #add(kind: Kind): boolean {
    // A pool is worth its work for memory of many pages.
    const buffer = receiveMemory(kind.size, kind === this.#tiny ? () => undefined : this.#recycle)
    this.#young += kind.size
    if (this.#young >= YOUNG_MAX) this.#young = this.#addon.collectYoung() ? 0 : NaN
    const id = this.#addon.addSlab(this.#handle, buffer, kind.purpose)
    // The handle is closed.
    if (id < 0) return false
    const slab = new Slab(this, kind, buffer, id)
    ;(buffer as TaggedBuffer)[kSlab] = slab
    this.#slabs[id] = slab
    this.#lent += kind.size
    kind.lent++
    return true
  }

  #fits(kind: Kind): boolean {
    return this.#lent + this.#stats[Stat.slabsSpent] + this.#unreleased() + kind.size <= this.#max
  }

  /** Looks for garbage at the limit, first where none is to be collected for it. */
  #hasRoom(kind: Kind): boolean {
    if (this.#fits(kind)) return true
    const now = performance.now()
    if (now < this.#lookAt) return false
    this.#addon.reclaim(this.#handle, false)
    if (!this.#fits(kind)) this.#addon.reclaim(this.#handle, true)
    const end = performance.now()
    this.#lookAt = end + Math.max(PATIENCE, (end - now) * SHARE)
    return this.#fits(kind)
  }

  /** Reading stops when the last slab is full. Nobody says when the program lets go of one. */
  #stall(): void {
    if (this.#closed) return
    if (this.#big.lent === 0 && !this.#stalled) {
      this.#stalled = true
      this.stalls++
      log('warning', 'reading waits: maxSlabBytes are in use', { maxSlabBytes: this.#max })
    }
    if (this.#timer !== undefined) return
    const wait = Math.max(PATIENCE, this.#lookAt - performance.now())
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      const { lent } = this.#big
      this.#fill(this.#big)
      if (!this.reused && this.#big.lent === this.#big.wanted) this.#fill(this.#small)
      if (this.#big.lent === lent) return
      this.#stalled = false
      this.#added()
    }, Math.ceil(wait)).unref()
  }
}
