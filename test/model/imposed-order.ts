/**
 * Imposes an order on what the routing index finds, where any order is right: by a hash of a seed and of
 * when the endpoint was installed. So traces don't depend on the index's own order, and every run tries
 * another one.
 */
import { RoutingIndex, type IndexEntry } from '../../src/topic/routing-index.js'
import { type Endpoint } from '../../src/vm/endpoint.js'
import { type Vm } from '../../src/vm/vm.js'
import { rank } from './program.js'

let seed = 0
let count = 0
let serials = new WeakMap<object, number>()
let vm: Vm | undefined

/** Begins a run: endpoints count from 0 again. */
export function impose(newSeed: number): void {
  seed = newSeed
  count = 0
  serials = new WeakMap()
  vm = undefined
}

function outermost(of: Vm): Vm {
  return of.container === undefined ? of : outermost(of.container.vm)
}

/**
 * Pids, from the outside in, of the processes that are left; undefined if there never was an endpoint.
 * Those that wait for the next round of their VM to be collected don't count.
 */
export function living(of = vm, path = ''): string[] | undefined {
  return of && of.processes.all().filter((process) => !process.isIdle()).flatMap(({ pid, inner }) => {
    const inside = inner === undefined ? [] : living(inner, `${path}${pid}.`)
    return [`${path}${pid}`, ...(inside ?? [])]
  })
}

function compare(a: IndexEntry, b: IndexEntry): number {
  const x = serials.get(a) ?? 0
  const y = serials.get(b) ?? 0
  return rank(seed, x) - rank(seed, y) || x - y
}

function inOrder(found: IndexEntry[], n: number): number {
  found.slice(0, n).sort(compare).forEach((entry, i) => { found[i] = entry })
  return n
}

const index = RoutingIndex.prototype as RoutingIndex<IndexEntry>
const { add, receivers, peers, peersOf } = index

index.add = function (this: RoutingIndex<IndexEntry>, entry) {
  serials.set(entry, count++)
  vm ??= outermost((entry as Endpoint).owner.vm)
  add.call(this, entry)
}

index.receivers = function (this: RoutingIndex<IndexEntry>, body, found) {
  return inOrder(found, receivers.call(this, body, found))
}

index.peers = function (this: RoutingIndex<IndexEntry>, topic, found) {
  return inOrder(found, peers.call(this, topic, found))
}

index.peersOf = function (this: RoutingIndex<IndexEntry>, entry, found) {
  return inOrder(found, peersOf.call(this, entry, found))
}
