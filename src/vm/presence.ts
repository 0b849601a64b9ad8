/**
 * Presence and absence: who is told when an endpoint comes or goes.
 *
 * For every peer, first the peer's handler runs (if it is to be told), then at once the handler of the
 * endpoint that came or went. Peers of the endpoint's own process come first.
 */
import { meet, NO_MEETING } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'
import type { Vm } from './vm.js'

/**
 * Puts an endpoint into its VM, and tells it and its peers of each other.
 *
 * @throws when it asks for an event source that can't be activated; then nothing has happened
 */
export function installEndpoint(vm: Vm, endpoint: Endpoint): void {
  if (vm.container === undefined) vm.ground.installed(endpoint)
  endpoint.installed = true
  vm.indexOf(endpoint).add(endpoint)
  const peers = peersOf(vm, endpoint)
  for (let i = 0; i < peers.length; i++) {
    const peer = peers[i]
    // What they have in common is worked out only if one of them wants to know.
    let topic: unknown
    if (peer.onPresence !== undefined && peer.hearsOf(endpoint)) {
      topic = meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearPresence(peer, topic, endpoint.roleMeeting(topic))
    }
    if (endpoint.onPresence !== undefined && endpoint.hearsOf(peer)) {
      topic ??= meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearPresence(endpoint, topic, peer.roleMeeting(topic))
    }
  }
}

/** Takes an endpoint out of its VM, and tells it and its peers of each other's absence. */
export function uninstallEndpoint(vm: Vm, endpoint: Endpoint, reason: unknown): void {
  if (!endpoint.installed) return
  endpoint.installed = false
  const peers = peersOf(vm, endpoint)
  vm.indexOf(endpoint).remove(endpoint)
  if (vm.container === undefined) vm.ground.uninstalled(endpoint)
  for (let i = 0; i < peers.length; i++) {
    const peer = peers[i]
    let topic: unknown
    if (peer.onAbsence !== undefined && peer.hearsOf(endpoint)) {
      topic = meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearAbsence(peer, topic, reason, endpoint.roleMeeting(topic))
    }
    if (endpoint.onAbsence !== undefined && endpoint.hearsOf(peer)) {
      topic ??= meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearAbsence(endpoint, topic, reason, peer.roleMeeting(topic))
    }
  }
}

/** Those whose topics may meet that of an endpoint in its index; those of its own process come first. */
function peersOf(vm: Vm, endpoint: Endpoint): Endpoint[] {
  const index = endpoint.orientation === 'publisher' ? vm.subscribers : vm.publishers
  const peers: Endpoint[] = []
  index.peersOf(endpoint, peers)
  const { owner } = endpoint
  for (let i = 0; i < peers.length; i++) {
    if (peers[i].owner !== owner) continue
    const isOwn = (peer: Endpoint): boolean => peer.owner === owner
    return [...peers.filter(isOwn), ...peers.filter((peer) => !isOwn(peer))]
  }
  return peers
}

function meetingOf(endpoint: Endpoint, peer: Endpoint): unknown {
  return meet(endpoint.topic, peer.topic, endpoint.linear && peer.linear)
}
