/**
 * The terminal: lines, and below them a status line that is redrawn in place and cleared at the end.
 * Owns stdout's errors too: a reader that has gone away (EPIPE) mutes a command, it doesn't break it; any
 * other error, as of a full disk, ends it.
 */
import { subscribe } from 'node:diagnostics_channel'
import { LOG_CHANNEL, logs, type LogRecord } from '../support/log.js'
import { firstLine } from './messages.js'

/** @param onBroken called when nobody reads stdout any more */
export function mindStdout(onBroken: () => void): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') {
      onBroken()
      return
    }
    process.stderr.write(`marketplace: can't write to standard output: ${firstLine(error)}\n`)
    process.exit(1)
  })
}

const CLEAR = '\r\x1b[K'

export class Output {
  readonly isTerminal: boolean
  /** Called once, when nobody reads stdout any more. */
  onBroken: (() => void) | undefined
  #status = ''
  #broken = false

  constructor() {
    this.isTerminal = process.stdout.isTTY
    mindStdout(() => {
      if (this.#broken) return
      this.#broken = true
      this.onBroken?.()
    })
    // A terminal's last line is ours: log records are printed around it.
    subscribe(LOG_CHANNEL, (record) => { this.#log(record as LogRecord) })
  }

  line(text: string): void {
    this.#write(`${this.#status === '' ? '' : CLEAR}${text}\n${this.#status}`)
  }

  /** Shows a status below the lines; an empty one clears it. Not for anything but a terminal. */
  status(text: string): void {
    if (!this.isTerminal || text === this.#status) return
    // Some terminals don't know their width; a line that wraps could not be redrawn in place.
    const { columns } = process.stdout
    this.#status = text.slice(0, (columns > 0 ? columns : 80) - 1)
    this.#write(`${CLEAR}${this.#status}`)
  }

  error(text: string): void {
    const status = this.#status
    this.status('')
    process.stderr.write(`marketplace: ${text}\n`)
    this.status(status)
  }

  #log({ level, message, fields }: LogRecord): void {
    if (!logs(level) || isReported(fields['reason'])) return
    const details = Object.entries(fields)
      .filter(([, value]) => value !== undefined)
      .map(([name, value]) => ` ${name}=${value instanceof Error ? firstLine(value) : String(value)}`)
    this.error(`${level}: ${message}${details.join('')}`)
  }

  #write(text: string): void {
    if (!this.#broken) process.stdout.write(text)
  }
}

/** The command itself tells the user of these errors: the log needn't. */
function isReported(reason: unknown): boolean {
  const root = rootCause(reason)
  const { syscall } = (root instanceof Error ? root : {}) as NodeJS.ErrnoException
  return ['listen', 'bind', 'connect', 'getaddrinfo'].includes(syscall ?? '')
}

/** What was behind an error, and behind that. */
export function rootCause(error: unknown): unknown {
  let root = error
  while (root instanceof Error && root.cause !== undefined) root = root.cause
  return root
}
