/**
 * Some entries of a shape, in no order: a list, and where each one is in it as soon as a search would cost more.
 * Takes the place of a Set, for the reason that `KeyTable` gives.
 */
import type { IndexEntry } from './index-entry.js'
import { KeyTable } from './key-table.js'

/** Up to so many are searched. */
const SEARCH_MAX = 8

export class Roster<E extends IndexEntry> {
  readonly entries: E[] = []
  /** By the number of the entry. */
  #places: KeyTable<number> | undefined

  add(entry: E): void {
    const { entries } = this
    const place = entries.push(entry) - 1
    if (this.#places !== undefined) {
      this.#places.set1(entry.number, place)
    } else if (place === SEARCH_MAX) {
      this.#places = new KeyTable(1)
      for (let i = 0; i < entries.length; i++) this.#places.set1(entries[i].number, i)
    }
  }

  /** One that is in it. */
  remove(entry: E): void {
    const { entries } = this
    const place = this.#places?.get1(entry.number) ?? entries.indexOf(entry)
    const last = entries.pop() as E
    this.#places?.delete1(entry.number)
    if (last === entry) return
    entries[place] = last
    this.#places?.set1(last.number, place)
  }
}
