/** The echo example, through the VM: byte for byte, over many connections and to clients by others. */
import { onBoth } from '../drivers/tcp-program.js'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { echoServer } from '../../examples/echo.js'
import {
  client, missing, pattern, randomSource, readAll, runProgram, sleep, until,
} from '../support/util.js'

type Random = ReturnType<typeof randomSource>

/** Cuts bytes into pieces of random sizes; now and then the event loop turns before the next one. */
async function* pieces(bytes: Buffer, random: Random): AsyncGenerator<Buffer> {
  let rest = bytes
  while (rest.length > 0) {
    const size = 1 + random([500, 5_000, 150_000][random(3)])
    yield rest.subarray(0, size)
    rest = rest.subarray(size)
    if (random(6) === 0) await new Promise(setImmediate)
  }
}

/** Says `bytes` in pieces, ends, and hands back all that came until the server's end. */
async function talk(port: number, bytes: Buffer, random: Random): Promise<Buffer> {
  const socket = await client(port)
  const answer = readAll(socket)
  await pipeline(Readable.from(pieces(bytes, random)), socket)
  return answer
}

const TOTAL = 3 * 1024 * 1024

for (const connections of [1, 100, 1000]) {
  onBoth(`${connections} connection(s), byte for byte`, async (t, start) => {
    const seed = Date.now() % 1_000_000
    t.comment(`seed ${seed}`)
    const program = start(() => echoServer(0))
    const port = await program.port()
    const length = Math.ceil(TOTAL / connections)
    const said = Array.from({ length: connections }, (_, index) => pattern(length, seed + index))
    const answers = await Promise.all(said.map((bytes, i) => talk(port, bytes, randomSource(seed + i))))
    t.strictSame(answers.flatMap((answer, i) => (answer.equals(said[i]) ? [] : [i])), [], 'all right')
    await until(() => program.connections === 0)
    const [{ metrics }] = program.transports
    t.equal(metrics.accepts, connections)
    t.equal(metrics.bytesOut, metrics.bytesIn)
    t.strictSame(program.errors, [])
  })
}

onBoth('a client that half-closes and reads late gets all its bytes back, then eof', async (t, start) => {
  const port = await start(() => echoServer(0)).port()
  const bytes = pattern(6 * 1024 * 1024)
  const socket = await client(port)
  socket.end(bytes)
  await sleep(200)
  t.ok((await readAll(socket)).equals(bytes))
})

const PYTHON = `
import socket, sys, threading
data = sys.stdin.buffer.read()
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])), timeout=15)
def say():
    s.sendall(data)
    s.shutdown(socket.SHUT_WR)
threading.Thread(target=say).start()
for part in iter(lambda: s.recv(30000), b''):
    sys.stdout.buffer.write(part)
`

/** Programs that send their stdin, end, and print what comes back; their arguments without the port. */
const programs: readonly [string, (port: number) => string[]][] = [
  ['nc', (port) => [...(process.platform === 'linux' ? ['-N'] : []), '127.0.0.1', `${port}`]],
  ['socat', (port) => ['-t', '15', '-', `TCP4:127.0.0.1:${port}`]],
  ['python3', (port) => ['-c', PYTHON, `${port}`]],
]

for (const [command, args] of programs) {
  onBoth(`to ${command}`, async (t, start) => {
    const port = await start(() => echoServer(0)).port()
    const bytes = pattern(400_000, 3)
    const { code, stdout, stderr } = await runProgram(command, args(port), bytes)
    t.equal(code, 0, stderr)
    t.ok(stdout.equals(bytes), 'all bytes came back')
  }, missing(command))
}
