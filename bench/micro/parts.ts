/**
 * The parts of a routed message by themselves, timed by `benchmark`: making a record, a meeting of two
 * topics, finding the receiver in the index, adding to it and removing, making a view.
 */
import { _, meet, tcpAddress, tcpChannel, tcpListener } from 'marketplace-native'
import { RoutingIndex, type IndexEntry } from '../../src/topic/index.js'
import { ratio, type Effort, type Suite } from './harness.js'
import { timed } from './timed.js'

const ENTRIES = 1_000

function entryOf(topic: unknown): IndexEntry {
  const atoms = { atom0: undefined, atom1: undefined, moreAtoms: undefined }
  return { topic, linear: true, receives: true, shape: undefined, number: 0, place: 0, bucketPlace: 0, ...atoms }
}

function inTurn<T>(values: readonly T[]): () => T {
  let next = 0
  return () => {
    next = next + 1 === values.length ? 0 : next + 1
    return values[next]
  }
}

export function partsSuite({ quick }: Effort): Suite {
  const seconds = quick ? 0.2 : 0.5
  const us = tcpListener(5999)
  const remotes = Array.from({ length: ENTRIES }, (_none, i) => tcpAddress('127.0.0.1', 1024 + i))
  const map = new Map(remotes.map((remote) => [remote, (value: number) => value + 1]))
  const index = new RoutingIndex<IndexEntry>()
  for (const remote of remotes) index.add(entryOf(tcpChannel(remote, us, _)))
  const data = Buffer.alloc(64)
  const messages = remotes.map((remote) => tcpChannel(remote, us, data))
  const visitor = entryOf(tcpChannel(tcpAddress('127.0.0.1', 1), us, _))
  const slab = Buffer.allocUnsafeSlow(65536).buffer
  const [key, message, remote] = [inTurn(remotes), inTurn(messages), inTurn(remotes)]
  const listening = tcpChannel(_, us, _)
  const session = tcpChannel(remotes[7], us, _)
  return {
    name: 'parts',
    title: `the parts, ${ENTRIES} endpoints`,
    programs: [
      timed('map', 'Map.get and call', seconds, () => map.get(key())?.(1)),
      timed('record', 'make a tcp-channel record', seconds, () => tcpChannel(remote(), us, data)),
      timed('match', 'find the receiver of a message', seconds, () => index.onlyReceiver(message())),
      timed('meet', 'meet a session with a listener', seconds, () => meet(session, listening)),
      timed('index', 'add to the index and remove', seconds, () => {
        index.add(visitor)
        index.remove(visitor)
      }),
      timed('view', 'make a Buffer view of a slab', seconds, () => Buffer.from(slab, 64, 64)),
    ],
    claims: [
      ratio('make a record / Map.get and call', 'record', 'map'),
      ratio('find the receiver / Map.get and call', 'match', 'map'),
      ratio('meeting / Map.get and call', 'meet', 'map'),
      ratio('add and remove / Map.get and call', 'index', 'map'),
      ratio('view / Map.get and call', 'view', 'map'),
    ],
  }
}
