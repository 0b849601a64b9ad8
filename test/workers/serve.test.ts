/** Workers that share their listeners: who gets connections, when they are ready, and what is wrong with options. */
import t from 'tap'
import { connect, createServer, type AddressInfo } from 'node:net'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { LOG_CHANNEL, serve, type LogRecord, type ServeOptions } from '../../src/index.js'
import { ask, askOnce, open } from './load.js'
import { module, program, quiet, skip, started } from './start.js'
import { sleep, until } from '../support/util.js'

quiet(t)

/** Of an error. */
type Expected = Partial<Record<'code' | 'message' | 'cause', unknown>>

t.test('one port for all, and each connection goes to the worker with the fewest', { skip }, async (t) => {
  const { served, port } = await started({ workers: 4 })
  t.equal(served.addresses().length, 1)
  const sockets = await Promise.all(Array.from({ length: 1000 }, () => open(port)))
  const answers = await Promise.all(sockets.map((socket) => ask(socket, 'who')))
  const counts = new Map<string, number>()
  for (const answer of answers) counts.set(answer, (counts.get(answer) ?? 0) + 1)
  t.equal(counts.size, 4)
  for (const [worker, count] of counts) t.ok(Math.abs(count - 250) <= 25, `${worker} has ${count} of 1,000`)
  // Those that have gone make room.
  for (const [i, answer] of answers.entries()) if (answer.startsWith('2 ')) sockets[i].destroy()
  await until(() => served.workers()[2].connections === 0)
  for (let i = 0; i < 10; i++) {
    const socket = await open(port)
    sockets.push(socket)
    t.match(await ask(socket, 'who'), /^2 /)
  }
  for (const socket of sockets) socket.destroy()
  await served.stop()
})

t.test('what cannot begin is told with its reason', { skip }, async (t) => {
  const fails = async (options: Partial<ServeOptions>, expected: Expected): Promise<void> => {
    const served = serve({ module, workers: 2, data: {}, signals: false, ...options })
    for (const promise of [served.ready, served]) {
      t.match(await promise.then(() => undefined, (error: unknown) => error), expected)
    }
  }
  const foreign = createServer().listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  const { port } = foreign.address() as AddressInfo
  await fails({ data: { port } }, { code: 'EWORKERLOST', message: /EADDRINUSE/, cause: { code: 'EADDRINUSE', port } })
  foreign.close()
  await fails({ module: program(t, "throw new Error('at once')") }, { message: /at once/ })
  const failing = program(t, "export default () => { throw new Error('in its boot') }")
  await fails({ module: failing }, { message: /in its boot/ })
  await fails({ module: program(t, 'export default () => undefined') }, { message: /ended by itself/ })
  await fails({ module: program(t, 'export default 7') }, { message: /no program/ })
  await fails({ module: program(t, "import './not-there.mjs'") }, { message: /not-there/ })
  t.throws(() => serve({ module: './nowhere.js' }), { code: 'ERR_MODULE_NOT_FOUND', message: /nowhere\.js/ })
  t.throws(() => serve({} as ServeOptions), { message: /options\.module/ })
  t.throws(() => serve({ module, workers: 0 }), { name: 'RangeError', message: /options\.workers/ })
  for (const limits of [{ maxOldGenerationSizeMb: 'x' }, { maxOldGenerationSizeMb: 0 }, { maxOldGeneration: 8 }]) {
    t.throws(() => serve({ module, resourceLimits: limits as object }), { message: /options\.resourceLimits|unknown/ })
  }
  t.throws(() => serve({ module, data: () => 1 }), { message: /options\.data/ })
  t.throws(() => serve({ module, worker: 2 } as unknown as ServeOptions), { message: /did you mean 'workers'/ })
})

t.test('a topic says when a worker is ready; presence and data come to it', { skip }, async (t) => {
  const path = program(t, `
    import { _, currentWorker, defineRecord, endpoint, tcpBare, tcpChannel, tcpListener } from 'marketplace-native'
    const warm = defineRecord('warm', [])
    export const ready = warm()
    export default async (worker) => {
      await new Promise((resolve) => { setTimeout(resolve, 100) })
      if (worker.data.text !== 'a copy' || worker !== currentWorker()) throw new Error('wrong worker')
      return [
        tcpBare(), endpoint.publisher(warm()),
        endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' }),
      ]
    }`)
  const began = performance.now()
  const { served } = await started({ module: path, data: { text: 'a copy' } })
  t.ok(performance.now() - began >= 95)
  await served.stop()
})

t.test('metrics and the log say which worker', { skip }, async (t) => {
  const path = program(t, `
    import { tcpBare, endpoint, tcpChannel, tcpListener, _ } from 'marketplace-native'
    export default () => [tcpBare({ limits: { acceptRate: { perSecond: 1, burst: 1 } } }),
      endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' })]`)
  const records: LogRecord[] = []
  const keep = (record: unknown): void => { records.push(record as LogRecord) }
  subscribe(LOG_CHANNEL, keep)
  t.teardown(() => { unsubscribe(LOG_CHANNEL, keep) })
  const { served, port } = await started({ module: path })
  // Those that are refused are reset, perhaps before they know that they are connected.
  const sockets = Array.from({ length: 6 }, () => connect(port, '127.0.0.1').on('error', () => undefined))
  const dropped = () => records.filter(({ message }) => message === 'TCP connections dropped')
  await until(() => new Set(dropped().map(({ fields }) => fields['worker'])).size === 2)
  const { workers, total } = await served.metrics()
  t.equal(workers.length, 2)
  t.equal(total.accepts, 2)
  t.equal(total.drops, 4)
  const text = await served.prometheusText()
  t.match(text, /^marketplace_tcp_\w+\{worker="0"/m)
  t.match(text, /^marketplace_tcp_\w+\{worker="1"/m)
  const heads = text.split('\n').filter((line) => line.startsWith('# TYPE'))
  t.equal(new Set(heads).size, heads.length, 'each family has one head')
  for (const socket of sockets) socket.destroy()
  await served.stop()
})


t.test('out of descriptors: it is said, and clients are told by an end where they would hang', { skip }, async (t) => {
  const script = fileURLToPath(new URL('few-descriptors.js', import.meta.url))
  const child = spawn('sh', ['-c', 'ulimit -n 100 && exec "$0" "$1"', process.execPath, script])
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => { said += String(data) })
  await until(() => said.includes('listens on'))
  const port = Number(/listens on (\d+)/.exec(said)?.[1])
  const sockets = await Promise.all(Array.from({ length: 200 }, () => open(port)))
  const answers = await Promise.all(sockets.map((socket) => ask(socket, 'who')))
  const served = answers.filter((answer) => answer !== '').length
  t.ok(served > 10 && served < 100, `${served} of 200 are served`)
  await until(() => said.includes('connections can not be accepted'))
  t.match(said, /EMFILE/)
  for (const socket of sockets) socket.destroy()
  while (await askOnce(port, 'who') === '') await sleep(50)
  child.stdin.end()
  t.strictSame(await once(child, 'exit'), [0, null])
})
