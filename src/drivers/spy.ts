/** The drivers `spy` and `tcp-spy`: print what goes on in a VM. */
import { endpoint } from '../dsl/index.js'
import { _ } from '../topic/index.js'
import { logRejection } from '../support/answers.js'
import { checkOptions, ofType, type Checks } from '../support/checks.js'
import { argumentError, safeInspect } from '../support/errors.js'
import { log } from '../support/log.js'
import { onOneLine } from '../support/printable.js'
import { spawnDriver } from '../vm/action.js'
import type { Action, Role } from '../vm/index.js'
import { eof, tcpChannel, type TcpChannel } from './tcp-records.js'

/** Options of `spy` and `tcpSpy`. */
export interface SpyOptions {
  /** Takes one line, without line end. Default: prints to standard error. */
  readonly print?: ((line: string) => void) | undefined
}

const checks: Checks = { print: ofType('function') }

function printer(call: string, options: SpyOptions): (line: string) => void {
  checkOptions(call, options, checks, 'options.')
  const print = options.print as ((line: string) => unknown) | undefined
  if (print === undefined) return (line) => void process.stderr.write(`${line}\n`)
  return (line) => {
    logRejection(`print of ${call}`, print(line))
  }
}

const text = (value: unknown): string =>
  onOneLine(safeInspect(value, { breakLength: Infinity, compact: true, depth: 6 }))

/** A value that can't be shown, or a line that can't be printed, must not end the spy. */
function notSeen(error: unknown): undefined {
  log('warning', 'a spy failed to print something', { reason: error })
}

/**
 * Starts a spy: prints every presence, absence and message of publishers in its VM.
 *
 * @param label stands at the beginning of each line
 */
export function spy(label = 'SPY', options: SpyOptions = {}): Action {
  if (typeof label !== 'string') throw argumentError('spy', 'label', 'a string', label)
  const print = printer('spy', options)
  const who = (peer: Role): string => `${peer.orientation} ${peer.interest}`
  return spawnDriver('spy', (setGuard) => {
    setGuard(notSeen)
    return endpoint.subscriber(_, {
      interest: 'observer',
      onPresence: (topic, _state, peer) => {
        print(`${label}: presence of ${who(peer)} ${text(topic)}`)
      },
      onAbsence: (topic, _state, reason, peer) => {
        print(`${label}: absence of ${who(peer)} ${text(topic)} because ${text(reason)}`)
      },
      onMessage: (body) => {
        print(`${label}: message ${text(body)}`)
      },
    })
  })
}

/** Starts a spy on TCP traffic: connections, and a hex dump of each subpacket. */
export function tcpSpy(options: SpyOptions = {}): Action {
  const print = printer('tcpSpy', options)
  const flow = ({ source, destination }: TcpChannel): string => `${text(source)} -> ${text(destination)}`
  return spawnDriver('tcp-spy', (setGuard) => {
    setGuard(notSeen)
    return endpoint.subscriber(tcpChannel(_, _, _), {
      interest: 'observer',
      onPresence: (topic) => {
        print(`TCPCONNECT ${flow(topic)}`)
      },
      onAbsence: (topic, _state, reason) => {
        print(`TCPDISCONNECT ${flow(topic)}${reason === undefined ? '' : ` because ${text(reason)}`}`)
      },
      onMessage: (message) => {
        const { subpacket }: { subpacket: unknown } = message
        if (subpacket === eof) print(`TCPEOF ${flow(message)}`)
        else if (subpacket instanceof Uint8Array || typeof subpacket === 'string') {
          print(`TCPDATA ${flow(message)}`)
          for (const line of hexDump(Buffer.from(subpacket as Uint8Array))) print(line)
        } else print(`TCPCONTROL ${flow(message)} ${text(subpacket)}`)
      },
    })
  })
}

/** Lines of 16 bytes: offset, hexadecimal, printable ASCII. */
export function hexDump(data: Uint8Array): string[] {
  if (!(data instanceof Uint8Array)) throw argumentError('hexDump', 'data', 'a Uint8Array', data)
  const lines: string[] = []
  for (let offset = 0; offset < data.length; offset += 16) {
    const row = [...data.subarray(offset, offset + 16)]
    const hex = row.map((byte) => byte.toString(16).padStart(2, '0')).join(' ')
    const printable = row
      .map((byte) => (byte >= 32 && byte < 127 ? String.fromCharCode(byte) : '.'))
      .join('')
    lines.push(`${offset.toString(16).padStart(8, '0')}  ${hex.padEnd(47)}  |${printable}|`)
  }
  return lines
}
