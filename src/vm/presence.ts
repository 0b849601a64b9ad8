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
  forEachPeer(vm, endpoint, (peer, tellPeer, tellSelf, topic) => {
    if (tellPeer) vm.hearPresence(peer, topic, endpoint.roleMeeting(topic))
    if (tellSelf) vm.hearPresence(endpoint, topic, peer.roleMeeting(topic))
  })
}

/** Takes an endpoint out of its VM, and tells it and its peers of each other's absence. */
export function uninstallEndpoint(vm: Vm, endpoint: Endpoint, reason: unknown): void {
  if (!endpoint.installed) return
  endpoint.installed = false
  vm.indexOf(endpoint).remove(endpoint)
  if (vm.container === undefined) vm.ground.uninstalled(endpoint)
  forEachPeer(vm, endpoint, (peer, tellPeer, tellSelf, topic) => {
    if (tellPeer) vm.hearAbsence(peer, topic, reason, endpoint.roleMeeting(topic))
    if (tellSelf) vm.hearAbsence(endpoint, topic, reason, peer.roleMeeting(topic))
  })
}

type Tell = (peer: Endpoint, tellPeer: boolean, tellSelf: boolean, topic: unknown) => void

function forEachPeer(vm: Vm, endpoint: Endpoint, tell: Tell): void {
  const index = endpoint.orientation === 'publisher' ? vm.subscribers : vm.publishers
  const peers: Endpoint[] = []
  index.peers(endpoint.topic, peers)
  const others: Endpoint[] = []
  for (const peer of peers) {
    if (peer.owner === endpoint.owner) tellOne(endpoint, peer, tell)
    else others.push(peer)
  }
  for (const peer of others) tellOne(endpoint, peer, tell)
}

function tellOne(endpoint: Endpoint, peer: Endpoint, tell: Tell): void {
  const tellPeer = peer.hearsOf(endpoint)
  const tellSelf = endpoint.hearsOf(peer)
  if (!tellPeer && !tellSelf) return
  const topic = meet(endpoint.topic, peer.topic, endpoint.linear && peer.linear)
  if (topic !== NO_MEETING) tell(peer, tellPeer, tellSelf, topic)
}
