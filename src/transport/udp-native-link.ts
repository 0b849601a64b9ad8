/**
 * This side of the memory that is shared with the addon for datagrams: commands, outgoing bytes, slabs.
 * native/binding/udp_loop.h describes the layout and is the other side.
 *
 * Invariants: commands are executed in the order in which they were queued; a slab is released only
 * after the batch in which it was retired; memory given to the engine is used for nothing else.
 */
import { queueMicrotask } from '../support/real-time.js'
import { exit, flushAtExit } from './at-exit.js'
import { idleMemoryMax, receiveMemory } from './receive-memory.js'

/** What the addon exports as `Udp`. Results are >= 0, or a negative errno. */
export interface UdpEngine {
  slabMemory(size: number): ArrayBuffer | undefined
  addSlab(buffer: ArrayBuffer): number
  releaseSlab(id: number): void
  bind(address: string, port: number, options: Int32Array): number
  address(id: number, words: Int32Array): number
  membership(id: number, group: string, networkInterface: string, join: boolean): number
  multicastInterface(id: number, networkInterface: string): number
  parse(address: string, words: Int32Array): number
  flush(): void
  close(): void
}

export type UdpEngineConstructor = new (options: {
  records: Int32Array
  commands: Int32Array
  stats: Float64Array
  arena: Uint8Array
  idleMemoryMax: number
  onBatch: (count: number) => void
  onClosed: () => void
}) => UdpEngine

const Command = { send: 1, close: 2 } as const

export const UDP_RECORD_WORDS = 12
const RECORDS_MAX = 4096
const COMMAND_WORDS = 10
const HEADER_WORDS = 4
const COMMANDS_MAX = 2048
/** Port and family, four address words, the zone. */
export const ADDRESS_WORDS = 6

const ARENA_SIZE = 256 * 1024
/** Below this a loop beats the call of `TypedArray.prototype.set`. */
const LOOP_MAX = 24

/** Multiples of what the longest datagram takes; see native/engine/udp_pool.h. */
const SLAB_SIZE_MIN = 512 * 1024
const SLAB_SIZE_MAX = 2 * 1024 * 1024
/** Slabs that wait to be filled. All but the first are spare places for datagrams that came out long. */
const SLABS = 4
/** So many slabs without a shortage, and they may be smaller again. */
const CALM = 256

type FastBuffer = Buffer & { utf8Write(text: string, offset: number, length: number): number }

export class UdpLink {
  readonly engine: UdpEngine
  readonly records = new Int32Array(RECORDS_MAX * UDP_RECORD_WORDS)
  readonly #commands = new Int32Array(HEADER_WORDS + COMMANDS_MAX * COMMAND_WORDS)
  /** Datagrams and bytes that the kernel has taken. */
  readonly stats = new Float64Array(2)
  readonly #arena = Buffer.allocUnsafeSlow(ARENA_SIZE) as FastBuffer
  #arenaUsed = 0
  #inBatch = false
  #scheduled = false
  #open = true
  readonly #flushTask: () => void
  readonly #forgetExit: () => void

  readonly #recycle = (size: number): ArrayBuffer | undefined => this.engine.slabMemory(size)
  readonly #slabs: (ArrayBuffer | undefined)[] = []
  readonly #retired: number[] = []
  #slabSize = SLAB_SIZE_MIN
  #calm = 0

  /**
   * @param onBatch called once per loop turn with the number of records
   * @param onClosed called when every descriptor is closed
   */
  constructor(Engine: UdpEngineConstructor, onBatch: (count: number) => void, onClosed: () => void) {
    this.engine = new Engine({
      records: this.records,
      commands: this.#commands,
      stats: this.stats,
      arena: this.#arena,
      idleMemoryMax: idleMemoryMax(),
      onBatch: (count) => {
        this.#inBatch = true
        try {
          onBatch(count)
        } finally {
          this.#releaseRetired()
          this.#inBatch = false
        }
      },
      onClosed,
    })
    this.#flushTask = () => {
      this.#scheduled = false
      if (this.#commands[0] !== 0) this.flush()
    }
    this.#forgetExit = flushAtExit(this.#flushTask)
    for (let i = 0; i < SLABS; i++) this.#addSlab()
  }

  /** Executes what is queued now. */
  flush(): void {
    if (this.#open) this.engine.flush()
    this.#commands[0] = 0
    this.#arenaUsed = 0
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#forgetExit()
    this.engine.close()
  }

  /** Queues a datagram; its bytes are copied. `to` is as `parse` gives it, but for the port. */
  send(id: number, data: Uint8Array | string, length: number, to: Int32Array, port: number): void {
    if (this.#arenaUsed + length > ARENA_SIZE || this.#commands[0] === COMMANDS_MAX) this.flush()
    const start = this.#arenaUsed
    const arena = this.#arena
    if (typeof data === 'string') {
      arena.utf8Write(data, start, length)
    } else if (length <= LOOP_MAX) {
      for (let i = 0; i < length; i++) arena[start + i] = data[i]
    } else {
      arena.set(data, start)
    }
    const at = this.#queue(Command.send, id)
    this.#arenaUsed = start + length
    const commands = this.#commands
    commands[at + 2] = start
    commands[at + 3] = length
    commands[at + 4] = to[0] | port
    commands[at + 5] = to[1]
    commands[at + 6] = to[2]
    commands[at + 7] = to[3]
    commands[at + 8] = to[4]
    commands[at + 9] = to[5]
    if (exit.begun) this.flush()
  }

  closeSocket(id: number): void {
    if (this.#commands[0] === COMMANDS_MAX) this.flush()
    this.#queue(Command.close, id)
    // Now, so that the port is free for who comes next.
    this.flush()
  }

  /** The bytes of a `datagram` record. */
  view(slab: number, offset: number, length: number): Buffer {
    return Buffer.from(this.#slabs[slab] as ArrayBuffer, offset, length)
  }

  /** Nothing more will be received into this slab: it is replaced, and released after the batch. */
  slabRetired(id: number): void {
    this.#retired.push(id)
    if (++this.#calm >= CALM && this.#slabSize > SLAB_SIZE_MIN) {
      this.#slabSize /= 2
      this.#calm = 0
    }
    this.#addSlab()
  }

  /** A turn could have received more than there was memory for. */
  slabsShort(): void {
    this.#calm = 0
    if (this.#slabSize < SLAB_SIZE_MAX) this.#slabSize *= 2
  }

  #addSlab(): void {
    const buffer = receiveMemory(this.#slabSize, this.#recycle)
    const id = this.engine.addSlab(buffer)
    // The engine is closed.
    if (id >= 0) this.#slabs[id] = buffer
  }

  #releaseRetired(): void {
    for (const id of this.#retired) {
      this.#slabs[id] = undefined
      this.engine.releaseSlab(id)
    }
    this.#retired.length = 0
  }

  /** Where the rest of a new command is to be put. There is room for it. */
  #queue(operation: number, id: number): number {
    const commands = this.#commands
    if (!this.#inBatch && !this.#scheduled) {
      this.#scheduled = true
      queueMicrotask(this.#flushTask)
    }
    const count = commands[0]
    const at = HEADER_WORDS + count * COMMAND_WORDS
    commands[at] = operation
    commands[at + 1] = id
    commands[0] = count + 1
    return at
  }
}
