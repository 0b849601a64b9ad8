/**
 * Sees to it that a conversation has one stream: two would each write into it, and take a part of what comes, so that
 * the bytes of two users would be mixed.
 *
 * Streams find each other by endpoints in the VM of the conversation; of two that are there, the one that was
 * made later is refused.
 */
import type { TcpEnd } from '../drivers/tcp-records.js'
import { endpoint } from '../dsl/index.js'
import { _, defineRecord, mapKey } from '../topic/index.js'
import { deleteEndpoint, type Action, type ActionTree } from '../vm/index.js'

const streamIs = defineRecord('stream-is', ['what', 'source', 'destination', 'claim']).of<
  [what: string, source: TcpEnd, destination: TcpEnd, claim: Claim]
>()

/** Streams of this thread in the order in which they were made. */
let made = 0

/** How many streams of a kind have a conversation of these ends, in whatever VMs of this thread. */
const claimed = new Map<unknown, number>()

/** A stream's claim to a conversation, which no other stream has as long as this one has it. */
export class Claim {
  /** Whether no other stream can have the conversation. Else it depends on who is in the VM. */
  readonly alone: boolean
  private readonly serial = ++made
  private readonly what: string
  private readonly source: TcpEnd
  private readonly destination: TcpEnd
  private readonly key: unknown
  /** Name of the endpoint that looks for earlier ones. */
  private readonly watch = Symbol('earlier streams')
  /** The conversation is no longer its own; its endpoints may still be on their way out. */
  private over = false

  /** @param what what it does with the conversation: only those of one kind exclude each other */
  constructor(what: string, source: TcpEnd, destination: TcpEnd) {
    this.what = what
    this.source = source
    this.destination = destination
    this.key = mapKey([what, source, destination])
    const others = claimed.get(this.key) ?? 0
    this.alone = others === 0
    claimed.set(this.key, others + 1)
  }

  /**
   * To be performed before the endpoints of the conversation are added.
   *
   * @param refused is called, when these actions are performed, if there is an earlier stream
   */
  make(refused: () => ActionTree): Action[] {
    const { what, source, destination } = this
    return [
      endpoint.publisher(streamIs(what, source, destination, this), { name: this, interest: 'observer' }),
      endpoint.subscriber(streamIs(what, source, destination, _), {
        name: this.watch,
        interest: 'everything',
        onPresence: ({ claim }) => (claim.serial < this.serial && !claim.over ? refused() : undefined),
      }),
    ]
  }

  /** The conversation may have another stream. */
  giveUp(): void {
    if (this.over) return
    this.over = true
    const others = (claimed.get(this.key) ?? 0) - 1
    if (others > 0) claimed.set(this.key, others)
    else claimed.delete(this.key)
  }

  /** Takes its endpoints away. */
  drop(): Action[] {
    return [deleteEndpoint(this), deleteEndpoint(this.watch)]
  }
}
