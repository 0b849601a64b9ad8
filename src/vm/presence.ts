/**
 * Presence and absence: who is told when an endpoint comes or goes.
 *
 * For every peer, first the peer's handler runs (if it is to be told), then at once the handler of the
 * endpoint that came or went. Peers of the endpoint's own process come first.
 */
import { log } from '../support/log.js'
import { meetExamined, NO_MEETING } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'
import type { Vm } from './vm.js'

/**
 * Puts an endpoint into its VM, and tells it and its peers of each other.
 *
 * @throws when its topic can't be put into the index, or it asks for an event source that can't be activated;
 *   then nothing has happened
 */
export function installEndpoint(vm: Vm, endpoint: Endpoint): void {
  vm.indexOf(endpoint).add(endpoint)
  let peers: Endpoint[]
  try {
    peers = peersOf(vm, endpoint)
    if (vm.container === undefined) vm.ground.installed(endpoint)
  } catch (error) {
    vm.indexOf(endpoint).remove(endpoint)
    throw error
  }
  endpoint.installed = true
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
  if (peers.length === 0) vm.ground.wiring.unmet(vm, endpoint)
  if (endpoint.exact && endpoint.receives) vm.ground.wiring.installed(vm, endpoint)
}

/**
 * Takes an endpoint out of its VM, and tells it and its peers of each other's absence. Never fails: with it processes
 * end, and sockets and sources are released.
 */
export function uninstallEndpoint(vm: Vm, endpoint: Endpoint, reason: unknown): void {
  if (!endpoint.installed) return
  endpoint.installed = false
  const peers = peersLeft(vm, endpoint)
  try {
    vm.indexOf(endpoint).remove(endpoint)
  } catch (error) {
    log('error', 'the routing index failed when an endpoint went', { endpoint: endpoint.name, reason: error })
  }
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
export function peersOf(vm: Vm, endpoint: Endpoint): Endpoint[] {
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

/** The same for one that goes. If its peers can't be found, that is logged, and it goes without being told of. */
function peersLeft(vm: Vm, endpoint: Endpoint): Endpoint[] {
  try {
    return peersOf(vm, endpoint)
  } catch (error) {
    log('error', 'peers of an endpoint that went were not found', { endpoint: endpoint.name, reason: error })
    return []
  }
}

/** What two topics of the index have in common. Should they not be comparable, that is logged, and fails nobody. */
function meetingOf(endpoint: Endpoint, peer: Endpoint): unknown {
  try {
    return meetExamined(endpoint.topic, peer.topic, endpoint.linear && peer.linear)
  } catch (error) {
    log('error', 'two topics could not be compared', { topics: [endpoint.topic, peer.topic], reason: error })
    return NO_MEETING
  }
}
