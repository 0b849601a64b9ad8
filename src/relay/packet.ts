/**
 * Packets, as they are on the way: four kinds, each with the epoch of its sender, which is a random number that a node
 * has from its start to its end.
 *
 * - beat, to all: that the node lives, and the version and digest of the set of its endpoints;
 * - leave, to all: that it ends;
 * - stream, to one: a part of the sequence of endpoints and messages for that node;
 * - mark, to one: how far this sequence has come, and how far that of the other side.
 */
import { MalformedPacket, numbers, putNumber, Reader, sizeOf } from './bytes.js'

const PROTOCOL = 1

/** Epochs are below this. */
export const EPOCH_MAX = 2 ** 47

export interface Beat {
  readonly kind: 'beat'
  readonly epoch: number
  /** Milliseconds since the node was started. */
  readonly age: number
  /** Of the set of its endpoints: grows with each change. */
  readonly version: number
  readonly digest: number
}

export interface Leave {
  readonly kind: 'leave'
  readonly epoch: number
}

export interface StreamPacket {
  readonly kind: 'stream'
  readonly epoch: number
  /** Epoch of the node that it is for. */
  readonly target: number
  /** Of two streams the later one has the higher number. */
  readonly stream: number
  /** Counts the packets of the stream from 0; the one with 0 begins a snapshot. */
  readonly seq: number
  /** Streams of the other side up to this number are dead. */
  readonly refuses: number
  /** The stream of the other side that this one answers; 0 if it is the first of the two. */
  readonly answers: number
  /** Whether the item that it has a piece of goes on in the next one. */
  readonly continues: boolean
  readonly payload: Uint8Array
}

export interface Mark {
  readonly kind: 'mark'
  readonly epoch: number
  readonly target: number
  /** Of the sender: the stream, and the seq that its next packet will have. 0 for no stream. */
  readonly stream: number
  readonly seq: number
  readonly refuses: number
  readonly wantsAnswer: boolean
  /** Of the other side: the stream, how many of its packets have come, and how many bytes they had. */
  readonly heard: number
  readonly heardSeq: number
  readonly heardBytes: number
  /** Any number, which the other side gives back as `echo`. */
  readonly probe: number
  readonly echo: number
}

export type Packet = Beat | Leave | StreamPacket | Mark

const BEAT = 0
const LEAVE = 1
const STREAM = 2
const MARK = 3

export function beatPacket({ epoch, age, version, digest }: Omit<Beat, 'kind'>): Uint8Array<ArrayBuffer> {
  return numbers(PROTOCOL, BEAT, epoch, age, version, digest)
}

export function leavePacket(epoch: number): Uint8Array<ArrayBuffer> {
  return numbers(PROTOCOL, LEAVE, epoch)
}

export function markPacket(mark: Omit<Mark, 'kind'>): Uint8Array<ArrayBuffer> {
  return numbers(PROTOCOL, MARK, mark.epoch, mark.target, mark.stream, mark.seq, mark.refuses,
    mark.wantsAnswer ? 1 : 0, mark.heard, mark.heardSeq, mark.heardBytes, mark.probe, mark.echo)
}

/** The most bytes of a stream packet that aren't payload. */
export const STREAM_OVERHEAD = 80

export function streamPacket(packet: Omit<StreamPacket, 'kind'>): Uint8Array<ArrayBuffer> {
  const { epoch, target, stream, seq, refuses, answers, continues, payload } = packet
  const head = [PROTOCOL, STREAM, epoch, target, stream, seq, refuses, answers, continues ? 1 : 0]
  let size = payload.length
  for (const value of head) size += sizeOf(value)
  const bytes = new Uint8Array(size)
  let at = 0
  for (const value of head) at = putNumber(bytes, at, value)
  bytes.set(payload, at)
  return bytes
}

/** @throws MalformedPacket for what is no packet */
export function parsePacket(bytes: Uint8Array): Packet {
  const reader = new Reader(bytes)
  const protocol = reader.number()
  if (protocol !== PROTOCOL) throw new MalformedPacket(`a packet of version ${protocol}; this is version ${PROTOCOL}`)
  const kind = reader.number()
  const epoch = reader.number()
  if (epoch === 0 || epoch >= EPOCH_MAX) throw new MalformedPacket('a packet without an epoch')
  switch (kind) {
    case BEAT:
      return { kind: 'beat', epoch, age: reader.number(), version: reader.number(), digest: reader.number() }
    case LEAVE:
      return { kind: 'leave', epoch }
    case STREAM:
      return {
        kind: 'stream', epoch, target: reader.number(), stream: reader.number(), seq: reader.number(),
        refuses: reader.number(), answers: reader.number(), continues: flag(reader), payload: reader.rest(),
      }
    case MARK:
      return {
        kind: 'mark', epoch, target: reader.number(), stream: reader.number(), seq: reader.number(),
        refuses: reader.number(), wantsAnswer: flag(reader), heard: reader.number(), heardSeq: reader.number(),
        heardBytes: reader.number(), probe: reader.number(), echo: reader.number(),
      }
    default:
      throw new MalformedPacket(`a packet of the unknown kind ${kind}`)
  }
}

function flag(reader: Reader): boolean {
  const value = reader.number()
  if (value > 1) throw new MalformedPacket('a flag in a packet is neither 0 nor 1')
  return value === 1
}
