/**
 * What is shared with the addon by number: records, commands, options. Owns nothing.
 *
 * Made by scripts/layout.mjs from native/layout.mjs: change that.
 */

/** 32-bit words of a record. */
export const RECORD_WORDS = 8

/** 32-bit words of a command. */
export const COMMAND_WORDS = 4

/** Words before the first command, as in `header`. */
export const COMMAND_HEADER_WORDS = 4

/** Of an address: what `family` describes, and four words of the address, most significant first. */
export const ADDRESS_WORDS = 5

/** Of whom a datagram is for: the same, and the zone. */
export const RECEIVER_WORDS = 6

/** Stands for a port where the address is the path of a Unix socket. */
export const UNIX_PORT = -1

/** Further below 0 than any errno: a failed connect is so much less if the local address is why. */
export const BIND_FAILED = 4096

/** Of an address' first word: the port is below 16, the family below this, the zone of IPv6 above. */
export const ZONE_SHIFT = 19

/** A zone without room there is the third word, which they leave 0 (RFC 4291, 2.5.6). */
export const ZONE_ELSEWHERE = 4095

/** The index in an id; the rest is a generation. */
export const INDEX_MASK = 1048575

/** The family in the first word of an address. */
export const Family = { unix: 1, ipv4: 4, ipv6: 6 } as const

/** By number. */
export const BACKENDS = [
  'auto', 'epoll', 'io_uring',
] as const

/** What an ArrayBuffer is for. */
export const Purpose = { output: 0, input: 1, smallInput: 2, tinyInput: 3 } as const

/** What a descriptor of others is adopted as. */
export const Adoptable = { listener: 0, bound: 1, connection: 2 } as const

/** Where a connection goes, besides the numbers of places. */
export const RouteAnswer = { fewest: -1, more: -2, refuse: -3 } as const

/** How a stream is cut into frames. */
export const FrameKind = { bytes: 0, length: 1, varint: 2, delimiter: 3, fixed: 4, lines: 5 } as const

/** Words before the commands. */
export const Header = {
  /** How many commands follow: JavaScript counts up, who executes them sets it to 0. */
  count: 0,
  /** What is to become of the views of slabs, as `views` has it. */
  views: 1,
} as const

/** What there is to say of the views that were given. */
export const Views = {
  /** Slabs may be filled again. */
  over: 1,
  /** Full slabs are to be replaced. */
  kept: 2,
} as const

/** The system call of an error, by its number; the last five are no calls. */
export const CALLS = [
  '', 'listen', 'accept', 'connect', 'read', 'write', 'shutdown', 'poll', 'tls', 'idle', 'silence', 'firstByte',
  'frame',
] as const

/** What a record tells: its first word. */
export const Record = {
  accepted: 1,
  acceptFailed: 2,
  connected: 3,
  data: 4,
  end: 5,
  written: 6,
  closed: 7,
  slabRetired: 8,
  slabsShort: 9,
  dropped: 10,
  sender: 11,
  truncated: 12,
  sendFailed: 13,
  receiveFailed: 14,
  frames: 15,
  secured: 16,
  tlsAsks: 17,
  tlsSession: 18,
  tlsCut: 19,
  tlsFailed: 20,
} as const

export const AcceptedRecord = { id: 1, listener: 2, peer: 3 } as const

export const AcceptFailedRecord = { listener: 1, error: 2 } as const

export const DataRecord = { id: 1, slab: 2, offset: 3, length: 4 } as const

export const WrittenRecord = { id: 1, bytes: 2 } as const

/** `error` is 0 if it ended in order; `queued` are the bytes that waited to be sent, in 31 bits. */
export const ClosedRecord = { id: 1, error: 2, call: 3, queued: 4 } as const

/**
 * Connections were reset because of a limit of the listener's: how many since the last such record, which was at
 * least a second ago, and the peer of the last.
 */
export const DroppedRecord = { listener: 1, count: 2, peer: 3 } as const

/** Who has sent the datagrams that follow as `data`, up to the next such record or the end of the turn. */
export const SenderRecord = { id: 1, peer: 3 } as const

/** A datagram that was too long, and is lost, with its sender. */
export const TruncatedRecord = { id: 1, length: 2, peer: 3 } as const

/** With the receiver. */
export const SendFailedRecord = { id: 1, error: 2, peer: 3 } as const

export const ReceiveFailedRecord = { id: 1, error: 2 } as const

/**
 * Bytes in which so many frames end: where, the marks from `mark` on say, counted from `offset`; if it is one, with
 * the last byte. The generation is that of the command.
 */
export const FramesRecord = { id: 1, slab: 2, offset: 3, length: 4, count: 5, mark: 6, generation: 7 } as const

/** Why `closed` follows: OpenSSL's number of the error, and of what is wrong with the certificate, or 0. */
export const TlsFailedRecord = { id: 1, reason: 2, verify: 3 } as const

/** Commands that say no more than for whom they are. */
export const Command = {
  shutdown: 3,
  close: 4,
  abort: 5,
  pause: 6,
  resume: 7,
  reportWritesOn: 8,
  reportWritesOff: 9,
  secure: 20,
} as const

export interface CommandQueue {
  queue(operation: number, id: number, first: number, second: number): void
}

/** Queues a command of the others. */
export const commands = {
  /** Bytes of a slab. */
  write(to: CommandQueue, slab: number, id: number, offset: number, length: number): void {
    to.queue(1 | (slab << 8), id, offset, length)
  },
  /** A whole buffer, by its index in the list of large ones. */
  writeLarge(to: CommandQueue, id: number, index: number, length: number): void {
    to.queue(2, id, index, length)
  },
  /** JavaScript has seen that the slab is retired. */
  releaseSlab(to: CommandQueue, slab: number): void {
    to.queue(10 | (slab << 8), 0, 0, 0)
  },
  /** Milliseconds; 0: none. */
  idleTimeout(to: CommandQueue, id: number, time: number): void {
    to.queue(11, id, time, 0)
  },
  noDelay(to: CommandQueue, id: number, on: number): void {
    to.queue(12, id, on, 0)
  },
  /** Idle time and interval are seconds; `count` is of probes. */
  keepAlive(to: CommandQueue, interval: number, id: number, on: number, count: number, idle: number): void {
    to.queue(13 | (interval << 8), id, on | (count << 1), idle)
  },
  /** As `write`, but the memory is not used after `flush`: what is left is copied. */
  writeTaken(to: CommandQueue, slab: number, id: number, offset: number, length: number): void {
    to.queue(14 | (slab << 8), id, offset, length)
  },
  /** As `writeLarge`, the same. */
  writeLargeTaken(to: CommandQueue, id: number, index: number, length: number): void {
    to.queue(15, id, index, length)
  },
  /** Milliseconds; 0: none. */
  inputTimeout(to: CommandQueue, id: number, time: number): void {
    to.queue(16, id, time, 0)
  },
  expectInput(to: CommandQueue, id: number, on: number): void {
    to.queue(17, id, on, 0)
  },
  /** A datagram: bytes of a slab, after the words of whom it is for, which `length` doesn't count. */
  send(to: CommandQueue, slab: number, id: number, offset: number, length: number): void {
    to.queue(18 | (slab << 8), id, offset, length)
  },
  /**
   * Frames are to be found in what comes: the words of `options.frame`, and then a delimiter, of which `length` is
   * the length.
   */
  frame(to: CommandQueue, slab: number, id: number, offset: number, length: number): void {
    to.queue(19 | (slab << 8), id, offset, length)
  },
} as const

export const SocketWord = {
  noDelay: 0,
  keepAlive: 1,
  keepAliveIdle: 2,
  keepAliveInterval: 3,
  keepAliveCount: 4,
  userTimeout: 5,
  sendBufferSize: 6,
  receiveBufferSize: 7,
} as const

export const SOCKET_WORDS = 8

export const ListenWord = { backlog: 8, ipv6Only: 9, reusePort: 10, exclusive: 11, pauseOnAccept: 12 } as const

export const LISTEN_WORDS = 13

export const LimitsWord = {
  maxConnections: 0,
  connectionsPerPrefix: 1,
  acceptRate: 2,
  acceptBurst: 3,
  prefixRate: 4,
  prefixBurst: 5,
  receiveRate: 6,
  receiveBurst: 7,
  prefixLength4: 8,
  prefixLength6: 9,
  maxIdlePrefixes: 10,
  firstByteTimeout: 11,
  frameTimeout: 12,
  pauseAbove: 13,
} as const

export const LIMITS_WORDS = 14

export const UdpWord = {
  ipv6Only: 0,
  reuseAddress: 1,
  broadcast: 2,
  ttl: 3,
  multicastTTL: 4,
  multicastLoopback: 5,
  receiveBufferSize: 6,
  sendBufferSize: 7,
  maxDatagramSize: 8,
  maxQueuedBytes: 9,
} as const

export const UDP_WORDS = 10

export const FrameWord = {
  generation: 0,
  position: 1,
  kind: 2,
  size: 3,
  offset: 4,
  adjust: 5,
  little: 6,
  longest: 7,
  seen: 8,
  whole: 9,
  matched: 10,
  skipsLF: 11,
} as const

export const FRAME_WORDS = 12
