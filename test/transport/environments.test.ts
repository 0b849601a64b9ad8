/** The TCP engine in worker threads, in several at once, and in processes that end with open sockets. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadNative, nativeTransport } from '../../src/transport/native/transport.js'
import { patient } from '../support/patience.js'

const native = loadNative()
const options = { skip: native.ok ? false : native.reason, timeout: patient(30_000) }
const { href } = new URL('../../src/index.js', import.meta.url)
const { href: transportHref } = new URL('../../src/transport/native/transport.js', import.meta.url)

/** An echo server through the VM that tells its port. */
const SERVER = `
const { _, endpoint, groundVm, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, tcpListening } =
  await import(process.env.MARKETPLACE)
const { parentPort } = await import('node:worker_threads')
groundVm(() => [
  tcpBare({ transport: 'native', host: '127.0.0.1' }),
  endpoint.subscriber(tcpListening(_, _), {
    onPresence: ({ address }) => {
      parentPort?.postMessage(address.port)
      globalThis.onPort?.(address.port)
    },
  }),
  endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => [
      endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
      }),
    ]),
  }),
])
`

const env = { ...process.env, MARKETPLACE: href }

async function startWorker(): Promise<{ worker: Worker, port: number }> {
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(SERVER)}`), { env })
  const port = await new Promise<number>((resolve, reject) => {
    worker.once('message', resolve).once('error', reject)
  })
  return { worker, port }
}

/** Sends on and on; resolves with what came back first, and goes on until the server is gone. */
function talk(port: number, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => { socket.write(text) })
    socket.once('error', reject)
    socket.once('data', (data) => {
      socket.off('error', reject).on('error', () => undefined)
      resolve(data.toString())
    })
    socket.on('data', (data) => { socket.write(data) })
  })
}

t.test('several workers at once, terminated under traffic', options, async (t) => {
  for (let round = 0; round < 4; round++) {
    const servers = await Promise.all([startWorker(), startWorker(), startWorker()])
    const answers = await Promise.all(servers.map(({ port }, i) => talk(port, `worker ${i}`)))
    t.strictSame(answers, ['worker 0', 'worker 1', 'worker 2'])
    await new Promise((resolve) => setTimeout(resolve, round * 4))
    t.strictSame(await Promise.all(servers.map(({ worker }) => worker.terminate())), [1, 1, 1])
  }
})

t.test('a process that exits in the middle of it all', options, async (t) => {
  const exit = `
    import { connect } from 'node:net'
    globalThis.onPort = (port) => {
      const socket = connect(port, '127.0.0.1', () => socket.write('x'))
      socket.on('data', (data) => { socket.write(data) })
      setTimeout(() => process.exit(7), 50)
    }
    ${SERVER}
  `
  for (let i = 0; i < 3; i++) {
    const { status, signal, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', exit], {
      env, encoding: 'utf8', timeout: patient(10_000),
    })
    t.strictSame([status, signal, stderr], [7, null, ''])
  }
})

/** Writes big buffers to a peer that does not read, takes one away, and says when they are queued. */
const WRITER = `
const { nativeTransport } = await import(process.env.TRANSPORT)
const { parentPort } = await import('node:worker_threads')
const transport = nativeTransport({ backend: process.env.BACKEND })
let connection
const buffers = Array.from({ length: 3 }, () => new Uint8Array(8 * 1024 * 1024))
transport.open((events) => {
  if (!events.some(({ kind }) => kind === 'connected')) return
  for (const buffer of buffers) connection.write(buffer)
})
connection = transport.connect({ host: '127.0.0.1', port: Number(process.env.PORT) })
const timer = setInterval(() => {
  if (connection.queuedBytes === 0) return
  clearInterval(timer)
  globalThis.kept = structuredClone(buffers[2].buffer, { transfer: [buffers[2].buffer] })
  buffers.length = 0
  parentPort?.postMessage('queued')
  if (parentPort === null) process.exit(9)
}, 5)
`

for (const backend of ['epoll', 'io_uring'] as const) {
  t.test(`${backend}: workers and processes that end with buffers queued`, options, async (t) => {
    try {
      const probe = nativeTransport({ backend })
      probe.open(() => undefined)
      await probe.close()
    } catch (error) {
      t.comment(`skipped: ${String(error)}`)
      return
    }
    const peer = createServer((socket) => { socket.pause().on('error', () => undefined) })
    await new Promise<void>((resolve) => peer.listen(0, '127.0.0.1', resolve))
    const PORT = String((peer.address() as AddressInfo).port)
    const writer = { ...process.env, TRANSPORT: transportHref, BACKEND: backend, PORT }
    for (let round = 0; round < 3; round++) {
      const url = new URL(`data:text/javascript,${encodeURIComponent(WRITER)}`)
      const worker = new Worker(url, { env: writer })
      await new Promise((resolve, reject) => { worker.once('message', resolve).once('error', reject) })
      t.equal(await worker.terminate(), 1)
    }
    const child = spawn(process.execPath, ['--input-type=module', '-e', WRITER], { env: writer })
    let stderr = ''
    child.stderr.setEncoding('utf8').on('data', (text: string) => { stderr += text })
    const [code, signal] = await once(child, 'close') as unknown[]
    t.strictSame([code, signal, stderr], [9, null, ''])
    peer.close()
  })
}
