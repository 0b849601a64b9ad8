/**
 * The other nodes of a program's network: the workers of its own process, over message ports, and those of other
 * processes, over NATS. Each worker is a node by itself. Owns their names.
 *
 * Workers of one process are linked by their ports alone: so each two nodes have one link, the death of a worker is
 * known to the others at once, and they stay together when the NATS server is gone.
 */
import { hostname } from 'node:os'
import {
  natsRelay, portCarrier, relay, type ActionTree, type CurrentWorker, type NatsRelayOptions,
} from 'marketplace-native'

/** Where other processes are met, and the name of this process among them. */
export interface Nats {
  readonly servers: string
  readonly node: string
}

/** @param node undefined: the name is made of the machine's and this process's number, so that no two have the same */
export function natsOf(servers: string | undefined, node: string | undefined): Nats | undefined {
  if (servers === undefined) return undefined
  const machine = hostname().replace(/[^A-Za-z0-9_-]/g, '-').slice(0, 50)
  return { servers, node: node ?? `${machine}-${process.pid}` }
}

export class Network {
  /** The name of this node, which no other one has. */
  readonly node: string
  readonly #worker: CurrentWorker | undefined
  readonly #nats: Nats | undefined

  /** @param worker undefined: the program runs in the main thread */
  constructor(worker: CurrentWorker | undefined, nats: Nats | undefined) {
    this.#worker = worker
    this.#nats = nats
    this.node = worker === undefined ? nats?.node ?? '' : this.#nodeOf(worker.node)
  }

  /** Whether there may be other nodes. */
  get isShared(): boolean {
    return this.#worker !== undefined || this.#nats !== undefined
  }

  /** Workers have a number that no other worker of the process ever has. */
  #nodeOf(worker: string): string {
    return this.#nats === undefined ? worker : `${this.#nats.node}${worker.slice(worker.lastIndexOf('-'))}`
  }

  /**
   * What makes one network of this VM and those of the other nodes, as far as topics go.
   *
   * @param prefix what its subjects at the NATS server begin with
   * @throws TypeError when an address or a name can't be one
   */
  relays(prefix: string, topics: readonly unknown[]): ActionTree {
    const { node } = this
    const siblings = new Set<string>()
    const worker = this.#worker
    const nats: NatsRelayOptions | undefined = this.#nats && {
      servers: this.#nats.servers, node, prefix, topics, except: (other) => siblings.has(other),
    }
    if (worker === undefined) return nats && natsRelay(nats)
    const carrier = portCarrier()
    worker.onPeer((peer) => {
      const name = this.#nodeOf(peer.node)
      siblings.add(name)
      carrier.connect(name, peer.port)
    })
    return [relay({ node, carrier, topics }), nats && natsRelay(nats)]
  }
}
