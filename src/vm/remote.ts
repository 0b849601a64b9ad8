/**
 * What comes from other nodes: messages that no relay of this VM sends back, or on to others.
 *
 * (Endpoints of other nodes, and those by which a relay hears of this node's own, are kinds of endpoints: see
 * `EndpointKind`.)
 */
import { Inner } from './action.js'
import type { Process } from './process.js'
import type { Orientation } from './role.js'

/** Sends a message that another node has sent: endpoints that watch don't hear it. */
export class RemoteMessage extends Inner {
  constructor(readonly body: unknown, readonly orientation: Orientation) {
    super()
  }

  perform(process: Process): void {
    const { vm } = process
    // Deliveries in one VM never nest.
    vm.deliversRemote = true
    try {
      vm.deliver(process, this.body, this.orientation)
    } finally {
      vm.deliversRemote = false
    }
  }
}
