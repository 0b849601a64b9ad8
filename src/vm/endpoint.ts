/** Endpoints: a role that a process plays under a name, with the handlers of its events. */
import { isPromise } from 'node:util/types'
import { examine, sameTopic, snapshot, type IndexEntry } from '../topic/index.js'
import { Action, AtMetaLevel, type AddEndpoint, type AnyHandlers } from './action.js'
import type { ActionTree, HandlerResult } from './handler.js'
import type { Process } from './process.js'
import { PeerRole, Role, type Interest, type Orientation } from './role.js'

type PresenceHandler = (topic: unknown, state: unknown, peer: Role, name: unknown) => HandlerResult<unknown>
type AbsenceHandler = (
  topic: unknown,
  state: unknown,
  reason: unknown,
  peer: Role,
  name: unknown,
) => HandlerResult<unknown>
type MessageHandler = (body: unknown, state: unknown, name: unknown) => HandlerResult<unknown>

/* What an endpoint is, as bits of one number: there are many endpoints. */
const LINEAR = 1
const RECEIVES = 2
const INSTALLED = 4
const PUBLISHER = 8
const OBSERVER = 16
const EVERYTHING = 32
const EXACT = 64
const IMMEDIATE = 128
const REPLIES = 256
const REMOTE = 512
const WATCHES = 1024

const INTEREST_BITS: Record<Interest, number> = { participant: 0, observer: OBSERVER, everything: EVERYTHING }

/** An action to be performed so many levels out; what is no action stays as it is. */
function outwards(result: HandlerResult<unknown>, levels: number): HandlerResult<unknown> {
  if (isPromise(result)) return result.then((actions) => outwards(actions, levels) as ActionTree<unknown>)
  if (!(result instanceof Action)) return result
  let action: Action = result
  for (let i = 0; i < levels; i++) action = new AtMetaLevel(action)
  return action
}

/* The fields that a message touches come first: they share a cache line. */
export class Endpoint implements IndexEntry {
  onMessage: MessageHandler | undefined = undefined
  /** The process whose handlers and state it has: `owner`, or one inside of it. */
  readonly target: Process
  /** The process that it belongs to in the VM where it is installed. */
  readonly owner: Process
  private bits = 0

  readonly name: unknown
  readonly topic: unknown
  onPresence: PresenceHandler | undefined = undefined
  onAbsence: AbsenceHandler | undefined = undefined
  /** Its neighbours among those of its process; see endpoint-table.ts. */
  next: Endpoint | undefined = undefined
  previous: Endpoint | undefined = undefined

  shape: IndexEntry['shape'] = undefined
  number = 0
  place = 0
  bucketPlace = 0
  atom0: IndexEntry['atom0'] = undefined
  atom1: IndexEntry['atom1'] = undefined
  moreAtoms: IndexEntry['moreAtoms'] = undefined

  /** @throws RangeError when the name or the topic exceeds the limits of topics */
  constructor(action: AddEndpoint<unknown>, owner: Process, target: Process) {
    const { name, role, handlers, kind } = action
    const { linear, fixed } = examine(role.topic)
    this.name = snapshot(name)
    this.topic = snapshot(role.topic, fixed)
    this.bits =
      INTEREST_BITS[role.interest] |
      (role.orientation === 'publisher' ? PUBLISHER : 0) |
      (kind.exact === true || target.guard !== undefined ? EXACT : 0) |
      (kind.immediate === true ? IMMEDIATE : 0) |
      (kind.replies === true ? REPLIES : 0) |
      (kind.remote === true ? REMOTE : 0) |
      (kind.watches === true ? WATCHES : 0) |
      (linear ? LINEAR : 0)
    this.owner = owner
    this.target = target
    this.setHandlers(handlers)
    this.receives = this.onMessage !== undefined
  }

  get orientation(): Orientation {
    return (this.bits & PUBLISHER) === 0 ? 'subscriber' : 'publisher'
  }

  get interest(): Interest {
    if ((this.bits & OBSERVER) !== 0) return 'observer'
    return (this.bits & EVERYTHING) === 0 ? 'participant' : 'everything'
  }

  get linear(): boolean {
    return (this.bits & LINEAR) !== 0
  }

  get exact(): boolean {
    return (this.bits & EXACT) !== 0
  }

  get receives(): boolean {
    return (this.bits & RECEIVES) !== 0
  }

  set receives(receives: boolean) {
    this.bits = receives ? this.bits | RECEIVES : this.bits & ~RECEIVES
  }

  get installed(): boolean {
    return (this.bits & INSTALLED) !== 0
  }

  set installed(installed: boolean) {
    this.bits = installed ? this.bits | INSTALLED : this.bits & ~INSTALLED
  }

  /** Replaces the handlers. The index must be told when `receives` changes by it. */
  setHandlers(handlers: AnyHandlers): void {
    if (typeof handlers === 'function') {
      const { orientation } = this
      const sender: Orientation = orientation === 'publisher' ? 'subscriber' : 'publisher'
      this.onPresence = (_topic, state, role) => handlers({ type: 'presence', role }, state)
      this.onAbsence = (_topic, state, reason, role) => handlers({ type: 'absence', role, reason }, state)
      this.onMessage = (body, state) =>
        handlers({ type: 'message', role: new Role(sender, body), body }, state)
    } else {
      this.onPresence = handlers.onPresence as PresenceHandler | undefined
      this.onAbsence = handlers.onAbsence as AbsenceHandler | undefined
      this.onMessage = handlers.onMessage as MessageHandler | undefined
    }
    if ((this.bits & REPLIES) !== 0) this.replyWhereItIs()
    if ((this.bits & WATCHES) !== 0) this.hearWhatIsLocal()
    if (this.target.line !== undefined && (this.bits & IMMEDIATE) === 0) this.target.line.queueAt(this)
    this.owner.vm.ground.tap?.watch(this)
  }

  private replyWhereItIs(): void {
    const { onMessage, target, owner } = this
    const levels = target.vm.depth - owner.vm.depth
    if (onMessage === undefined || levels === 0) return
    this.onMessage = (body, state, name) => outwards(onMessage(body, state, name), levels)
  }

  private hearWhatIsLocal(): void {
    const { onMessage, owner: { vm } } = this
    if (onMessage !== undefined) {
      this.onMessage = (body, state, name) => vm.deliversRemote ? undefined : onMessage(body, state, name)
    }
  }

  /** Its process has deleted it, and the VM outside has yet to: nothing that still comes is handled. */
  forget(): void {
    this.onPresence = undefined
    this.onAbsence = undefined
    this.onMessage = undefined
  }

  hasRole(role: Role): boolean {
    return (
      role.orientation === this.orientation &&
      role.interest === this.interest &&
      sameTopic(role.topic, this.topic)
    )
  }

  /** The role of this endpoint as a peer meets it. */
  roleMeeting(topic: unknown, peer: Endpoint): Role {
    if ((peer.bits & WATCHES) !== 0) return new WatchedRole(this, topic)
    return new PeerRole(this.orientation, topic, this.interest, this.topic)
  }

  /** Whether it is to be told of a peer's coming and going. */
  hearsOf(peer: Endpoint): boolean {
    if ((peer.bits & WATCHES) !== 0) return false
    if ((peer.bits & REMOTE) !== 0 && (this.bits & WATCHES) !== 0) return false
    return peer.interest === 'participant' || this.interest === 'everything'
  }
}

/** What an endpoint that watches is told of: a peer's role, and the peer. */
class WatchedRole extends PeerRole {
  constructor(readonly endpoint: Endpoint, topic: unknown) {
    super(endpoint.orientation, topic, endpoint.interest, endpoint.topic)
  }
}

/** The endpoint that one that watches was told of. */
export function watchedEndpoint(peer: Role): Endpoint {
  if (!(peer instanceof WatchedRole)) throw new Error('the endpoint that was told does not watch')
  return peer.endpoint
}
