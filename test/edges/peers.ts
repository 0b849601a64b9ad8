/**
 * The other ends of the edges: plain sockets by `node:net`, and by python3 what Node can't do with a
 * socket (urgent data, a reset right behind data, an end without reading).
 */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { performance } from 'node:perf_hooks'
import type { Test } from 'tap'
import { missing, sleep, until } from '../support/util.js'

/** Why python3 can't be used here, or false. */
export const NO_PYTHON = missing('python3')

const PREAMBLE = `
import fcntl, os, socket, struct, sys, termios, time
port = int(sys.argv[1])
def dial():
    peer = socket.create_connection(('127.0.0.1', port), timeout=30)
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return peer
def reset(peer):
    # Not before everything has arrived: what was not sent yet would never be.
    while struct.unpack('i', fcntl.ioctl(peer, termios.TIOCOUTQ, b'0000'))[0] > 0:
        time.sleep(0.001)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack('ii', 1, 0))
    peer.close()
def say(text):
    print(text, flush=True)
def wait():
    sys.stdin.readline()
`

/** A python3 process; its script has `port`, `dial`, `reset`, and `say` and `wait` to keep in step. */
export class Peer {
  readonly #child: ChildProcessWithoutNullStreams
  #output = ''
  #errors = ''
  #ended: number | undefined

  constructor(script: string, port = 0) {
    this.#child = spawn('python3', ['-c', PREAMBLE + script, String(port)])
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => (this.#errors += text))
    this.#child.stdin.on('error', () => undefined)
    this.#child.on('close', (code) => (this.#ended = code ?? -1))
  }

  /** The next line that it says. */
  async line(): Promise<string> {
    await until(() => this.#output.includes('\n') || this.#ended !== undefined)
    const end = this.#output.indexOf('\n')
    if (end < 0) throw new Error(`python3 ended with ${this.#ended}: ${this.#errors}`)
    const line = this.#output.slice(0, end)
    this.#output = this.#output.slice(end + 1)
    return line
  }

  /** Ends its `wait`. */
  go(): void {
    this.#child.stdin.write('\n')
  }

  /** Its exit code. */
  async ended(): Promise<number> {
    await until(() => this.#ended !== undefined)
    if (this.#errors !== '') throw new Error(`python3: ${this.#errors}`)
    return this.#ended as number
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }
}

/** A python3 peer that ends with the test. */
export function python(t: Test, script: string, port = 0): Peer {
  const peer = new Peer(script, port)
  t.teardown(() => { peer.kill() })
  return peer
}

/** A `node:net` server on a free port of 127.0.0.1 that ends with the test. */
export async function server(t: Test, accepted: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>()
  const made: Server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    sockets.add(socket)
    socket.on('error', () => undefined)
    socket.on('close', () => sockets.delete(socket))
    accepted(socket)
  })
  made.listen(0, '127.0.0.1')
  await once(made, 'listening')
  t.teardown(() => {
    made.close()
    for (const socket of sockets) socket.destroy()
  })
  return (made.address() as AddressInfo).port
}

const loopCount = (): number => performance.nodeTiming.uvMetricsInfo.loopCount

/**
 * How often the event loop turned in so many milliseconds: the least of a few tries, as what earlier tests
 * left behind turns it, too. One that waits turns a few times only, one that spins often in each try.
 */
export async function turnsIn(milliseconds: number): Promise<number> {
  let least = Infinity
  for (let i = 0; i < TRIES && least >= QUIET_TURNS; i += 1) {
    // What was on its way when this was called is not counted.
    await sleep(20)
    const before = loopCount()
    await sleep(milliseconds)
    least = Math.min(least, loopCount() - before)
  }
  return least
}

const TRIES = 5

/** More turns than a quiet loop makes in 300 ms, and by far fewer than one that spins. */
export const QUIET_TURNS = 60

/** Waits for the first error or close of a plain socket: the error's code, 'end', or 'close'. */
export function fate(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.on('error', (error: NodeJS.ErrnoException) => { resolve(error.code ?? error.message) })
    socket.on('end', () => { resolve('end') })
    socket.on('close', () => { resolve('close') })
    socket.resume()
  })
}
