/** Echo, byte for byte, over one and many connections, with clients that don't know the transport. */
import { once } from 'node:events'
import { connect } from 'node:net'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, missing, pattern, randomSource, readAll, runProgram, until } from '../support/util.js'

const TOTAL = 4 * 1024 * 1024

/** Sends `bytes` in chunks of random sizes, ends, and returns what came back until the server's end. */
async function echoed(port: number, bytes: Buffer, random: (below: number) => number): Promise<Buffer> {
  const socket = await client(port)
  const answer = readAll(socket)
  for (let at = 0; at < bytes.length;) {
    const size = 1 + random(random(4) === 0 ? 200_000 : 2_000)
    if (!socket.write(bytes.subarray(at, at + size))) await once(socket, 'drain')
    // Sometimes the loop turns between two chunks, so that they arrive apart.
    if (random(8) === 0) await new Promise(setImmediate)
    at += size
  }
  socket.end()
  return answer
}

for (const connections of [1, 100, 1000]) {
  onEveryTransport(`echo over ${connections} connection(s)`, async (t, open) => {
    const seed = Date.now() % 1_000_000
    t.comment(`seed ${seed}`)
    const station = open()
    let closed = 0
    const errors: unknown[] = []
    const listener = await station.listen({
      ...ECHO,
      closed: (_connection, error) => {
        closed += 1
        if (error !== undefined) errors.push(error)
      },
    })
    const length = Math.ceil(TOTAL / connections)
    const wrong: number[] = []
    await Promise.all(Array.from({ length: connections }, async (_, index) => {
      const bytes = pattern(length, seed + index)
      const answer = await echoed(portOf(listener), bytes, randomSource(seed + index))
      if (!answer.equals(bytes)) wrong.push(index)
    }))
    await until(() => closed === connections)
    t.strictSame(wrong, [], 'every connection got its own bytes back')
    t.strictSame(errors, [], 'every connection ended orderly')
    const { metrics } = station.transport
    t.equal(metrics.accepts, connections)
    t.equal(metrics.connections, 0)
    t.equal(metrics.bytesIn, length * connections)
    t.equal(metrics.bytesOut, length * connections)
    t.ok(metrics.batches > 0 && metrics.chunksIn > 0 && metrics.chunksIn >= connections)
  })
}

onEveryTransport('echo over IPv6 and over all interfaces', async (t, open) => {
  const station = open()
  const listener = await station.listen(ECHO, { host: undefined })
  t.ok(listener.address)
  for (const host of ['127.0.0.1', '::1']) {
    if (host === '::1' && listener.address?.family !== 'IPv6') {
      t.comment('skipped: no IPv6 on this machine')
      continue
    }
    const socket = connect({ port: portOf(listener), host, allowHalfOpen: true })
    socket.end('over the wire')
    t.equal((await readAll(socket)).toString(), 'over the wire', host)
  }
})

const PYTHON = `
import socket, sys, threading
port, expected = int(sys.argv[1]), sys.stdin.buffer.read()
client = socket.create_connection(('127.0.0.1', port), timeout=20)
def send():
    for at in range(0, len(expected), 7777):
        client.sendall(expected[at:at + 7777])
    client.shutdown(socket.SHUT_WR)
sender = threading.Thread(target=send)
sender.start()
got = bytearray()
while True:
    chunk = client.recv(65536)
    if not chunk:
        break
    got += chunk
sender.join()
sys.stdout.buffer.write(bytes(got))
`

const LINUX = process.platform === 'linux'

/** Clients by others: how to start one that sends its stdin, then ends, and prints what comes back. */
const CLIENTS: readonly { readonly command: string, readonly args: (port: number) => string[] }[] = [
  { command: 'python3', args: (port) => ['-c', PYTHON, String(port)] },
  // Linux's nc goes on after its input has ended unless it is told; others know no -N.
  { command: 'nc', args: (port) => [...(LINUX ? ['-N'] : []), '127.0.0.1', String(port)] },
  { command: 'socat', args: (port) => ['-t', '20', '-', `TCP:127.0.0.1:${port}`] },
]

for (const { command, args } of CLIENTS) {
  onEveryTransport(`echo to ${command}`, async (t, open) => {
    const station = open()
    const listener = await station.listen(ECHO)
    const bytes = pattern(300_000, 7)
    const result = await runProgram(command, args(portOf(listener)), bytes)
    t.equal(result.code, 0, result.stderr)
    t.ok(result.stdout.equals(bytes), `${command} got its bytes back`)
  }, { skip: missing(command) })
}
