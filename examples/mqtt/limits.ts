/** What a client may ask for: what is beyond is refused, and costs nobody else anything. */

/** Levels of a topic or a filter. */
export const LEVELS_MAX = 32
/** Bytes of a topic or a filter. MQTT itself allows 65,535. */
export const TOPIC_BYTES_MAX = 1024
/** Bytes of a client's identifier. */
export const CLIENT_ID_BYTES_MAX = 1024
/** Filters that a client has at a time, and that are in one packet. */
export const FILTERS_MAX = 1000
/**
 * Forms of filters that a client has at a time: where the wildcards are, and how many levels there are around
 * them. Each message is looked up once for each form that anybody has.
 */
export const FORMS_MAX = 32

/** Retained messages of all clients, and bytes of them with their topics: others are sent, and not kept. */
export const RETAINED_MAX = 10_000
export const RETAINED_BYTES_MAX = 64 * 1024 * 1024

/** Counts what a client has of something, by name. */
export class Counts {
  readonly #counts = new Map<string, number>()

  get size(): number {
    return this.#counts.size
  }

  has(name: string): boolean {
    return this.#counts.has(name)
  }

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
  }

  remove(name: string): void {
    const left = (this.#counts.get(name) ?? 0) - 1
    if (left > 0) this.#counts.set(name, left)
    else this.#counts.delete(name)
  }
}
