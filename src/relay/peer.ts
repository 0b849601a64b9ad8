/**
 * Another node, as this one knows it, with the two streams between them: what has gone out and how much of that was
 * heard, what has come and what is known from it. Owns nothing but the records.
 */
import { Label } from '../vm/label.js'
import { Pages } from './item.js'
import type { NodeRoutes, Route } from './routes.js'

/** The name of an endpoint of another node in this VM. */
export class RemoteLabel extends Label {
  /**
   * @param routes those of its node
   * @param route what messages find it by; undefined when it isn't here any more
   */
  constructor(readonly node: string, readonly routes: NodeRoutes<Peer>, public route: Route<Peer> | undefined) {
    super()
  }
}

/** An endpoint of another node: for each part of its topic that is allowed here, one in this VM. */
export interface RemoteEndpoint {
  readonly parts: readonly RemoteLabel[]
  /** Its part of the digest. */
  readonly digest: number
}

/** What goes to another node. */
export class Outbound {
  /** Of the next packet. */
  seq = 0
  /** Sent, and heard by the other side. */
  bytes = 0
  heardSeq = 0
  heardBytes = 0
  /** When the oldest packet was sent that has not been heard, as far as is known. */
  unheardSince: number | undefined = undefined
  /** What the snapshot that it begins with takes, which doesn't count as waiting. */
  snapshotBytes = 0
  readonly pages: Pages

  /** @param answers the stream of the other side that it answers; 0 if it is the first of the two */
  constructor(readonly number: number, readonly answers: number, pageMax: number) {
    this.pages = new Pages(pageMax)
  }

  /** Bytes that the other side has not heard yet, here and on the way. */
  get waiting(): number {
    return this.bytes - this.heardBytes + this.pages.bytes
  }

  heard(seq: number, bytes: number, now: number): void {
    if (seq > this.seq || bytes > this.bytes || seq <= this.heardSeq) return
    this.heardSeq = seq
    this.heardBytes = Math.max(this.heardBytes, bytes)
    this.unheardSince = seq < this.seq ? now : undefined
  }
}

/** What comes from another node. */
export class Inbound {
  /** Of the next packet. */
  seq = 0
  bytes = 0
  /** How many of them the other side was told that they were heard. */
  answeredBytes = 0
  /** Of the set of endpoints; 0 until the snapshot is complete. */
  version = 0
  digest = 0
  readonly endpoints = new Map<number, RemoteEndpoint>()
  readonly routes: NodeRoutes<Peer> = new Map()
  /** The pieces that there are of an item that takes several packets. */
  pieces: Uint8Array[] = []
  pieceBytes = 0
  /** The version that the last beat told of, if it had not come then. */
  behind: number | undefined = undefined

  constructor(readonly number: number) {}
}

/** Who else claims a node's name, and since when; the time of its last packet. */
interface Claimant {
  readonly epoch: number
  readonly since: number
  last: number
}

export class Peer {
  inbound: Inbound | undefined = undefined
  outbound: Outbound | undefined = undefined
  /** Its streams up to this number are dead. */
  refused = 0
  lastHeard: number
  /** A stream to it is wanted, and not before this time. */
  wantsOutbound = false
  outboundNotBefore = -Infinity
  /** Nor a stream that answers one of its own before this one. */
  answerNotBefore = -Infinity
  /** It has to answer this probe before another stream is opened; 0 for none. */
  probe = 0
  /** Its last probe. */
  echo = 0
  /** It wants to hear how far its stream has come. */
  owesAnswer = false
  /** Since it said to all that it ends. */
  leavingSince: number | undefined = undefined
  claimant: Claimant | undefined = undefined
  /** What it sends is ignored until then, as it has sent what is no packet. */
  ignoredUntil = -Infinity
  /** Since when it is asked for its stream, if there is none. */
  silentSince: number
  gaps = 0

  constructor(readonly name: string, readonly epoch: number, now: number) {
    this.lastHeard = this.silentSince = now
  }
}

/** What is remembered of a node that is none any more, for as long as it matters. */
export interface Former {
  readonly epoch: number
  /** Its streams up to this number are dead. */
  readonly refused: number
  /** How often it is told yet that it was given up, which it may not know. */
  notices: number
  /** As a peer has them: they are the name's, however often a node of that name leaves and comes. */
  readonly outboundNotBefore: number
  readonly answerNotBefore: number
}
