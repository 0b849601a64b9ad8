/**
 * What C++ and TypeScript share, written once: what the engine reports, what it is told, how sockets are asked for,
 * and what is counted. Data only; `node scripts/layout.mjs` makes both sides of it.
 *
 * Names are written as TypeScript has them (camelCase); C++ has them in snake_case. A name's text says what it means
 * where it doesn't say so itself.
 */

/** Numbers that both sides have to agree on. */
export const constants = {
  indexBits: [20, 'Of an id: the index of the socket; what is above it is a generation.'],
  recordWords: [8, '32-bit words of a record.'],
  commandWords: [4, '32-bit words of a command.'],
  commandHeaderWords: [4, 'Words before the first command, as in `header`.'],
  addressWords: [5, 'Of an address: what `family` describes, and four words of the address, most significant first.'],
  receiverWords: [6, 'Of whom a datagram is for: the same, and the zone.'],
  unixPort: [-1, 'Stands for a port where the address is the path of a Unix socket.'],
  bindFailed: [4096, 'Further below 0 than any errno: a failed connect is so much less if the local address is why.'],
  zoneShift: [19, 'Of an address\' first word: the port is below 16, the family below this, the zone of IPv6 above.'],
  zoneElsewhere: [4095, 'A zone without room there is the third word, which they leave 0 (RFC 4291, 2.5.6).'],
}

/** The family in the first word of an address. */
export const family = { unix: 1, ipv4: 4, ipv6: 6 }

/** By number; `auto` chooses. */
export const backends = ['auto', 'epoll', 'io_uring']

/**
 * What an ArrayBuffer is for: the memory that output is written from, or one to be received into: pieces of any
 * length, or small ones, or datagrams that are shorter still.
 */
export const purposes = ['output', 'input', 'smallInput', 'tinyInput']

/** What a descriptor of others is to be adopted as: see `check_adoptable` in native/engine/adopt.h. */
export const adoptables = ['listener', 'bound', 'connection']

/** Where a connection goes, besides the numbers of places: see `answer` in native/engine/acceptor.h. */
export const routeAnswers = { fewest: -1, more: -2, refuse: -3 }

/** What a listener limits, by the name of the option; src/transport/seam/limits.ts says what they are. */
export const limits = [
  'maxConnections', 'acceptRate', 'connectionsPerPrefix', 'acceptRatePerPrefix', 'firstByteTimeout', 'frameTimeout',
  'receiveRate', 'pauseAbove',
]

/** How a stream is cut into frames; src/transport/seam/framing.ts says what they are. */
export const frameKinds = ['bytes', 'length', 'varint', 'delimiter', 'fixed', 'lines']

/** Words before the commands. */
export const header = {
  count: 'How many commands follow: JavaScript counts up, who executes them sets it to 0.',
  views: 'What is to become of the views of slabs, as `views` has it.',
}

/** What the program has to say of the views that it was given. */
export const views = { over: [1, 'Slabs may be filled again.'], kept: [2, 'Full slabs are to be replaced.'] }

/** The system call that an error belongs to, under the name that Node gives it. The last five are no calls. */
export const calls = [
  ['none', ''], ['listen', ''], ['accept', ''], ['connect', ''], ['read', ''], ['write', ''], ['shutdown', ''],
  ['poll', ''], ['tls', 'the rules of TLS were broken, or what they demand is missing'],
  ['idle', 'nothing came or went for too long'], ['silence', 'nothing came for too long'],
  ['firstByte', 'the first byte did not come in time'],
  ['frame', 'a frame that had begun did not come in time'],
]

/** What the engine reports. Fields are words, in order; `peer` is an address and takes five. */
export const records = {
  accepted: ['id', 'listener', 'peer'],
  acceptFailed: ['listener', 'error'],
  connected: ['id'],
  data: ['id', 'slab', 'offset', 'length'],
  end: ['id'],
  written: ['id', 'bytes'],
  closed: ['id', 'error', 'call', 'queued'],
  slabRetired: ['slab'],
  slabsShort: ['purpose'],
  dropped: ['listener', 'count', 'peer'],
  sender: ['id', 'unused', 'peer'],
  truncated: ['id', 'length', 'peer'],
  sendFailed: ['id', 'error', 'peer'],
  receiveFailed: ['id', 'error'],
  frames: ['id', 'slab', 'offset', 'length', 'count', 'mark', 'generation'],
  secured: ['id'],
  tlsAsks: ['id'],
  tlsSession: ['id'],
  tlsCut: ['id'],
  tlsFailed: ['id', 'reason', 'verify'],
}

export const recordTexts = {
  closed: '`error` is 0 if it ended in order; `queued` are the bytes that waited to be sent, in 31 bits.',
  slabRetired: 'No more will be received into this slab: the host may give up its reference.',
  slabsShort: 'Reading stopped for lack of slabs for `input`; it goes on when the host has added some. Of another '
    + 'purpose: bigger ones were used instead.',
  dropped: 'Connections were reset because of a limit of the listener\'s: how many since the last such record, which '
    + 'was at least a second ago, and the peer of the last.',
  sender: 'Who has sent the datagrams that follow as `data`, up to the next such record or the end of the turn.',
  truncated: 'A datagram that was too long, and is lost, with its sender.',
  sendFailed: 'With the receiver.',
  frames: 'Bytes in which so many frames end: where, the marks from `mark` on say, counted from `offset`; if it is '
    + 'one, with the last byte. The generation is that of the command.',
  secured: 'The TLS handshake is over. What follows as `data` was encrypted.',
  tlsAsks: 'The client has said whom it wants to talk to: the host says with which certificate it goes on.',
  tlsSession: 'There is a session that can be resumed later.',
  tlsCut: 'The end that follows was not announced by TLS: something may be missing.',
  tlsFailed: 'Why `closed` follows: OpenSSL\'s number of the error, and of what is wrong with the certificate, or 0.',
}

/**
 * What the engine is told: an operation in the lowest byte of the first word, the id in the second, and fields:
 * `high` is what is above the operation, `first` and `second` are the other two words; after a colon the first bit
 * and how many.
 */
export const commands = {
  write: { slab: 'high', id: 'id', offset: 'first', length: 'second' },
  writeLarge: { id: 'id', index: 'first', length: 'second' },
  shutdown: { id: 'id' },
  close: { id: 'id' },
  abort: { id: 'id' },
  pause: { id: 'id' },
  resume: { id: 'id' },
  reportWritesOn: { id: 'id' },
  reportWritesOff: { id: 'id' },
  releaseSlab: { slab: 'high' },
  idleTimeout: { id: 'id', time: 'first' },
  noDelay: { id: 'id', on: 'first' },
  keepAlive: { interval: 'high', id: 'id', on: 'first:0:1', count: 'first:1:31', idle: 'second' },
  writeTaken: { slab: 'high', id: 'id', offset: 'first', length: 'second' },
  writeLargeTaken: { id: 'id', index: 'first', length: 'second' },
  inputTimeout: { id: 'id', time: 'first' },
  expectInput: { id: 'id', on: 'first' },
  send: { slab: 'high', id: 'id', offset: 'first', length: 'second' },
  frame: { slab: 'high', id: 'id', offset: 'first', length: 'second' },
  secure: { id: 'id' },
}

export const commandTexts = {
  write: 'Bytes of a slab.',
  writeLarge: 'A whole buffer, by its index in the list of large ones.',
  releaseSlab: 'JavaScript has seen that the slab is retired.',
  idleTimeout: 'Milliseconds; 0: none.',
  keepAlive: 'Idle time and interval are seconds; `count` is of probes.',
  writeTaken: 'As `write`, but the memory is not used after `flush`: what is left is copied.',
  writeLargeTaken: 'As `writeLarge`, the same.',
  inputTimeout: 'Milliseconds; 0: none.',
  send: 'A datagram: bytes of a slab, after the words of whom it is for, which `length` doesn\'t count.',
  frame: 'Frames are to be found in what comes: the words of `options.frame`, and then a delimiter, of which `length` '
    + 'is the length.',
}

/**
 * Options of sockets, one word each, in order; the type is that of the engine's field. And which frames are to be
 * found, and from where on, with how far the search has come there (`FrameScanner`).
 */
export const options = {
  socket: {
    struct: 'SocketOptions',
    words: {
      noDelay: ['bool', 'no_delay'], keepAlive: ['bool', 'keep_alive'],
      keepAliveIdle: ['int32_t', 'keep_alive_idle_s'], keepAliveInterval: ['int32_t', 'keep_alive_interval_s'],
      keepAliveCount: ['int32_t', 'keep_alive_count'], userTimeout: ['int32_t', 'user_timeout_ms'],
      sendBufferSize: ['int32_t', 'send_buffer_size'], receiveBufferSize: ['int32_t', 'receive_buffer_size'],
    },
    written: true,
  },
  listen: {
    struct: 'ListenOptions',
    // The options of the connections come first.
    before: ['socket', 'socket'],
    words: {
      backlog: ['int32_t', 'backlog'], ipv6Only: ['bool', 'v6_only'], reusePort: ['bool', 'reuse_port'],
      exclusive: ['bool', 'exclusive'], pauseOnAccept: ['bool', 'pause_accepted'],
    },
  },
  limits: {
    struct: 'ListenLimits',
    words: {
      maxConnections: ['int32_t', 'most'], connectionsPerPrefix: ['uint32_t', 'prefix_connections_max'],
      acceptRate: ['uint32_t', 'rate.per_second'], acceptBurst: ['uint32_t', 'rate.burst'],
      prefixRate: ['uint32_t', 'prefix_rate.per_second'], prefixBurst: ['uint32_t', 'prefix_rate.burst'],
      receiveRate: ['uint32_t', 'receive_rate.per_second'], receiveBurst: ['uint32_t', 'receive_rate.burst'],
      prefixLength4: ['uint8_t', 'prefix_v4'], prefixLength6: ['uint8_t', 'prefix_v6'],
      maxIdlePrefixes: ['uint32_t', 'idle_prefixes_max'], firstByteTimeout: ['uint32_t', 'first_byte_ms'],
      frameTimeout: ['uint32_t', 'frame_ms'], pauseAbove: ['uint32_t', 'pause_above_ms'],
    },
  },
  udp: {
    struct: 'UdpSocketOptions',
    words: {
      ipv6Only: ['int32_t', 'v6_only'], reuseAddress: ['int32_t', 'reuse_address'],
      broadcast: ['int32_t', 'broadcast'], ttl: ['int32_t', 'ttl'], multicastTTL: ['int32_t', 'multicast_ttl'],
      multicastLoopback: ['int32_t', 'multicast_loopback'], receiveBufferSize: ['int32_t', 'receive_buffer'],
      sendBufferSize: ['int32_t', 'send_buffer'], maxDatagramSize: ['uint32_t', 'datagram_max'],
      maxQueuedBytes: ['uint32_t', 'queue_max'],
    },
  },
  frame: {
    struct: 'FrameOrder',
    words: {
      generation: ['uint32_t', 'generation'], position: ['uint32_t', 'position'], kind: ['engine::FrameKind', 'kind'],
      size: ['uint32_t', 'size'], offset: ['uint32_t', 'offset'], adjust: ['int32_t', 'adjust'],
      little: ['bool', 'little'], longest: ['uint32_t', 'longest'], seen: ['uint32_t', 'seen'],
      whole: ['uint32_t', 'whole'], matched: ['uint32_t', 'matched'], skipsLF: ['bool', 'after_cr'],
    },
  },
}

/**
 * What a listener has counted, as 64-bit floating-point numbers, in order; before it, how often each of `limits` acted.
 */
export const listenerCounts = {
  connections: 'Open now.',
  prefixes: 'That are remembered now, for their connections or how fast they came.',
  overloaded: 'Whether it is paused because of `pauseAbove`.',
}

/**
 * What is known of one connection when somebody asks, as 64-bit floating-point numbers, in order: mostly the kernel's
 * TCP_INFO. What an older kernel doesn't know is 0.
 */
export const connectionInfo = {
  held: 'Why nothing is read at present: 1 the host has paused it, 2 there is no slab, 4 too much of its own output '
    + 'waits, 8 too much of all of its account, 16 TLS has to wait, 32 it has had its rate. A sum; 0 if it is not '
    + 'held.',
  roundTrip: 'Microseconds, smoothed.',
  roundTripVariance: 'Microseconds.',
  lowestRoundTrip: 'Microseconds.',
  retransmits: 'Segments that were sent again, in all.',
  lost: 'Segments that seem to be lost at present.',
  unacknowledged: 'Segments that are on their way.',
  congestionWindow: 'Segments that may be.',
  segmentSize: 'Bytes of a segment that is sent, at most.',
  bytesSent: 'Of data, those that were sent again included.',
  bytesAcknowledged: 'That the peer has.',
  bytesReceived: 'Of data.',
  bytesUnsent: 'That the kernel has not sent yet.',
  sinceSent: 'Milliseconds since data was sent last.',
  sinceReceived: 'Milliseconds since data came last.',
  deliveryRate: 'Bytes a second that have reached the peer, lately.',
}

/** What is counted, as 64-bit floating-point numbers, for the program to read at any time. Times are nanoseconds. */
export const stats = {
  bytesOut: 'Taken by the kernel.',
  chunksOut: 'Handed over by the program.',
  queuedBytes: 'Waiting to be sent at present.',
  kernelTime: 'In system calls and the engine\'s own work.',
  jsTime: 'In the program, called with a batch.',
  slabsSpent: 'Bytes of full slabs that the program may still see.',
  datagramsOut: 'Taken by the kernel.',
  iteration: 'Of Node\'s loop, in which the last turn was.',
  spins: 'How often the next event was waited for awake.',
  listenersPaused: 'Because of `pauseAbove`, now.',
  ...Object.fromEntries(
    limits.map((name) => [`of${name[0].toUpperCase()}${name.slice(1)}`, `How often ${name} acted.`]),
  ),
}
