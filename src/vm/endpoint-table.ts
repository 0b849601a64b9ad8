/**
 * The endpoints that a process has at its own level, by name, in the order in which they came.
 *
 * Nearly all processes have a few: these are a list, linked through the endpoints themselves, which
 * costs a process one word where a Map costs two hundred bytes. Who has more gets the Map.
 */
import { mapKey } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'

/** None, the first one of a list, or many. Changes only by what the functions below return. */
export type EndpointTable = undefined | Endpoint | Map<unknown, Endpoint>

/** Above this a look-up in the list costs more than one in a Map. */
const LIST_MAX = 6

export function findEndpoint(table: EndpointTable, name: unknown): Endpoint | undefined {
  const key = mapKey(name)
  if (table instanceof Map) return table.get(key)
  for (let endpoint = table; endpoint !== undefined; endpoint = endpoint.next) {
    if (sameKey(mapKey(endpoint.name), key)) return endpoint
  }
  return undefined
}

/** As a Map compares its keys. */
function sameKey(a: unknown, b: unknown): boolean {
  return a === b || (a !== a && b !== b)
}

/** The table with an endpoint more, whose name is not in it yet. */
export function withEndpoint(table: EndpointTable, added: Endpoint): EndpointTable {
  if (table === undefined) return added
  if (table instanceof Map) return table.set(mapKey(added.name), added)
  let length = 1
  let last = table
  for (; last.next !== undefined; last = last.next) length++
  if (length < LIST_MAX) {
    last.next = added
    return table
  }
  const map = new Map<unknown, Endpoint>()
  for (const endpoint of endpointsIn(table)) {
    endpoint.next = undefined
    map.set(mapKey(endpoint.name), endpoint)
  }
  return map.set(mapKey(added.name), added)
}

/** The table without one of its endpoints. */
export function withoutEndpoint(table: EndpointTable, removed: Endpoint): EndpointTable {
  if (table instanceof Map) {
    table.delete(mapKey(removed.name))
    return table.size === 0 ? undefined : table
  }
  const after = removed.next
  removed.next = undefined
  if (table === removed) return after
  let before = table as Endpoint
  while (before.next !== removed) before = before.next as Endpoint
  before.next = after
  return table
}

/** All of them, as they are now: what is added or removed meanwhile changes nothing. */
export function endpointsIn(table: EndpointTable): Endpoint[] {
  if (table instanceof Map) return [...table.values()]
  const all: Endpoint[] = []
  for (let endpoint = table; endpoint !== undefined; endpoint = endpoint.next) all.push(endpoint)
  return all
}
