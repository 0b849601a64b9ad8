/**
 * In which order the addresses of a name are tried, and when the next one's turn is: for the transports' dials,
 * whose earlier attempts go on meanwhile, and for those of `node:net`'s shape, which give them up.
 *
 * The families take turns, beginning with that of the first address (RFC 8305, section 4); in each, the order is
 * that of the lookup. An address that is there twice is tried once.
 */
import { clearTimeout, setTimeout } from '../../support/real-time.js'

interface Address {
  readonly address: string
  readonly family: unknown
}

export class AddressPlan<A extends Address> {
  readonly addresses: readonly A[]
  /** How many have had their turn. */
  taken = 0
  readonly #delay: number
  readonly #due: () => void
  #timer: NodeJS.Timeout | undefined

  /**
   * @param delay milliseconds from an attempt's beginning to the next one's, if it has not failed before
   * @param due called when they are over
   */
  constructor(addresses: readonly A[], delay: number, due: () => void) {
    this.addresses = interleaved(addresses)
    this.#delay = delay
    this.#due = due
  }

  /** The one whose turn it is now; undefined if all have had theirs. */
  next(): A | undefined {
    this.stop()
    return this.taken < this.addresses.length ? this.addresses[this.taken++] : undefined
  }

  /** An attempt has begun: the next one's turn comes, if there is one. */
  begun(): void {
    if (this.taken < this.addresses.length) this.#timer = setTimeout(this.#due, this.#delay)
  }

  /** The next one's turn does not come by itself. */
  stop(): void {
    clearTimeout(this.#timer)
  }
}

function interleaved<A extends Address>(all: readonly A[]): readonly A[] {
  const addresses = all.filter((one, i) => all.findIndex(({ address }) => address === one.address) === i)
  const same = addresses.filter(({ family }) => family === addresses[0].family)
  const other = addresses.filter(({ family }) => family !== addresses[0].family)
  const turns = Array.from({ length: Math.max(same.length, other.length) }, (_, i) => i)
  return turns.flatMap((i) => [...same.slice(i, i + 1), ...other.slice(i, i + 1)])
}
