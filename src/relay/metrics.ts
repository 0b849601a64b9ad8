/** What a relay tells of other nodes. Owns nothing; it is core.ts that counts. */

/** What is known of another node. Bytes are those of packets. */
export interface RelayPeerMetrics {
  /** Its name. */
  readonly node: string
  /** Whether all its endpoints are here. */
  readonly up: boolean
  /** Milliseconds since it was heard. */
  readonly silentMs: number
  /** Bytes that have been sent to it, or wait to be, and that it has not confirmed. */
  readonly queuedBytes: number
  /** Its endpoints. */
  readonly endpoints: number
  /** How often packets from it or to it were lost. */
  readonly gaps: number
}
