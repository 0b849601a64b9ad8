/** Roles: how an endpoint takes part in the conversations of its topic; and the events it is told. */
import { _ } from '../topic/index.js'
import { argumentError } from '../support/errors.js'

/** Which way messages flow: from publishers to subscribers; feedback flows back. */
export type Orientation = 'publisher' | 'subscriber'

/**
 * `participant`: takes part, and peers are told. `observer`: is told of participants, and nobody is
 * told of it. `everything`: is told of peers of all three types. Messages reach all three alike.
 */
export type Interest = 'participant' | 'observer' | 'everything'

/** An orientation, a topic and an interest type. */
export class Role {
  /** Publisher or subscriber. */
  readonly orientation: Orientation
  /** A message with wildcards in it. */
  readonly topic: unknown
  /** Participant, observer or everything. */
  readonly interest: Interest

  constructor(orientation: Orientation, topic: unknown, interest: Interest = 'participant') {
    this.orientation = orientation
    this.topic = topic
    this.interest = interest
  }

  /** `subscriber observer` */
  toString(): string {
    return `${this.orientation} ${this.interest}`
  }
}

/**
 * The role of a peer, as it is told of: its topic is what the two topics have in common. A peer that asks
 * for one thing, and one that asks for all, can meet in the same: drivers have to tell them apart.
 */
export class PeerRole extends Role {
  readonly #whole: unknown

  constructor(orientation: Orientation, topic: unknown, interest: Interest, whole: unknown) {
    super(orientation, topic, interest)
    this.#whole = whole
  }

  /** The topic that a peer has itself, which may have wildcards where what it has in common has none. */
  static wholeTopic(peer: Role): unknown {
    return peer instanceof PeerRole ? peer.#whole : peer.topic
  }
}

/**
 * Makes a role.
 *
 * @param topic default `_`; `undefined` itself is none
 * @param interest default `participant`
 * @throws TypeError when an argument is not one of the words above, or the topic is `undefined`
 */
export function role(orientation: Orientation, topic?: unknown, interest?: Interest): Role
export function role(...given: [orientation: Orientation, topic?: unknown, interest?: Interest]): Role {
  const [orientation, topic = _, interest = 'participant'] = given
  checkOrientation('role', orientation)
  if (given.length > 1) checkTopic('role', given[1])
  checkInterest('role', interest)
  return new Role(orientation, topic, interest)
}

/** What isn't there is rarely meant to be a topic, and must not become the topic that meets everything. */
export function checkTopic(call: string, topic: unknown): void {
  if (topic === undefined) throw argumentError(call, 'topic', 'a topic (`_` meets everything)', topic)
}

export function checkOrientation(call: string, orientation: unknown): void {
  if (orientation !== 'publisher' && orientation !== 'subscriber') {
    throw argumentError(call, 'orientation', "'publisher' or 'subscriber'", orientation)
  }
}

export function checkInterest(call: string, interest: unknown): void {
  if (interest !== 'participant' && interest !== 'observer' && interest !== 'everything') {
    throw argumentError(call, 'interest', "'participant', 'observer' or 'everything'", interest)
  }
}

/** A peer came: its orientation and interest, and the meeting of the two topics. */
export interface PresenceEvent {
  /** Tells the events apart. */
  readonly type: 'presence'
  /** The peer's. */
  readonly role: Role
}

/** A peer went. `reason` is undefined for an orderly end. */
export interface AbsenceEvent {
  /** Tells the events apart. */
  readonly type: 'absence'
  /** The peer's. */
  readonly role: Role
  /** Why it went: what was given to `quit` or `deleteEndpoint`, or the exception. */
  readonly reason: unknown
}

/** A message came. The role has the orientation of the sending action; its topic is the body. */
export interface MessageEvent {
  /** Tells the events apart. */
  readonly type: 'message'
  /** The orientation of the sending action, with the body as topic. */
  readonly role: Role
  /** The message. */
  readonly body: unknown
}

/** What a handler of `addEndpoint` is given. */
export type EndpointEvent = PresenceEvent | AbsenceEvent | MessageEvent
