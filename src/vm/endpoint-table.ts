/**
 * The endpoints that a process has at its own level, by name, in the order in which they came.
 *
 * Nearly all processes have a few: these are a list, linked through the endpoints themselves, which costs a process
 * one word where a Map costs two hundred bytes. Who has more has the list and a table of names beside it. What a
 * driver names by a `Label` of its own needs no table.
 */
import { mapKey } from '../topic/index.js'
import type { Endpoint } from './endpoint.js'
import { Label } from './label.js'

/** None, the first one of a list, or many. Changes only by what the functions below return. */
export type EndpointTable = undefined | Endpoint | ManyEndpoints

/** Above this a look-up in the list costs more than one in a table. */
const LIST_MAX = 6

/** What a table refers to: empty, once its endpoint is gone; see `KeyTable` for who may still refer to it. */
interface Holder {
  endpoint: Endpoint | undefined
}

class ManyEndpoints {
  first: Endpoint | undefined = undefined
  #last: Endpoint | undefined = undefined
  readonly #byName = new Map<unknown, Holder>()

  find(name: unknown): Endpoint | undefined {
    return name instanceof Label ? name.labelled as Endpoint | undefined : this.#byName.get(mapKey(name))?.endpoint
  }

  add(endpoint: Endpoint): void {
    const { name } = endpoint
    if (name instanceof Label) name.labelled = endpoint
    else this.#byName.set(mapKey(name), { endpoint })
    endpoint.previous = this.#last
    if (this.#last === undefined) this.first = endpoint
    else this.#last.next = endpoint
    this.#last = endpoint
  }

  remove(endpoint: Endpoint): void {
    const { name, previous, next } = endpoint
    if (name instanceof Label) {
      name.labelled = undefined
    } else {
      const key = mapKey(name)
      const holder = this.#byName.get(key)
      if (holder !== undefined) holder.endpoint = undefined
      this.#byName.delete(key)
    }
    if (previous === undefined) this.first = next
    else previous.next = next
    if (next === undefined) this.#last = previous
    else next.previous = previous
    endpoint.next = undefined
    endpoint.previous = undefined
  }
}

export function findEndpoint(table: EndpointTable, name: unknown): Endpoint | undefined {
  if (table instanceof ManyEndpoints) return table.find(name)
  const key = mapKey(name)
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
  if (table instanceof ManyEndpoints) {
    table.add(added)
    return table
  }
  let length = 1
  let last = table
  for (; last.next !== undefined; last = last.next) length++
  if (length < LIST_MAX) {
    last.next = added
    return table
  }
  const many = new ManyEndpoints()
  for (const endpoint of endpointsIn(table)) {
    endpoint.next = undefined
    many.add(endpoint)
  }
  many.add(added)
  return many
}

/** The table without one of its endpoints. */
export function withoutEndpoint(table: EndpointTable, removed: Endpoint): EndpointTable {
  if (table instanceof ManyEndpoints) {
    table.remove(removed)
    return table.first === undefined ? undefined : table
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
  const all: Endpoint[] = []
  let endpoint = table instanceof ManyEndpoints ? table.first : table
  for (; endpoint !== undefined; endpoint = endpoint.next) all.push(endpoint)
  return all
}
