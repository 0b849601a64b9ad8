/** Accepting: storms, a queue that overflows, and no descriptors left. */
import { spawn } from 'node:child_process'
import { connect } from 'node:net'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { ECHO, onEveryTransport, portOf, VARIANTS } from '../support/transports.js'
import { client, readAll, until } from '../support/util.js'
import { NO_PYTHON, fate, python } from './peers.js'
import { patient } from '../support/patience.js'

onEveryTransport('a storm of connections', async (t, open) => {
  const station = open()
  const listener = await station.listen(ECHO)
  const wrong: string[] = []
  await Promise.all(Array.from({ length: 500 }, async (_, i) => {
    const socket = connect({ port: portOf(listener), host: '127.0.0.1', allowHalfOpen: true })
    socket.end(`${i}`)
    const answer = (await readAll(socket)).toString()
    if (answer !== `${i}`) wrong.push(answer)
  }))
  t.strictSame(wrong, [])
  await until(() => station.transport.metrics.connections === 0)
})

onEveryTransport('a queue that overflows: all are served in the end', async (t, open) => {
  const listener = await open().listen(ECHO, { backlog: 1 })
  const peer = python(t, `
import threading
done = []
def visit():
    peer = dial()
    peer.sendall(b'x')
    assert peer.recv(10) == b'x'
    done.append(1)
visitors = [threading.Thread(target=visit) for i in range(12)]
for visitor in visitors: visitor.start()
for visitor in visitors: visitor.join()
assert len(done) == 12
`, portOf(listener))
  // More come than there is room for while this thread is busy; the kernel makes the others try again.
  const busy = Date.now() + 400
  while (Date.now() < busy) Math.sqrt(busy)
  t.equal(await peer.ended(), 0)
}, { skip: NO_PYTHON })

const SERVER = fileURLToPath(new URL('./short-of-descriptors.js', import.meta.url))

/** How many the server may have: enough to load its modules, many at a time. */
const DESCRIPTORS = 128
const CLIENTS = 160

/** A server in a process of its own that may have few descriptors; what it says of itself. */
interface Shortage {
  readonly port: number
  readonly accepted: number
  readonly failures: readonly string[]
  readonly turns: number
}

for (const { name, skip } of VARIANTS) {
  void t.test(`${name}: out of descriptors`, { skip, timeout: patient(30_000) }, async (t) => {
    const limited = ['-c', `ulimit -n ${DESCRIPTORS} && exec "$0" "$@"`]
    const child = spawn('sh', [...limited, process.execPath, SERVER, name], {
      stdio: ['pipe', 'pipe', 'inherit'],
    })
    t.teardown(() => child.kill('SIGKILL'))
    let output = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
    const status = async (): Promise<Shortage> => {
      const lines = output.split('\n').length
      child.stdin.write('?\n')
      await until(() => output.split('\n').length > lines)
      return JSON.parse(output.split('\n').at(-2) ?? '') as Shortage
    }
    let { port } = await status()
    while (port === 0) ({ port } = await status())
    const sockets = Array.from({ length: CLIENTS }, () => connect({ port, host: '127.0.0.1' }))
    let gone = 0
    for (const socket of sockets) void fate(socket).then(() => (gone += 1))
    await until(() => gone > 0)
    const before = await status()
    t.ok(before.accepted > 0 && before.accepted < CLIENTS, `${before.accepted} were accepted`)
    if (name !== 'node') {
      t.strictSame([...new Set(before.failures)], ['EMFILE'], 'it was reported')
      await new Promise((resolve) => setTimeout(resolve, 500))
      const after = await status()
      t.ok(after.failures.length <= before.failures.length + 1, 'once, and not with each try')
      t.ok(after.turns - before.turns < 200, `${after.turns - before.turns} turns: nothing spins`)
    }
    for (const socket of sockets) socket.destroy()
    // Some time later there is room again.
    let served = false
    while (!served) {
      const socket = await client(port)
      socket.on('error', () => undefined)
      socket.end('room?')
      served = (await readAll(socket).catch(() => Buffer.alloc(0))).toString() === 'room?'
    }
    t.pass('and everything goes on')
  })
}
