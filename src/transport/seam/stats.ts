/**
 * The words of the Float64Array that a transport counts in; the addon does, too. Owns nothing.
 *
 * Made by scripts/layout.mjs from native/layout.mjs: change that.
 */

/** Times are nanoseconds. */
export const Stat = {
  /** Taken by the kernel. */
  bytesOut: 0,
  /** Handed over by the program. */
  chunksOut: 1,
  /** Waiting to be sent at present. */
  queuedBytes: 2,
  /** In system calls and the engine's own work. */
  kernelTime: 3,
  /** In the program, called with a batch. */
  jsTime: 4,
  /** Bytes of full slabs that the program may still see. */
  slabsSpent: 5,
  /** Taken by the kernel. */
  datagramsOut: 6,
  /** Of Node's loop, in which the last turn was. */
  iteration: 7,
  /** How often the next event was waited for awake. */
  spins: 8,
  /** Because of `pauseAbove`, now. */
  listenersPaused: 9,
  /** How often maxConnections acted. */
  ofMaxConnections: 10,
  /** How often acceptRate acted. */
  ofAcceptRate: 11,
  /** How often connectionsPerPrefix acted. */
  ofConnectionsPerPrefix: 12,
  /** How often acceptRatePerPrefix acted. */
  ofAcceptRatePerPrefix: 13,
  /** How often firstByteTimeout acted. */
  ofFirstByteTimeout: 14,
  /** How often frameTimeout acted. */
  ofFrameTimeout: 15,
  /** How often receiveRate acted. */
  ofReceiveRate: 16,
  /** How often pauseAbove acted. */
  ofPauseAbove: 17,
} as const

export const STATS = 18

/** What a listener limits; their counts follow each other from the first one on. */
export const LIMITS = [
  'maxConnections', 'acceptRate', 'connectionsPerPrefix', 'acceptRatePerPrefix', 'firstByteTimeout', 'frameTimeout',
  'receiveRate', 'pauseAbove',
] as const

/** What a listener counts beside them, after them. */
export const ListenerCount = {
  /** Open now. */
  connections: 8,
  /** That are remembered now, for their connections or how fast they came. */
  prefixes: 9,
  /** Whether it is paused because of `pauseAbove`. */
  overloaded: 10,
} as const

/** Of a connection that somebody asks about. */
export const ConnectionInfoWord = {
  /**
   * Why nothing is read at present: 1 the host has paused it, 2 there is no slab, 4 too much of its own output waits,
   * 8 too much of all of its account, 16 TLS has to wait, 32 it has had its rate. A sum; 0 if it is not held.
   */
  held: 0,
  /** Microseconds, smoothed. */
  roundTrip: 1,
  /** Microseconds. */
  roundTripVariance: 2,
  /** Microseconds. */
  lowestRoundTrip: 3,
  /** Segments that were sent again, in all. */
  retransmits: 4,
  /** Segments that seem to be lost at present. */
  lost: 5,
  /** Segments that are on their way. */
  unacknowledged: 6,
  /** Segments that may be. */
  congestionWindow: 7,
  /** Bytes of a segment that is sent, at most. */
  segmentSize: 8,
  /** Of data, those that were sent again included. */
  bytesSent: 9,
  /** That the peer has. */
  bytesAcknowledged: 10,
  /** Of data. */
  bytesReceived: 11,
  /** That the kernel has not sent yet. */
  bytesUnsent: 12,
  /** Milliseconds since data was sent last. */
  sinceSent: 13,
  /** Milliseconds since data came last. */
  sinceReceived: 14,
  /** Bytes a second that have reached the peer, lately. */
  deliveryRate: 15,
} as const

export const CONNECTION_INFO = 16

export const LISTENER_COUNTS = 11
