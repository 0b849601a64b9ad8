/**
 * The relay core: what one node knows of the others, and what it tells them.
 *
 * Between two nodes there are two streams, one in each direction: a snapshot of the sender's endpoints, then endpoints
 * and messages in the order in which they came and went. Packets of a stream are numbered. A hole in the numbers ends
 * both streams, and with them everything that this side knows of the other one; then both begin anew. So what has come
 * is always a prefix of what was sent, or its loss shows as absence.
 *
 * - Beats, to all and at equal intervals, say that a node lives, and which version of its endpoints the others should
 *   have, with a digest. What they find different ends the streams as a hole does.
 * - Marks tell how far a stream has come: the last packets of one may be lost as well. They are sent as long as the
 *   other side has not said that it has heard everything.
 * - The two streams are a pair. The side that has lost the other one's stream begins a new one, which answers none; the
 *   other side ends what it knows, and answers with a new one of its own. (When both begin at the same time, the two
 *   are a pair as well.) A stream that answers another one than this side's last is not taken. Numbers of streams grow,
 *   so old ones are told from new ones.
 *
 * Invariants: a peer's endpoints are in `routes` and in the VM exactly while its inbound stream has them; a stream is
 * open only to who was heard; nothing here throws for what others send.
 */
import { cryptoModule } from '../support/builtins.js'
import { log, logs } from '../support/log.js'
import { crc32c } from '../support/crc32c.js'
import { show } from '../support/errors.js'
import type { Interest, Orientation } from '../vm/index.js'
import type { Allowed } from './allowed.js'
import type { RelayPeerMetrics } from './metrics.js'
import { MalformedPacket } from './bytes.js'
import type { Carrier, CarrierListener } from './carrier.js'
import { decode, decodeAt, encode } from './encoding.js'
import * as item from './item.js'
import {
  beatPacket, EPOCH_MAX, leavePacket, markPacket, parsePacket, streamPacket, STREAM_OVERHEAD, type Beat, type Mark,
  type StreamPacket,
} from './packet.js'
import { Inbound, Outbound, Peer, RemoteLabel, type Former } from './peer.js'
import { decodeReason, encodeReason, relayError } from './reason.js'
import { Routes, type Route } from './routes.js'

/** The VM, as the core sees it. What it is told is done in this order. */
export interface VmSide {
  nodeUp(node: string): void
  nodeDown(node: string, reason: unknown): void
  appeared(label: RemoteLabel, orientation: Orientation, topic: unknown, interest: Interest): void
  disappeared(label: RemoteLabel, reason: unknown): void
  message(body: unknown, orientation: Orientation): void
  /** The core is told as soon as the VM has nothing to do. */
  flushWhenIdle(): void
  /** Another node has this node's name, and had it first. */
  refused(error: Error): void
}

export interface CoreSettings {
  readonly node: string
  readonly heartbeatMs: number
  readonly lostAfterMs: number
  readonly maxQueuedBytes: number
  readonly maxEndpoints: number
  readonly maxNodes: number
}

/** So many bytes may come until the other side is told. */
const ANSWER_BYTES = 64 * 1024
/** For so many times `heartbeatMs` beats may come from a node without a stream from it. */
const BEATS_WITHOUT = 3
/**
 * The longest item, in bytes, that any node takes, whatever its options are. What is longer isn't sent: it would cost
 * the session with every node, and again as soon as that is back.
 */
const ITEM_MAX = 16 * 1024 * 1024
/** Items of this length fit into every queue: `maxQueuedBytes` is four times as much or more. */
const ALWAYS_FITS = 64 * 1024
/** The shortest piece of an item that another piece follows: no carrier's packets are shorter. */
const PIECE_MIN = 512
/** How often a node that was given up is told so. */
const NOTICES = 10
/** Nodes whose ages differ by less, in milliseconds, were started at the same time. */
const SAME_AGE = 500
/** For so many times `heartbeatMs` two nodes of one name may both believe that the other one is to go. */
const RIVALRY = 4

/** An endpoint of this node, as others are told. */
interface LocalEndpoint {
  readonly id: number
  readonly item: item.Item
  readonly digest: number
}

export class Core implements Omit<CarrierListener, 'onFailed'> {
  readonly #epoch = cryptoModule().randomInt(1, EPOCH_MAX)
  readonly #carrier: Carrier
  readonly #settings: CoreSettings
  readonly #allowed: Allowed
  readonly #vm: VmSide
  readonly #now: () => number
  readonly #started: number
  readonly #peers = new Map<string, Peer>()
  readonly #routes = new Routes<Peer>()
  readonly #formers = new Map<string, Former>()
  readonly #local = new Map<number, LocalEndpoint>()
  readonly #unsent = new Set<Peer>()
  readonly #hearers = new Set<Peer>()
  #localIds = 0
  #streams = 0
  #version = 1
  #digest = 0
  /** Whether endpoints have come or gone since the version. */
  #changed = false
  #flushing = false
  #up = false
  #downSince: number
  #downError: Error | undefined
  #lastTick: number
  #probes = 0
  /**
   * Others that have this node's name: since when they were heard without a pause, when last, and since when it is this
   * node that has to go.
   */
  #rivals: { readonly since: number; last: number; secondSince: number | undefined } | undefined
  #answeredRival = -Infinity
  /** When it was said last that there are as many nodes as there may be. */
  #saidFull = -Infinity
  /** When it was said last that one that is no node has sent what can't be read. */
  #saidUnread = -Infinity
  /** When it was said last that an endpoint of another node can't be here. */
  #saidImpossible = -Infinity
  #ended = false

  constructor(carrier: Carrier, settings: CoreSettings, allowed: Allowed, vm: VmSide, now: () => number) {
    this.#carrier = carrier
    this.#settings = settings
    this.#allowed = allowed
    this.#vm = vm
    this.#now = now
    this.#started = this.#lastTick = this.#downSince = now()
  }

  // What happens in this VM.

  /** An endpoint came. @returns its number; undefined if it can't be told of */
  localAppeared(orientation: Orientation, interest: Interest, topic: unknown): number | undefined {
    let encoded: Uint8Array
    try {
      encoded = encode(topic)
    } catch (error) {
      log('warning', `relay ${this.#settings.node}: an endpoint can't be told of`, { topic, reason: error })
      return undefined
    }
    const id = ++this.#localIds
    const appeared = item.appeared(id, orientation, interest, encoded)
    if (!this.#fits(appeared)) {
      log('warning', `relay ${this.#settings.node}: an endpoint can't be told of`, { reason: this.#tooLong(appeared) })
      return undefined
    }
    const digest = crc32c(appeared)
    this.#local.set(id, { id, item: appeared, digest })
    this.#digest = (this.#digest ^ digest) >>> 0
    this.#changed = true
    this.#toAll(appeared)
    return id
  }

  localDisappeared(id: number, reason: unknown): void {
    const local = this.#local.get(id)
    if (local === undefined) return
    this.#local.delete(id)
    this.#digest = (this.#digest ^ local.digest) >>> 0
    this.#changed = true
    const whole = item.disappeared(id, encodeReason(reason))
    // That it went has to be told.
    this.#toAll(this.#fits(whole) ? whole : item.disappeared(id, encodeReason(this.#tooLong(whole))))
  }

  /** A message was sent. */
  localMessage(body: unknown, orientation: Orientation): void {
    const hearers = this.#hearers
    this.#routes.find(body, orientation, hearers)
    if (hearers.size === 0) return
    try {
      // Nothing else is written until all have it, as its memory is lent.
      const message = item.message(orientation, body)
      if (!this.#fits(message)) throw this.#tooLong(message)
      for (const peer of hearers) {
        const { outbound } = peer
        if (outbound === undefined) continue
        outbound.pages.addLent(message)
        this.#added(peer, outbound)
      }
    } catch (error) {
      log('warning', `relay ${this.#settings.node}: a message can't be sent to other nodes`, { body, reason: error })
    }
    hearers.clear()
  }

  /** Whether an item may go: alone, with the headers of its packets, it has room in an empty queue. */
  #fits({ length }: { readonly length: number }): boolean {
    if (length <= ALWAYS_FITS) return true
    const packets = Math.ceil(length / (this.#carrier.maxPacket - STREAM_OVERHEAD)) + 1
    return length <= ITEM_MAX && length + packets * STREAM_OVERHEAD <= this.#settings.maxQueuedBytes
  }

  #tooLong({ length }: { readonly length: number }): Error {
    const { maxQueuedBytes } = this.#settings
    const most = `${ITEM_MAX} are the most, and what maxQueuedBytes, which is ${maxQueuedBytes}, has room for`
    return Object.assign(new RangeError(`it takes ${length} bytes; ${most}`), { code: 'EMSGSIZE' })
  }

  /** Whether messages of this orientation may be for others. */
  hasHearers(orientation: Orientation): boolean {
    return this.#routes.countFor(orientation) > 0
  }

  /** Sends what was written since the last time. */
  flush(): void {
    this.#flushing = false
    if (!this.#up || this.#ended) return
    if (this.#changed) {
      this.#changed = false
      this.#version++
      const version = item.version(this.#version, this.#digest)
      for (const { outbound } of this.#peers.values()) outbound?.pages.add(version)
      for (const peer of this.#peers.values()) this.#unsent.add(peer)
    }
    for (const peer of this.#unsent) this.#send(peer)
    this.#unsent.clear()
  }

  /** The orderly end. What was written goes first. */
  leave(): void {
    this.flush()
    if (this.#up) {
      for (const peer of this.#peers.values()) {
        peer.outbound?.pages.add(item.ends())
        this.#send(peer)
      }
      this.#carrier.send(undefined, leavePacket(this.#epoch))
    }
    this.#ended = true
  }

  metrics(): RelayPeerMetrics[] {
    const now = this.#now()
    return [...this.#peers.values()].map(({ name, inbound, outbound, lastHeard, gaps }) => ({
      node: name, up: inbound !== undefined && inbound.version > 0, silentMs: now - lastHeard,
      queuedBytes: outbound?.waiting ?? 0, endpoints: inbound?.endpoints.size ?? 0, gaps,
    }))
  }

  #toAll(what: item.Item): void {
    for (const peer of this.#peers.values()) this.#toPeer(peer, what)
    this.#flushSoon()
  }

  #toPeer(peer: Peer, what: item.Item): void {
    const { outbound } = peer
    if (outbound === undefined) return
    outbound.pages.add(what)
    this.#added(peer, outbound)
  }

  #added(peer: Peer, outbound: Outbound): void {
    this.#unsent.add(peer)
    this.#flushSoon()
    this.#checkQueue(peer, outbound)
  }

  #flushSoon(): void {
    if (this.#flushing) return
    this.#flushing = true
    this.#vm.flushWhenIdle()
  }

  #send(peer: Peer): void {
    const { name, epoch, outbound, refused } = peer
    if (outbound === undefined) return
    for (const { payload, continues } of outbound.pages.take()) {
      const packet = streamPacket({
        epoch: this.#epoch, target: epoch, stream: outbound.number, seq: outbound.seq++, refuses: refused,
        answers: outbound.answers, continues, payload,
      })
      outbound.bytes += packet.length
      outbound.unheardSince ??= this.#now()
      this.#carrier.send(name, packet)
    }
  }

  /** Too much waits for a node: it loses its session, not single messages. */
  #checkQueue(peer: Peer, outbound: Outbound, carried = 0): void {
    const { maxQueuedBytes } = this.#settings
    const waiting = Math.max(outbound.waiting, carried) - outbound.snapshotBytes
    if (waiting <= maxQueuedBytes) return
    const what = `${waiting} bytes wait for node ${show(peer.name)}; maxQueuedBytes is ${maxQueuedBytes}`
    // It has to show that it hears again, or the snapshots would pile up.
    peer.probe = ++this.#probes
    this.#loseSession(peer, relayError('ENOBUFS', peer.name, what))
  }

  // What the carrier tells.

  onUp(): void {
    if (this.#up || this.#ended) return
    this.#up = true
    const now = this.#now()
    for (const peer of this.#peers.values()) {
      peer.lastHeard = now
      if (peer.outbound?.unheardSince !== undefined) peer.outbound.unheardSince = now
    }
    this.#beat()
    this.flush()
  }

  onDown(error?: Error): void {
    if (!this.#up) return
    this.#up = false
    this.#downSince = this.#now()
    this.#downError = error
  }

  onGone(node: string, error?: Error): void {
    const peer = this.#peers.get(node)
    if (peer !== undefined) this.#forget(peer, error ?? this.#lost(peer.name, 'it is gone'), this.#now())
  }

  onMessage(from: string, bytes: Uint8Array): void {
    if (this.#ended) return
    const now = this.#now()
    const known = this.#peers.get(from)
    if (known !== undefined && now < known.ignoredUntil) return
    try {
      const packet = parsePacket(bytes)
      if (from === this.#settings.node) {
        if (packet.kind === 'beat' && packet.epoch !== this.#epoch) this.#onRival(packet, now)
        return
      }
      const peer = this.#speaker(from, packet.epoch, packet.kind === 'leave', now)
      if (peer === undefined) return
      if (packet.kind === 'beat') this.#onBeat(peer, packet, now)
      else if (packet.kind === 'leave') this.#onLeave(peer, now)
      else if (packet.target !== this.#epoch) return
      else if (packet.kind === 'stream') this.#onStream(peer, packet, bytes.length)
      else this.#onMark(peer, packet, now)
    } catch (error) {
      this.#onMalformed(from, error, now)
    }
  }

  /** What a node has sent can't be read, or is more than it may send. It costs that node its session, for a while. */
  #onMalformed(from: string, error: unknown, now: number): void {
    const { node, lostAfterMs } = this.#settings
    const peer = this.#peers.get(from)
    // Those that are no nodes may be as many as they like, and none of them is ignored for a while.
    if (peer === undefined) {
      if (now - this.#saidUnread < lostAfterMs) return
      this.#saidUnread = now
    }
    const what = `node ${show(from)} has sent what can't be read`
    log('warning', `relay ${node}: ${what}`, { reason: error })
    if (peer === undefined) return
    peer.ignoredUntil = now + lostAfterMs
    peer.lastHeard = now
    this.#loseSession(peer, relayError('EPROTO', from, what, error))
  }

  /** The VM can't have an endpoint that a node has told of. */
  impossible(label: RemoteLabel, error: unknown): void {
    this.#revoke(label)
    this.#saysImpossible(label.node, error)
  }

  /**
   * That there is no room in this VM may be another node's doing, or this program's: so it costs a node nothing but the
   * endpoint, and not its session.
   */
  #saysImpossible(from: string, error: unknown): void {
    const { node, lostAfterMs } = this.#settings
    const now = this.#now()
    if (now - this.#saidImpossible < lostAfterMs) return
    this.#saidImpossible = now
    log('warning', `relay ${node}: an endpoint of node ${show(from)} can't be here`, { reason: error })
  }

  /** Nothing is sent to it any more. @returns whether it was here */
  #revoke(label: RemoteLabel): boolean {
    const { route, routes } = label
    if (route === undefined) return false
    label.route = undefined
    this.#routes.remove(routes, route)
    return true
  }

  /** Who has sent a packet; undefined if it isn't to be heard. */
  #speaker(from: string, epoch: number, leaves: boolean, now: number): Peer | undefined {
    const peer = this.#peers.get(from)
    if (peer === undefined) return leaves || !this.#hasRoom(from, now) ? undefined : this.#meet(from, epoch, now)
    if (peer.epoch === epoch) {
      peer.lastHeard = now
      const { claimant } = peer
      // A packet of the old node may have been on its way for some time; when they both go on, they are two.
      if (claimant !== undefined && now - claimant.since > this.#settings.heartbeatMs) {
        peer.claimant = undefined
        log('warning', `relay ${this.#settings.node}: two nodes have the name ${show(from)}; the second is not heard`)
      }
      return peer
    }
    if (leaves) {
      if (peer.claimant?.epoch === epoch) peer.claimant = undefined
    } else if (peer.claimant?.epoch === epoch) {
      peer.claimant.last = now
    } else {
      peer.claimant = { epoch, since: now, last: now }
    }
    return undefined
  }

  #meet(name: string, epoch: number, now: number): Peer {
    const peer = new Peer(name, epoch, now)
    const former = this.#formers.get(name)
    if (former !== undefined) {
      // Else who leaves and comes again at once would have a snapshot each time.
      peer.outboundNotBefore = former.outboundNotBefore
      peer.answerNotBefore = former.answerNotBefore
      this.#formers.delete(name)
    }
    this.#peers.set(name, peer)
    this.#open(peer, now)
    return peer
  }

  /** Whether there may be a node of this name. One that was here a moment ago has its place still. */
  #hasRoom(name: string, now: number): boolean {
    const { node, maxNodes, lostAfterMs } = this.#settings
    if (this.#formers.has(name) || this.#peers.size + this.#formers.size < maxNodes || this.#makeRoom(now)) return true
    if (now - this.#saidFull >= lostAfterMs) {
      this.#saidFull = now
      log('warning', `relay ${node}: node ${show(name)} is not heard: maxNodes is ${maxNodes}`)
    }
    return false
  }

  /** Forgets the node that went first, if it is only kept to be told that it was given up: who is there goes first. */
  #makeRoom(now: number): boolean {
    for (const [name, { outboundNotBefore, answerNotBefore }] of this.#formers) {
      return now >= outboundNotBefore && now >= answerNotBefore && this.#formers.delete(name)
    }
    return false
  }

  #onRival({ age, epoch }: Beat, now: number): void {
    const { node, heartbeatMs } = this.#settings
    const known = this.#rivals
    const rivals = this.#rivals = known !== undefined && now - known.last <= 2 * heartbeatMs
      ? known : { since: now, last: now, secondSince: undefined }
    rivals.last = now
    const older = age - (now - this.#started)
    // A beat is older than it says by the time that it took. So one of the two may find the ages the same and the other
    // one may not, and each of them that the other one is to go. When both have stayed, epochs alone say who goes.
    const sameAge = now - rivals.since > RIVALRY * heartbeatMs ? 2 * SAME_AGE : SAME_AGE
    const second = Math.abs(older) < sameAge ? epoch < this.#epoch : older > 0
    if (!second) {
      // It hears of us at once, and not only with the next beat.
      if (now - this.#answeredRival < heartbeatMs / 2) return
      this.#answeredRival = now
      this.#beat()
      return
    }
    rivals.secondSince ??= now
    // A beat of a node that was here before, and has ended, may still have been on its way.
    if (now - rivals.secondSince < heartbeatMs / 2) return
    this.#vm.refused(relayError('ENODEINUSE', node, `the name ${show(node)} is another node's; each has its own`))
  }

  #onLeave(peer: Peer, now: number): void {
    // What it sent before may come after this.
    if (peer.inbound === undefined) this.#forget(peer, undefined, now)
    else peer.leavingSince ??= now
  }

  #onBeat(peer: Peer, { version, digest }: Beat, now: number): void {
    const { inbound } = peer
    if (inbound === undefined) {
      if (now - peer.silentSince > BEATS_WITHOUT * this.#settings.heartbeatMs) this.#reopen(peer, now)
      return
    }
    if (version === inbound.version) {
      inbound.behind = undefined
      if (digest !== inbound.digest) this.#loseByGap(peer)
    } else if (inbound.behind !== undefined && inbound.version < inbound.behind) {
      this.#loseByGap(peer)
    } else {
      inbound.behind = version > inbound.version ? version : undefined
    }
  }

  #onStream(peer: Peer, packet: StreamPacket, size: number): void {
    const { stream, seq } = packet
    if (stream <= peer.refused) return
    const number = peer.inbound?.number ?? 0
    if (stream < number || (stream === number && seq < (peer.inbound?.seq ?? 0))) return
    if (stream === number && seq > (peer.inbound?.seq ?? 0)) {
      this.#loseByGap(peer)
      return
    }
    if (stream > number) {
      if (seq > 0) this.#loseByGap(peer)
      if (seq > 0 || !this.#begins(peer, packet)) {
        peer.refused = stream
        return
      }
    }
    this.#accept(peer, peer.inbound as Inbound, packet, size)
  }

  /** The other side begins a stream. @returns whether that is taken */
  #begins(peer: Peer, { stream, answers, refuses }: StreamPacket): boolean {
    const { outbound, inbound } = peer
    if (answers !== 0 && answers !== outbound?.number) return false
    // Both have begun at the same time.
    const crossed = inbound === undefined && outbound?.answers === 0 && outbound.number > refuses
    if (inbound !== undefined) {
      peer.gaps++
      this.#closeInbound(peer, this.#gap(peer.name))
    }
    const isAnswered = answers !== 0 || crossed
    const now = this.#now()
    if (isAnswered) {
      peer.inbound = new Inbound(stream)
      return true
    }
    peer.outbound = undefined
    peer.silentSince = now
    if (now < peer.answerNotBefore || !this.#reads(peer, now)) {
      // There is never one of the two alone: what is sent to who is present goes.
      peer.wantsOutbound = true
      return false
    }
    peer.answerNotBefore = now + this.#settings.heartbeatMs / 2
    peer.inbound = new Inbound(stream)
    this.#begin(peer)
    return true
  }

  #accept(peer: Peer, inbound: Inbound, { payload, continues }: StreamPacket, size: number): void {
    inbound.seq++
    inbound.bytes += size
    let whole = payload
    if (continues || inbound.pieces.length > 0) {
      // Each that another one follows is a whole packet: else little that counts could be much that is kept.
      if (continues && payload.length < PIECE_MIN) {
        throw new MalformedPacket(`a piece of ${payload.length} bytes, though more follow`)
      }
      // A copy, as it lies in what was received, of which it may be the least part.
      inbound.pieces.push(payload.slice())
      inbound.pieceBytes += payload.length
      // In pieces is an item with its length before it.
      if (inbound.pieceBytes > ITEM_MAX + STREAM_OVERHEAD) {
        throw new MalformedPacket(`an item of more than ${ITEM_MAX} bytes`)
      }
      if (continues) {
        this.#answerBytes(peer, inbound)
        return
      }
      whole = Buffer.concat(inbound.pieces)
      inbound.pieces = []
      inbound.pieceBytes = 0
    }
    this.#read(peer, inbound, whole)
    this.#answerBytes(peer, inbound)
  }

  #answerBytes(peer: Peer, inbound: Inbound): void {
    if (peer.inbound === inbound && inbound.bytes - inbound.answeredBytes >= ANSWER_BYTES) this.#mark(peer, false)
  }

  #read(peer: Peer, inbound: Inbound, payload: Uint8Array): void {
    item.readItems(payload, {
      wantsMore: () => peer.inbound === inbound,
      appeared: (id, orientation, interest, topic, whole) => {
        this.#remoteAppeared(peer, inbound, id, orientation, interest, decode(topic), crc32c(whole))
      },
      disappeared: (id, reason) => {
        const endpoint = inbound.endpoints.get(id)
        if (endpoint === undefined) throw new MalformedPacket('an endpoint goes that has not come')
        this.#remoteDisappeared(inbound, id, decodeReason(reason))
        inbound.digest = (inbound.digest ^ endpoint.digest) >>> 0
      },
      message: (orientation, bytes, start, end) => {
        const message = decodeAt(bytes, start, end)
        if (this.#allowed.admits(message)) this.#vm.message(message, orientation)
        else if (logs('debug')) log('debug', 'a message of another node is not allowed here', { body: message })
      },
      version: (version, digest) => {
        if (digest !== inbound.digest) throw new MalformedPacket('the digest of its endpoints is wrong')
        const first = inbound.version === 0
        inbound.version = version
        if (first) this.#vm.nodeUp(peer.name)
      },
      ends: () => { this.#forget(peer, undefined, this.#now()) },
    })
  }

  #remoteAppeared(
    peer: Peer, inbound: Inbound, id: number, orientation: Orientation, interest: Interest, topic: unknown,
    digest: number,
  ): void {
    if (inbound.endpoints.has(id)) throw new MalformedPacket('an endpoint comes that is there')
    if (inbound.endpoints.size >= this.#settings.maxEndpoints) {
      throw new MalformedPacket(`more endpoints than maxEndpoints, which is ${this.#settings.maxEndpoints}`)
    }
    const parts: RemoteLabel[] = []
    inbound.endpoints.set(id, { parts, digest })
    inbound.digest = (inbound.digest ^ digest) >>> 0
    for (const part of this.#allowed.partsOf(topic)) {
      let route: Route<Peer>
      try {
        route = this.#routes.add(peer, inbound.routes, orientation, part)
      } catch (error) {
        this.#saysImpossible(peer.name, error)
        continue
      }
      const label = new RemoteLabel(peer.name, inbound.routes, route)
      parts.push(label)
      this.#vm.appeared(label, orientation, part, interest)
    }
  }

  #remoteDisappeared(inbound: Inbound, id: number, reason: unknown): void {
    const endpoint = inbound.endpoints.get(id)
    inbound.endpoints.delete(id)
    for (const label of endpoint?.parts ?? []) if (this.#revoke(label)) this.#vm.disappeared(label, reason)
  }

  #onMark(peer: Peer, mark: Mark, now: number): void {
    const { stream, seq, heard, heardSeq, heardBytes, refuses } = mark
    peer.echo = mark.probe
    if (peer.probe !== 0 && mark.echo === peer.probe) peer.probe = 0
    if (peer.outbound?.number === heard) peer.outbound.heard(heardSeq, heardBytes, now)
    const noStream = stream === 0 && peer.inbound !== undefined
    if (noStream || (peer.outbound !== undefined && peer.outbound.number <= refuses)) {
      this.#loseByGap(peer)
    } else if (stream > peer.refused && stream >= (peer.inbound?.number ?? 0)) {
      if (stream !== peer.inbound?.number) {
        this.#loseByGap(peer)
        peer.refused = stream
      } else if (seq > peer.inbound.seq) {
        this.#loseByGap(peer)
      }
    }
    if (mark.wantsAnswer) this.#mark(peer, false)
  }

  // Sessions.

  #gap(name: string): Error {
    return relayError('EGAP', name, `something from or to node ${show(name)} was lost on the way`)
  }

  #lost(name: string, why: string): Error {
    const { lostCode = 'ENODELOST' } = this.#carrier
    return relayError(lostCode, name, `node ${show(name)} is lost: ${why}`)
  }

  #loseByGap(peer: Peer): void {
    peer.gaps++
    this.#loseSession(peer, this.#gap(peer.name))
  }

  /** Both streams end, and begin anew. */
  #loseSession(peer: Peer, reason: Error): void {
    if (peer.inbound !== undefined) this.#closeInbound(peer, reason)
    this.#reopen(peer, this.#now())
  }

  /** Everything that is known of a node is no more. */
  #closeInbound(peer: Peer, reason: unknown): void {
    const inbound = peer.inbound as Inbound
    peer.inbound = undefined
    peer.refused = Math.max(peer.refused, inbound.number)
    if (reason !== undefined && logs('info')) {
      log('info', `relay ${this.#settings.node}: all of node ${show(peer.name)} is absent`, { reason })
    }
    if (inbound.version > 0) this.#vm.nodeDown(peer.name, reason)
    for (const id of [...inbound.endpoints.keys()]) this.#remoteDisappeared(inbound, id, reason)
  }

  #reopen(peer: Peer, now: number): void {
    peer.outbound = undefined
    peer.silentSince = now
    this.#open(peer, now)
  }

  /** Whether a snapshot may go to a node: not to one that doesn't read. */
  #reads({ name, ignoredUntil, probe }: Peer, now: number): boolean {
    return now >= ignoredUntil && probe === 0 && this.#carrier.queued(name) <= this.#settings.maxQueuedBytes
  }

  /** Begins a stream that answers none; not too often, as each begins with a snapshot. */
  #open(peer: Peer, now: number): void {
    peer.wantsOutbound = now < peer.outboundNotBefore || !this.#reads(peer, now)
    if (peer.wantsOutbound) return
    peer.outboundNotBefore = now + this.#settings.heartbeatMs
    this.#begin(peer)
  }

  #begin(peer: Peer): void {
    peer.wantsOutbound = false
    const pageMax = this.#carrier.maxPacket - STREAM_OVERHEAD
    const outbound = new Outbound(++this.#streams, peer.inbound?.number ?? 0, pageMax)
    for (const local of this.#local.values()) outbound.pages.add(local.item)
    // Otherwise the next flush says which version it is.
    if (!this.#changed) outbound.pages.add(item.version(this.#version, this.#digest))
    outbound.snapshotBytes = outbound.pages.bytes
    peer.outbound = outbound
    this.#unsent.add(peer)
    this.#flushSoon()
  }

  /** The node is none any more; who claims its name now becomes one. */
  #forget(peer: Peer, reason: unknown, now: number): void {
    if (this.#peers.get(peer.name) !== peer) return
    if (peer.inbound !== undefined) this.#closeInbound(peer, reason)
    this.#peers.delete(peer.name)
    this.#unsent.delete(peer)
    const { name, epoch, refused, outboundNotBefore, answerNotBefore } = peer
    const isTold = reason !== undefined && peer.claimant === undefined && refused > 0
    this.#formers.set(name, { epoch, refused, notices: isTold ? NOTICES : 0, outboundNotBefore, answerNotBefore })
    peer.outbound = undefined
    if (peer.claimant !== undefined) this.#meet(peer.name, peer.claimant.epoch, now)
  }

  // Time.

  /** To be called every `heartbeatMs`. */
  tick(): void {
    if (this.#ended) return
    const now = this.#now()
    const { heartbeatMs, lostAfterMs } = this.#settings
    const late = now - this.#lastTick - heartbeatMs
    this.#lastTick = now
    // This node has stood still: it doesn't know whether others were silent meanwhile.
    if (late > heartbeatMs) this.#forgive(late)
    if (!this.#up) {
      if (now - this.#downSince < lostAfterMs) return
      for (const peer of [...this.#peers.values()]) {
        const what = 'the link to all other nodes is down'
        this.#forget(peer, relayError('ENETSPLIT', peer.name, what, this.#downError), now)
      }
      return
    }
    for (const peer of [...this.#peers.values()]) this.#tickPeer(peer, now)
    for (const [name, former] of this.#formers) this.#tickFormer(name, former, now)
    this.#beat()
    this.flush()
  }

  #forgive(late: number): void {
    this.#downSince += late
    for (const peer of this.#peers.values()) {
      peer.lastHeard += late
      if (peer.outbound?.unheardSince !== undefined) peer.outbound.unheardSince += late
    }
  }

  #tickPeer(peer: Peer, now: number): void {
    const { name, outbound, claimant } = peer
    const { heartbeatMs, lostAfterMs } = this.#settings
    if (peer.leavingSince !== undefined && now - peer.leavingSince >= heartbeatMs) {
      this.#forget(peer, undefined, now)
      return
    }
    if (claimant !== undefined && now - claimant.last > 2 * heartbeatMs) peer.claimant = undefined
    else if (claimant !== undefined && now - claimant.since >= 2 * heartbeatMs) {
      this.#forget(peer, this.#lost(name, 'it was started again'), now)
      return
    }
    if (now < peer.ignoredUntil) return
    const silent = now - peer.lastHeard
    if (silent >= lostAfterMs) {
      this.#forget(peer, this.#lost(name, `nothing was heard from it for ${Math.round(silent)} ms`), now)
      return
    }
    if (outbound?.unheardSince !== undefined && now - outbound.unheardSince >= lostAfterMs) {
      this.#forget(peer, this.#lost(name, `it has not answered for ${lostAfterMs} ms`), now)
      return
    }
    if (outbound !== undefined) this.#checkQueue(peer, outbound, this.#carrier.queued(name))
    if (peer.wantsOutbound) this.#open(peer, now)
    const unheard = peer.outbound !== undefined && peer.outbound.heardSeq < peer.outbound.seq
    if (unheard || peer.probe !== 0) this.#mark(peer, true)
  }

  #beat(): void {
    const age = Math.max(0, Math.round(this.#now() - this.#started))
    // What has changed since the version is not sent yet.
    this.flush()
    this.#carrier.send(undefined, beatPacket({ epoch: this.#epoch, age, version: this.#version, digest: this.#digest }))
  }

  #mark(peer: Peer, wantsAnswer: boolean): void {
    if (!this.#up) return
    // A mark says that the stream has begun.
    if (peer.outbound?.seq === 0) this.#send(peer)
    const { name, epoch, outbound, inbound, refused, probe, echo } = peer
    if (inbound !== undefined) inbound.answeredBytes = inbound.bytes
    this.#carrier.send(name, markPacket({
      epoch: this.#epoch, target: epoch, stream: outbound?.number ?? 0, seq: outbound?.seq ?? 0, refuses: refused,
      wantsAnswer, heard: inbound?.number ?? 0, heardSeq: inbound?.seq ?? 0, heardBytes: inbound?.bytes ?? 0, probe,
      echo,
    }))
  }

  /** A node that was given up is told so: it may hear although it isn't heard. */
  #tickFormer(name: string, former: Former, now: number): void {
    if (former.notices > 0) {
      former.notices--
      this.#carrier.send(name, markPacket({
        epoch: this.#epoch, target: former.epoch, stream: 0, seq: 0, refuses: former.refused,
        wantsAnswer: false, heard: 0, heardSeq: 0, heardBytes: 0, probe: 0, echo: 0,
      }))
    } else if (now >= former.outboundNotBefore && now >= former.answerNotBefore) {
      this.#formers.delete(name)
    }
  }
}
