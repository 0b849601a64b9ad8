/** The program of the tests' workers: an echo server that says on demand who it is, and dies on demand. */
import {
  _, currentWorker, endpoint, eof, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, type TcpEnd,
} from '../../src/index.js'

const hog: unknown[] = []

interface Data {
  readonly port?: number
  /** Told that its event loop will not turn again. */
  readonly stuck?: Int32Array
}
const { port = 0, stuck } = currentWorker()?.data as Data

/** What the command does; what is no command is sent back. */
function obey(text: string, us: TcpEnd, them: TcpEnd) {
  switch (text.trim()) {
    case 'who': {
      const worker = currentWorker()
      return sendMessage(tcpChannel(us, them, `${worker?.index} ${worker?.node}\n`))
    }
    case 'die exit': return process.exit(3)
    case 'die throw':
      setImmediate(() => { throw new Error('as it was told to') })
      return undefined
    case 'die loop':
      if (stuck !== undefined) Atomics.store(stuck, 0, 1)
      for (;;);
    case 'die memory':
      for (;;) hog.push(new Array(100_000).fill(hog.length))
    default: return sendMessage(tcpChannel(us, them, text))
  }
}

const session = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onAbsence: () => quit(),
  onMessage: ({ subpacket }) =>
    subpacket === eof ? sendMessage(tcpChannel(us, them, eof)) : obey(String(subpacket), us, them),
})

export default () => [
  tcpBare({ transport: 'native', host: '127.0.0.1' }),
  endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => session(them, us)),
  }),
]
