/**
 * Presence and absence: who is told when an endpoint comes or goes.
 *
 * For every peer, first the peer's handler runs (if it is to be told), then at once the handler of the
 * endpoint that came or went. Peers of the endpoint's own process come first.
 */
import { log } from '../support/log.js'
import { meetExamined, NO_MEETING } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'
import type { Process } from './process.js'
import type { Vm } from './vm.js'

/**
 * Puts an endpoint into its VM, and tells it and its peers of each other.
 *
 * @throws when its topic can't be put into the index, or it asks for an event source that can't be activated;
 *   then nothing has happened
 */
export function installEndpoint(vm: Vm, endpoint: Endpoint): void {
  vm.indexOf(endpoint).add(endpoint)
  const peers = takePeers(vm)
  let count: number
  try {
    count = peersOf(vm, endpoint, peers)
    if (vm.container === undefined) vm.ground.installed(endpoint)
  } catch (error) {
    vm.indexOf(endpoint).remove(endpoint)
    throw error
  }
  endpoint.installed = true
  for (let i = 0; i < count; i++) {
    const peer = peers[i] as Endpoint
    // What they have in common is worked out only if one of them wants to know.
    let topic: unknown
    if (peer.onPresence !== undefined && peer.hearsOf(endpoint)) {
      topic = meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearPresence(peer, topic, endpoint.roleMeeting(topic, peer))
    }
    if (endpoint.onPresence !== undefined && endpoint.hearsOf(peer)) {
      topic ??= meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearPresence(endpoint, topic, peer.roleMeeting(topic, endpoint))
    }
  }
  giveBack(vm, peers, count)
  if (count === 0) vm.ground.wiring.unmet(vm, endpoint)
  if (endpoint.exact && endpoint.receives) vm.ground.wiring.installed(vm, endpoint)
}

/**
 * Takes an endpoint out of its VM, and tells it and its peers of each other's absence. Never fails: with it processes
 * end, and sockets and sources are released.
 */
export function uninstallEndpoint(vm: Vm, endpoint: Endpoint, reason: unknown): void {
  if (!endpoint.installed) return
  endpoint.installed = false
  const peers = takePeers(vm)
  const count = peersLeft(vm, endpoint, peers)
  try {
    vm.indexOf(endpoint).remove(endpoint)
  } catch (error) {
    log('error', 'the routing index failed when an endpoint went', { endpoint: endpoint.name, reason: error })
  }
  if (vm.container === undefined) vm.ground.uninstalled(endpoint)
  for (let i = 0; i < count; i++) {
    const peer = peers[i] as Endpoint
    let topic: unknown
    if (peer.onAbsence !== undefined && peer.hearsOf(endpoint)) {
      topic = meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearAbsence(peer, topic, reason, endpoint.roleMeeting(topic, peer))
    }
    if (endpoint.onAbsence !== undefined && endpoint.hearsOf(peer)) {
      topic ??= meetingOf(endpoint, peer)
      if (topic !== NO_MEETING) vm.hearAbsence(endpoint, topic, reason, peer.roleMeeting(topic, endpoint))
    }
  }
  giveBack(vm, peers, count)
}

/** Room for more peers than this is not kept. */
const KEPT_MAX = 1024

function takePeers({ ground }: Vm): (Endpoint | undefined)[] {
  const peers = ground.peers ?? []
  ground.peers = undefined
  return peers
}

/** @param used how many peers were put there: they must not be kept alive */
function giveBack({ ground }: Vm, peers: (Endpoint | undefined)[], used: number): void {
  if (used > KEPT_MAX) return
  for (let i = 0; i < used; i++) peers[i] = undefined
  ground.peers = peers
}

/**
 * Finds those whose topics may meet that of an endpoint in its index; those of its own process come first.
 *
 * @param peers is filled from index 0 on
 * @returns how many they are
 */
export function peersOf(vm: Vm, endpoint: Endpoint, peers: (Endpoint | undefined)[]): number {
  const index = endpoint.orientation === 'publisher' ? vm.subscribers : vm.publishers
  const count = index.peersOf(endpoint, peers as Endpoint[])
  const { owner } = endpoint
  for (let i = 0; i < count; i++) {
    if (peers[i]?.owner !== owner) continue
    ownFirst(peers as Endpoint[], count, owner)
    break
  }
  return count
}

function ownFirst(peers: Endpoint[], count: number, owner: Process): void {
  const all = peers.slice(0, count)
  let n = 0
  for (const peer of all) if (peer.owner === owner) peers[n++] = peer
  for (const peer of all) if (peer.owner !== owner) peers[n++] = peer
}

/** The same for one that goes. If its peers can't be found, that is logged, and it goes without being told of. */
function peersLeft(vm: Vm, endpoint: Endpoint, peers: (Endpoint | undefined)[]): number {
  try {
    return peersOf(vm, endpoint, peers)
  } catch (error) {
    log('error', 'peers of an endpoint that went were not found', { endpoint: endpoint.name, reason: error })
    return 0
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
