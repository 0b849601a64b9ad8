/** The TCP engine in worker threads, in several at once, and in processes that end with open sockets. */
import { spawnSync } from 'node:child_process'
import { connect } from 'node:net'
import { Worker } from 'node:worker_threads'
import t from 'tap'
import { loadNative } from '../../src/transport/native.js'

const native = loadNative()
const options = { skip: native.ok ? false : native.reason, timeout: 30_000 }
const { href } = new URL('../../src/index.js', import.meta.url)

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
      env, encoding: 'utf8', timeout: 10_000,
    })
    t.strictSame([status, signal, stderr], [7, null, ''])
  }
})
