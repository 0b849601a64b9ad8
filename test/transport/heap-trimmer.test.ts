/** What a crowd of connections has taken of V8's heap is given back when it is over; no collection comes for less. */
import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { getHeapStatistics } from 'node:v8'
import t, { type Test } from 'tap'
import { loadUws } from '../../src/drivers/web-socket-uws.js'
import { HeapTrimmer } from '../../src/transport/native/heap-trimmer.js'
import { loadNative } from '../../src/transport/native/transport.js'
import { cleanEnvironment, Cli } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'

const MEBIBYTE = 1024 * 1024

/** Of a process, in MiB. */
function resident(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024
}

/** So many connections at once, which send this, and close when there is an answer. */
async function wave(port: number, count: number, greeting: string): Promise<void> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1'))
  await Promise.all(sockets.map(async (socket: Socket) => {
    socket.write(greeting)
    await once(socket, 'data')
    socket.destroy()
    await once(socket, 'close')
  }))
}

/** Waves come over a server: what they have taken is given back. */
async function givesBack(t: Test, pid: number, port: number, greeting: string): Promise<void> {
  const before = resident(pid)
  for (let i = 0; i < 10; i++) await wave(port, 500, greeting)
  const peak = resident(pid)
  t.ok(peak > before + 16, `${before} MiB, then ${peak}`)
  await until(() => resident(pid) < before + (peak - before) / 2, 50)
  t.pass(`and then ${resident(pid)}`)
  // It goes on as before.
  await wave(port, 10, greeting)
}

const skip = loadNative().ok ? false : 'no native engine'

t.test('a server gives memory back after a crowd', { skip, timeout: patient(120_000) }, async (t) => {
  const server = new Cli(['echo', '--port', '0'], { MARKETPLACE_NATIVE: 'require' })
  t.teardown(() => server.child.kill('SIGKILL'))
  const port = await server.listening()
  await givesBack(t, server.child.pid as number, port, 'hello\n')
})

const WEB_SOCKETS = `
  import { _, endpoint, groundVm, webSocket, wsChannel, wsListener, wsListening }
    from '${new URL('../../src/index.js', import.meta.url).href}'
  await groundVm(() => [
    webSocket({ host: '127.0.0.1', origins: '*', carrier: 'uws' }),
    endpoint.subscriber(wsChannel(_, wsListener(0, '/'), _)),
    endpoint.subscriber(wsListening(_, _), { onPresence: ({ address }) => { console.log(new URL(address.url).port) } }),
  ])
`

const uws = await loadUws()

t.test('and if the crowd were sockets of uWebSockets.js, which no transport has', {
  skip: uws instanceof Error ? uws.message : skip, timeout: patient(120_000),
}, async (t) => {
  const server = spawn(process.execPath, ['--input-type=module', '-e', WEB_SOCKETS], {
    env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'],
  })
  t.teardown(() => server.kill('SIGKILL'))
  const [line] = await once(server.stdout, 'data') as [Buffer]
  await givesBack(t, server.pid as number, Number(line), [
    'GET / HTTP/1.1', 'Host: 127.0.0.1', 'Upgrade: websocket', 'Connection: Upgrade', 'Sec-WebSocket-Version: 13',
    'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==', '\r\n',
  ].join('\r\n'))
})

t.test('a collection comes for crowds only, and not soon again', async (t) => {
  // What is in the heap here does not matter as long as so many sockets would fill it.
  const crowd = Math.ceil(getHeapStatistics().used_heap_size / 2048) + 2048
  let trims = 0
  const trimmer = new HeapTrimmer(() => { trims++ }, { look: 20, pause: 200 })
  const come = (count: number): void => { for (let i = 0; i < count; i++) trimmer.changed() }
  come(2000)
  await sleep(100)
  t.equal(trims, 0, 'two thousand are none')
  come(crowd)
  await until(() => trims === 1)
  const first = performance.now()
  come(crowd)
  await until(() => trims === 2)
  t.ok(performance.now() - first >= 150, 'there is a pause in between')
})

t.test('a few sockets have no large heap collected', async (t) => {
  const ballast = Array.from({ length: 200 }, (_, i) => new Array<number>(32 * 1024).fill(i + 0.5))
  t.ok(getHeapStatistics().used_heap_size > 48 * MEBIBYTE)
  let trims = 0
  const trimmer = new HeapTrimmer(() => { trims++ }, { look: 10, pause: 0 })
  for (let i = 0; i < 2100; i++) trimmer.changed()
  await sleep(200)
  t.equal(trims, 0)
  t.equal(ballast.length, 200)
})
