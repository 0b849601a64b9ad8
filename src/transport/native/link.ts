/**
 * This side of the memory that is shared with the addon: commands, outgoing bytes, slabs.
 * native/binding/shared.h is the other side, and layout.ts says what the words mean.
 *
 * Invariants: commands are executed in the order in which they were queued; a slab is released only
 * by a command, so that writes out of it that were queued before still find it.
 */
import { queueMicrotask } from '../../support/real-time.js'
import { exit, flushAtExit } from '../seam/at-exit.js'
import { isLent } from '../seam/buffers-option.js'
import {
  COMMAND_HEADER_WORDS, COMMAND_WORDS, commands, Header, Purpose, RECEIVER_WORDS, RECORD_WORDS, Views,
} from './layout.js'
import { slabOf, Slabs, type SlabCalls, type SlabOptions } from './slabs.js'
import type { QueueLimits } from '../seam/queue-limits.js'
import type { BusyPoll } from '../seam/transport-options.js'

/** What the addon exports. The handle is opaque; results are >= 0, or a negative errno. */
export interface Addon extends SlabCalls {
  create(options: EngineSettings & {
    records: Int32Array
    marks: Int32Array
    commands: Int32Array
    stats: Float64Array
    large: Uint8Array[]
    onBatch: (count: number) => unknown
    onClosed: () => void
  }): object
  setGauges(handle: object, gauges: Float64Array): number
  openAccount(handle: object, stats: Float64Array, limits: AccountLimits): number
  closeAccount(handle: object, account: number): void
  listen(handle: object, account: number, address: string, port: number, options: Int32Array): number
  limitListener(handle: object, id: number, limits: Int32Array, exempt: Int32Array | undefined): number
  listenerCounts(handle: object, id: number, counts: Float64Array): number
  pauseListener(handle: object, id: number, paused: boolean): void
  closeListener(handle: object, id: number): void
  connect(
    handle: object, account: number, address: string, port: number, options: Int32Array,
    localAddress: string | undefined, localPort: number,
  ): number
  bind(handle: object, account: number, address: string, port: number, options: Int32Array): number
  multicast(handle: object, id: number, networkInterface: string, group?: string, join?: boolean): number
  parseAddress(address: string, words: Int32Array): number
  socketOptions(handle: object, id: number, words: Int32Array): number
  localAddress(handle: object, id: number, words: Int32Array): number
  remoteAddress(handle: object, id: number, words: Int32Array): number
  typeOfService(handle: object, id: number, value: number | undefined): number
  connectionInfo(handle: object, id: number, words: Float64Array): number
  descriptor(handle: object, id: number): number
  duplicate(handle: object, id: number): number
  checkAdoptable(descriptor: number, as: number): number
  duplicateDescriptor(descriptor: number): number
  closeOnExec(descriptor: number): number
  adoptListener(
    handle: object, account: number, descriptor: number, options: Int32Array, as: number, ownsFile: boolean,
  ): number
  borrowListener(
    handle: object, account: number, descriptors: Int32Array, unix: boolean, options: Int32Array,
  ): number
  createAcceptor(prefixMax?: number, waitMs?: number, ask?: () => void): object | number
  acceptorListen(acceptor: object, address: string, port: number, options: Int32Array, places: number): number
  acceptorAddress(acceptor: object, listener: number, words: Int32Array): number
  acceptorSit(acceptor: object, listener: number, worker: number, place: number, seat: Int32Array): number
  acceptorCloseListener(acceptor: object, listener: number): void
  acceptorRetire(acceptor: object, worker: number): void
  acceptorRecall(acceptor: object, worker: number): void
  acceptorLeave(acceptor: object, worker: number): void
  acceptorLeaveSeat(acceptor: object, seat: number): void
  acceptorCounts(acceptor: object, worker: number, counts: Float64Array): number
  acceptorHurry(acceptor: object, listener: number): void
  acceptorNextQuestion(acceptor: object, prefix: Uint8Array, question: Float64Array): number
  acceptorAnswer(acceptor: object, question: number, where: number): number
  acceptorClose(acceptor: object): void
  adoptConnection(handle: object, account: number, descriptor: number, options: Int32Array): number
  knowsDescriptor(handle: object, descriptor: number): number
  disownFile(handle: object, id: number): void
  ownFile(handle: object, descriptor: number): boolean
  sameUser(handle: object, id: number): number
  socketPath(handle: object, id: number): string | undefined
  carryDescriptors(handle: object, id: number): number
  sendDescriptors(handle: object, id: number, data: Uint8Array, descriptors: Int32Array): number
  takeDescriptors(handle: object, id: number, descriptors: Int32Array): number
  info(handle: object): AddonInfo | undefined
  setRef(handle: object, on: boolean): void
  /** '' if there is TLS, or what is missing. */
  findTls(): string
  tlsContext(
    address: bigint | undefined, server: boolean, requestCert: boolean, rejectUnauthorized: boolean, asks: boolean,
    protocols: Uint8Array,
  ): object | undefined
  startTls(handle: object, id: number, context: object, serverName?: Uint8Array, session?: Uint8Array): number
  prependTls(handle: object, id: number, data: Uint8Array): void
  answerTls(handle: object, id: number, address: bigint | undefined): boolean | undefined
  tlsInfo(handle: object, id: number): TlsInfo | undefined
  tlsCertificates(handle: object, id: number, own: boolean): Uint8Array[] | undefined
  tlsSession(handle: object, id: number): Uint8Array | undefined
  tlsError(reason: number, verify: number): TlsErrorText
  flush(handle: object): void
  /** Has V8 collect garbage, a little at a time. Returns whether this Node can. */
  shrinkHeap(): boolean
  close(handle: object): void
}

/** What the engine says of a connection that is secured. */
export interface TlsInfo {
  readonly protocol: string
  readonly cipher?: string
  readonly cipherStandardName?: string
  readonly cipherVersion?: string
  readonly alpnProtocol?: string
  readonly servername?: string
  /** OpenSSL's number of what is wrong with the peer's certificate; 0: nothing. */
  readonly verify: number
  readonly reused: boolean
}

/** OpenSSL's words for its numbers. */
export interface TlsErrorText {
  readonly reason?: string
  readonly library?: string
  readonly verify?: string
}

/** What an account's sockets may queue, and how long they may take to close. */
export interface AccountLimits extends QueueLimits {
  /** Milliseconds. */
  readonly closeTimeout: number
}

/** What the engine is told when it is made; checked before. */
export interface EngineSettings extends SlabOptions, BusyPoll {
  /** As backend.ts numbers them. */
  readonly backend: number
  /** In the engine, if it can; else in libuv. */
  readonly sleeps: boolean
}

/** What the engine runs on. */
export interface AddonInfo {
  readonly backend: string
  readonly requested: string
  readonly reason: string
  /** Joined by commas. */
  readonly features: string
}

const RECEIVER_SIZE = RECEIVER_WORDS * Int32Array.BYTES_PER_ELEMENT
const RECORDS_MAX = 8192
/** Ends of frames in a batch, of records that have several. */
const MARKS_MAX = 32768
const COMMANDS_MAX = 8192

/** Its number among the slabs. */
const ARENA = 0
/** Outgoing bytes that are copied: what is longer than `COPY_MAX` is cheaper to hand over. */
const ARENA_SIZE = 256 * 1024
const COPY_MAX = 8192
/** Lengths are 32-bit words on their way to the engine. */
const PIECE_MAX = 2 ** 30
/** So many bytes in one turn are handed over before its end, so that the limits hold within it, too. */
const PENDING_MAX = 4 * 1024 * 1024
/** Below this a loop beats the call of `TypedArray.prototype.set`. */
const LOOP_MAX = 24

type FastBuffer = Buffer & { utf8Write(text: string, offset: number, length: number): number }

export class Link {
  readonly records = new Int32Array(RECORDS_MAX * RECORD_WORDS)
  /** Where frames end, for records of them. Costs nothing before there are any. */
  readonly marks = new Int32Array(MARKS_MAX)
  /** Queued bytes of each connection, by index; written by the addon. Negative: see engine.h. */
  gauges = new Float64Array(1024)
  /** Changes each time that the commands have been executed. */
  epoch = 0

  readonly #addon: Addon
  readonly #handle: object
  readonly #commands = new Int32Array(COMMAND_HEADER_WORDS + COMMANDS_MAX * COMMAND_WORDS)
  readonly #large: Uint8Array[] = []
  readonly #arena = Buffer.allocUnsafeSlow(ARENA_SIZE) as FastBuffer
  readonly #arenaWords = new Int32Array(this.#arena.buffer)
  #arenaUsed = 0
  /** Bytes written since the commands were executed. */
  #pending = 0
  #inBatch = false
  #scheduled = false
  #open = true
  readonly #flushTask: () => void
  readonly #forgetExit: () => void

  readonly #slabs: Slabs

  /**
   * @param stats where the addon counts; see metrics.ts
   * @param onBatch called once per loop turn with the number of records; again, with 0, after ticks and
   * promises have run, if it returned true or threw
   * @param onClosed called when every descriptor is closed
   */
  constructor(
    addon: Addon, settings: EngineSettings, stats: Float64Array,
    onBatch: (count: number) => unknown, onClosed: () => void,
  ) {
    this.#addon = addon
    this.#handle = addon.create({
      records: this.records,
      marks: this.marks,
      commands: this.#commands,
      stats,
      large: this.#large,
      ...settings,
      onBatch: (count) => {
        this.#inBatch = true
        this.#commands[Header.views] = 0
        try {
          return onBatch(count)
        } finally {
          this.#releaseRetired()
          this.#inBatch = false
        }
      },
      onClosed,
    })
    this.#flushTask = () => {
      this.#scheduled = false
      if (this.#commands[Header.count] !== 0) this.flush()
    }
    // The arena comes first, so that its number is 0.
    addon.addSlab(this.#handle, this.#arena.buffer, Purpose.output)
    addon.setGauges(this.#handle, this.gauges)
    this.#forgetExit = flushAtExit(this.#flushTask)
    this.#slabs = new Slabs(addon, this.#handle, stats, settings, () => { this.flush() })
  }

  get slabs(): Slabs {
    return this.#slabs
  }

  info(): AddonInfo | undefined {
    return this.#addon.info(this.#handle)
  }

  /** Whether what was queued in `epoch` still waits to be executed. */
  isPending(epoch: number): boolean {
    return epoch === this.epoch && this.#commands[Header.count] !== 0
  }

  /** A user of its own, whose sockets count in `stats`. @returns its number */
  openAccount(stats: Float64Array, limits: AccountLimits): number {
    return this.#addon.openAccount(this.#handle, stats, limits)
  }

  closeAccount(account: number): void {
    this.#addon.closeAccount(this.#handle, account)
  }

  /** @param options as options.ts has them */
  listen(account: number, address: string, port: number, options: Int32Array): number {
    return this.#addon.listen(this.#handle, account, address, port, options)
  }

  /** @param limits and `exempt` as options.ts has them */
  limitListener(id: number, limits: Int32Array, exempt: Int32Array | undefined): void {
    this.#addon.limitListener(this.#handle, id, limits, exempt)
  }

  /** @returns a negative errno if it is gone */
  listenerCounts(id: number, counts: Float64Array): number {
    return this.#addon.listenerCounts(this.#handle, id, counts)
  }

  pauseListener(id: number, paused: boolean): void {
    this.#addon.pauseListener(this.#handle, id, paused)
  }

  closeListener(id: number): void {
    this.#addon.closeListener(this.#handle, id)
  }

  /**
   * @param options as options.ts has them
   * @returns an id, or a negative errno; `BIND_FAILED` less than that if it is the local address's
   */
  connect(
    account: number, address: string, port: number, options: Int32Array, localAddress?: string, localPort = 0,
  ): number {
    return this.#addon.connect(this.#handle, account, address, port, options, localAddress, localPort)
  }

  /**
   * A socket for datagrams.
   *
   * @param options as options.ts has them
   * @returns an id, or a negative errno
   */
  bind(account: number, address: string, port: number, options: Int32Array): number {
    return this.#addon.bind(this.#handle, account, address, port, options)
  }

  /** Where its multicast leaves by; or, with a group, the interface on which it joins or leaves that. */
  multicast(id: number, networkInterface: string, group?: string, join?: boolean): number {
    return this.#addon.multicast(this.#handle, id, networkInterface, group, join)
  }

  /** The words of a literal address, but for the port; or a negative errno. */
  receiver(address: string): Int32Array | number {
    const words = new Int32Array(RECEIVER_WORDS)
    const result = this.#addon.parseAddress(address, words)
    return result < 0 ? result : words
  }

  /** What the kernel has made of the options of a socket. */
  socketOptions(id: number, words: Int32Array): number {
    return this.#addon.socketOptions(this.#handle, id, words)
  }

  localAddress(id: number, words: Int32Array): number {
    return this.#addon.localAddress(this.#handle, id, words)
  }

  remoteAddress(id: number, words: Int32Array): number {
    return this.#addon.remoteAddress(this.#handle, id, words)
  }

  /** Fills in what is known of a connection, for somebody who looks. Returns 0, or a negative errno. */
  connectionInfo(id: number, words: Float64Array): number {
    return this.#addon.connectionInfo(this.#handle, id, words)
  }

  /** Sets it, if there is a value. Returns what it is, or a negative errno. */
  typeOfService(id: number, value?: number): number {
    return this.#addon.typeOfService(this.#handle, id, value)
  }

  /** The kernel's number of the socket, or a negative errno. */
  descriptor(id: number): number {
    return this.#addon.descriptor(this.#handle, id)
  }

  /** A further number of the same, which the caller is to close; or a negative errno. */
  duplicate(id: number): number {
    return this.#addon.duplicate(this.#handle, id)
  }

  /**
   * Adopts a listener.
   *
   * @param options as options.ts has them
   * @param as of `Adoptable`
   * @param ownsFile the file of a Unix socket goes with it
   * @returns an id, or a negative errno
   */
  adoptListener(
    account: number, descriptor: number, options: Int32Array, as: number, ownsFile: boolean,
  ): number {
    return this.#addon.adoptListener(this.#handle, account, descriptor, options, as, ownsFile)
  }

  /**
   * A listener for which an acceptor accepts, on another thread.
   *
   * @param descriptors of its seat, as `Loan` has them
   * @returns an id, or a negative errno
   */
  borrowListener(account: number, descriptors: Int32Array, unix: boolean, options: Int32Array): number {
    return this.#addon.borrowListener(this.#handle, account, descriptors, unix, options)
  }

  /** Adopts a connection, which is paused at first. @returns an id, or a negative errno */
  adoptConnection(account: number, descriptor: number, options: Int32Array): number {
    return this.#addon.adoptConnection(this.#handle, account, descriptor, options)
  }

  /** Whether the descriptor is one that was adopted, or one whose number was asked for. */
  knows(descriptor: number): boolean {
    return this.#open && this.#addon.knowsDescriptor(this.#handle, descriptor) === 1
  }

  /** The file of a Unix socket stays when the listener closes. */
  disownFile(id: number): void {
    this.#addon.disownFile(this.#handle, id)
  }

  /** The file of a Unix socket goes with its listener. @returns whether the descriptor is one of this engine's */
  ownFile(descriptor: number): boolean {
    return this.#open && this.#addon.ownFile(this.#handle, descriptor)
  }

  /** Whether the process at the other end of a Unix socket is of the same user: 1, 0 or a negative errno. */
  sameUser(id: number): number {
    return this.#addon.sameUser(this.#handle, id)
  }

  /** Where a Unix socket is bound to; undefined: nowhere. */
  socketPath(id: number): string | undefined {
    return this.#addon.socketPath(this.#handle, id)
  }

  /** What arrives may carry descriptors. @returns 0, or a negative errno */
  carryDescriptors(id: number): number {
    return this.#addon.carryDescriptors(this.#handle, id)
  }

  /** Sends bytes now, the first of which carries descriptors. @returns how many bytes, or a negative errno */
  sendDescriptors(id: number, data: Uint8Array, descriptors: readonly number[]): number {
    return this.#addon.sendDescriptors(this.#handle, id, data, Int32Array.from(descriptors))
  }

  /** Those that have arrived, which are the caller's now; at most so many. */
  takeDescriptors(id: number, most: number): number[] {
    const descriptors = new Int32Array(most)
    const count = this.#addon.takeDescriptors(this.#handle, id, descriptors)
    return [...descriptors.subarray(0, Math.max(count, 0))]
  }

  /** Whether the engine keeps the event loop alive. */
  setRef(on: boolean): void {
    this.#addon.setRef(this.#handle, on)
  }

  /** Makes a connection one with TLS. @returns 0 or a negative errno */
  startTls(id: number, context: object, serverName: Uint8Array | undefined, session: Uint8Array | undefined): number {
    // What was written before goes as it is.
    this.flush()
    return this.#addon.startTls(this.#handle, id, context, serverName, session)
  }

  prependTls(id: number, data: Uint8Array): void {
    this.#addon.prependTls(this.#handle, id, data)
  }

  /** @param address of a context whose certificates are used; undefined: what there is will do */
  answerTls(id: number, address: bigint | undefined): boolean {
    return this.#addon.answerTls(this.#handle, id, address) !== false
  }

  tlsInfo(id: number): TlsInfo | undefined {
    return this.#addon.tlsInfo(this.#handle, id)
  }

  /** DER: the peer's with what it has sent along, or that of this side. */
  tlsCertificates(id: number, own = false): Uint8Array[] {
    return this.#addon.tlsCertificates(this.#handle, id, own) ?? []
  }

  tlsSession(id: number): Uint8Array | undefined {
    return this.#addon.tlsSession(this.#handle, id)
  }

  /** Executes what is queued now. */
  flush(): void {
    if (this.#open) this.#addon.flush(this.#handle)
    this.#commands[Header.count] = 0
  }

  close(): void {
    if (!this.#open) return
    this.#open = false
    this.#forgetExit()
    this.#slabs.close()
    this.#addon.close(this.#handle)
  }

  command(operation: number, id: number): void {
    this.queue(operation, id, 0, 0)
  }

  /** Milliseconds; 0 for none. */
  idleTimeout(id: number, time: number): void {
    commands.idleTimeout(this, id, time)
  }

  inputTimeout(id: number, time: number): void {
    commands.inputTimeout(this, id, time)
  }

  expectInput(id: number, on: boolean): void {
    commands.expectInput(this, id, on ? 1 : 0)
  }

  noDelay(id: number, on: boolean): void {
    commands.noDelay(this, id, on ? 1 : 0)
  }

  /** Times are seconds. */
  keepAlive(id: number, on: boolean, idle: number, interval: number, count: number): void {
    commands.keepAlive(this, interval, id, on ? 1 : 0, count, idle)
  }

  /**
   * Queues bytes; returns how many.
   *
   * @param taken their memory may change as soon as this has returned: what is long is offered to the kernel
   * at once, and what it does not take is copied, as what is short is
   */
  write(id: number, data: Uint8Array | string, taken: boolean): number {
    const length = typeof data === 'string' ? this.#writeText(id, data) : this.#writeBytes(id, data, taken)
    this.#pending += length
    if (this.#pending >= PENDING_MAX) this.flush()
    return length
  }

  #writeBytes(id: number, data: Uint8Array, taken: boolean): number {
    const length = data.length
    if (length === 0) return 0
    const short = length <= COPY_MAX
    const slab = taken && short ? undefined : slabOf(data)
    if (slab !== undefined && slab.slabs === this.#slabs && slab.id !== 0) {
      if (taken) commands.writeTaken(this, slab.id, id, data.byteOffset, length)
      else commands.write(this, slab.id, id, data.byteOffset, length)
    } else if (short) {
      const start = this.#room(length)
      this.#copy(data, length, start)
      commands.write(this, ARENA, id, start, length)
    } else {
      this.#writeLarge(id, data, taken)
    }
    if (taken && !short) this.flush()
    return length
  }

  /**
   * Queues a datagram; its bytes are copied.
   *
   * @param to as `receiver` gives it
   */
  send(id: number, data: Uint8Array | string, length: number, to: Int32Array, port: number): void {
    // The words are aligned.
    const start = (this.#room(RECEIVER_SIZE + length + 3) + 3) & ~3
    const words = this.#arenaWords
    const at = start >> 2
    words[at] = to[0] | port
    for (let i = 1; i < RECEIVER_WORDS; i++) words[at + i] = to[i]
    const first = start + RECEIVER_SIZE
    if (typeof data === 'string') this.#arena.utf8Write(data, first, length)
    else this.#copy(data, length, first)
    this.#arenaUsed = first + length
    commands.send(this, ARENA, id, start, length)
  }

  /**
   * Asks for frames to be found.
   *
   * @param words as `FrameWord` has them
   */
  frame(id: number, words: Int32Array, delimiter: Uint8Array): void {
    const length = delimiter.length
    // The words are aligned.
    const start = (this.#room(words.byteLength + length + 3) + 3) & ~3
    this.#arenaWords.set(words, start >> 2)
    this.#copy(delimiter, length, start + words.byteLength)
    commands.frame(this, ARENA, id, start, length)
  }

  /** Nobody looks any more at the views made so far. Done by the next flush. */
  viewsOver(): void {
    if (this.#slabs.reused) this.#commands[Header.views] = Views.over
  }

  /** The views made so far are still looked at: if that is why memory is short, there will be other memory. */
  viewsKept(): void {
    if (this.#slabs.takeShortage()) this.#commands[Header.views] = Views.kept
  }

  /** Makes sure that there is a gauge for this index. */
  reserveGauge(index: number): void {
    if (index < this.gauges.length) return
    let length = this.gauges.length
    while (length <= index) length *= 2
    const before = this.gauges
    this.gauges = new Float64Array(length)
    this.gauges.set(before)
    this.#addon.setGauges(this.#handle, this.gauges)
  }

  #releaseRetired(): void {
    for (const id of this.#slabs.takeRetired()) commands.releaseSlab(this, id)
  }

  /** For `commands`, which know what the words mean. */
  queue(operation: number, id: number, first: number, second: number): void {
    const words = this.#commands
    if (words[Header.count] === COMMANDS_MAX) this.flush()
    const count = words[Header.count]
    if (count === 0) this.#begin()
    const at = COMMAND_HEADER_WORDS + count * COMMAND_WORDS
    words[at] = operation
    words[at + 1] = id
    words[at + 2] = first
    words[at + 3] = second
    words[Header.count] = count + 1
    if (exit.begun) this.flush()
  }

  /** The first command since they were executed: the arena is free again. */
  #begin(): void {
    this.epoch++
    this.#pending = 0
    if (this.#inBatch || this.#scheduled) return
    this.#scheduled = true
    queueMicrotask(this.#flushTask)
  }

  #copy(data: Uint8Array, length: number, start: number): void {
    const arena = this.#arena
    if (length <= LOOP_MAX) {
      for (let i = 0; i < length; i++) arena[start + i] = data[i]
    } else {
      arena.set(data, start)
    }
    this.#arenaUsed = start + length
  }

  /** Where `length` bytes can be put in the arena, and their command queued without a flush. */
  #room(length: number): number {
    const count = this.#commands[Header.count]
    if (count === 0) return 0
    if (count < COMMANDS_MAX && this.#arenaUsed + length <= ARENA_SIZE) return this.#arenaUsed
    this.flush()
    return 0
  }

  #writeText(id: number, text: string): number {
    // UTF-8 takes at most three bytes for each UTF-16 unit.
    const most = text.length * 3
    if (most === 0) return 0
    if (most > ARENA_SIZE) {
      const data = Buffer.from(text)
      this.#writeLarge(id, data, false)
      return data.length
    }
    const start = this.#room(most)
    const length = this.#arena.utf8Write(text, start, most)
    this.#arenaUsed = start + length
    commands.write(this, ARENA, id, start, length)
    return length
  }

  #writeLarge(id: number, data: Uint8Array, taken: boolean): void {
    // Memory of other threads could change while it is sent; and the addon wants the plain kind.
    // So could another engine's, when it is filled again.
    const changes = data.buffer instanceof SharedArrayBuffer || isLent(data)
    const plain = changes ? Buffer.from(data) : data
    for (let at = 0; at < plain.length; at += PIECE_MAX) {
      const piece = plain.length <= PIECE_MAX ? plain : plain.subarray(at, at + PIECE_MAX)
      // The index is good until the next flush.
      if (this.#commands[Header.count] === COMMANDS_MAX) this.flush()
      const index = this.#large.push(piece) - 1
      if (taken) commands.writeLargeTaken(this, id, index, piece.length)
      else commands.writeLarge(this, id, index, piece.length)
    }
  }
}
