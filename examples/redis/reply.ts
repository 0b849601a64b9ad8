/** Replies of the protocol, gathered: all that the commands of one piece of input say is sent at once. */

/** From so many bytes on, a value is sent from where it is. */
const OWN_PIECE = 4096

export class Replies {
  /** As Latin-1, a character for each byte: putting strings together is the cheapest way to gather. */
  #text = ''
  #pieces: Buffer[] = []

  /** `+OK` */
  simple(text: string): void {
    this.#text += `+${text}\r\n`
  }

  error(text: string): void {
    // A line end in it would begin the next reply.
    this.#text += `-${text.replace(/[\r\n]/g, ' ')}\r\n`
  }

  integer(value: number | bigint): void {
    this.#text += `:${value}\r\n`
  }

  nothing(): void {
    this.#text += '$-1\r\n'
  }

  /** A list of so many replies, which follow. */
  list(length: number): void {
    this.#text += `*${length}\r\n`
  }

  /** Bytes; a string has a character for each. */
  bulk(value: Buffer | string): void {
    this.#text += `$${value.length}\r\n`
    if (typeof value === 'string') {
      this.#text += value
    } else if (value.length < OWN_PIECE) {
      this.#text += value.toString('latin1')
    } else {
      this.#pieces.push(Buffer.from(this.#text, 'latin1'), value)
      this.#text = ''
    }
    this.#text += '\r\n'
  }

  /** Everything since the last time, in pieces. */
  take(): Buffer[] {
    const pieces = this.#pieces
    if (this.#text !== '') pieces.push(Buffer.from(this.#text, 'latin1'))
    this.#pieces = []
    this.#text = ''
    return pieces
  }
}
