/**
 * The contract between the relay core and what carries its packets to other nodes: message ports between threads, a
 * message broker between machines, arrays in a test.
 *
 * A carrier knows nothing of endpoints. It moves packets of bytes between nodes that are named by short strings, says
 * who a packet came from, and says what it knows for certain about the link. Everything else (heartbeats, stamps,
 * snapshots, presence, what is done about a loss) is the core's.
 */

/** A link to other nodes, which may be cut. */
export interface Carrier {
  /** The longest packet that it takes, in bytes; at least 1024. What is longer the core sends in parts. */
  readonly maxPacket: number

  /** What the absence of a node that was lost has as the `code` of its reason. Default 'ENODELOST'. */
  readonly lostCode?: string | undefined

  /**
   * Opens the link. Called once, before anything else. The listener is never called during this call, nor during
   * `send`: always later, from the event loop.
   */
  start(listener: CarrierListener): void

  /**
   * Sends a packet: to a node, or with `undefined` to all other nodes. What is sent to one node arrives in the order
   * in which it was sent, as far as it arrives, and so does what is sent to all; nothing is said about the order of the
   * two among each other. It may be lost; it never arrives twice. Never throws and never blocks: what can't be sent is
   * lost.
   *
   * @param packet belongs to the carrier from now on, with the whole of its ArrayBuffer if it fills that
   */
  send(to: string | undefined, packet: Uint8Array<ArrayBuffer>): void

  /**
   * Bytes that wait here to go to a node, or with `undefined` to all. The core sends no more to a node than its limit
   * allows. 0 for a node that it doesn't know, and for carriers that can't tell.
   */
  queued(to: string | undefined): number

  /** Ends the link. What was sent before goes first, if it can. The listener isn't called any more. */
  stop(): void
}

/** What a carrier tells. None of these throws. */
export interface CarrierListener {
  /**
   * A packet has come.
   *
   * @param from the node that sent it, as the carrier knows it (by the port, by a subject that only this node may
   *   publish to), never by what the packet says. A carrier doesn't give a node what it has sent itself: under the
   *   node's own name comes what another one has sent that uses the same name, which is how the two find out
   * @param packet belongs to the core from now on
   */
  onMessage(from: string, packet: Uint8Array): void

  /** Packets can go, from now on or again. Without this call nothing is sent. */
  onUp(): void

  /**
   * Packets can't go. If it stays so for `lostAfterMs`, everything remote becomes absent.
   *
   * @param error why, if that is known
   */
  onDown(error?: Error): void

  /**
   * A node is gone, for certain: its port was closed, its thread has ended, nobody listens to its subject.
   *
   * @param error the reason that absences are told with; without one, that of a lost node
   */
  onGone(node: string, error?: Error): void

  /**
   * The link will never be there (wrong credentials, a package that is missing): the relay ends with this reason. The
   * carrier has stopped.
   */
  onFailed(error: Error): void
}
