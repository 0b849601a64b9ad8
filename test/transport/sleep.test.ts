/**
 * Where the thread sleeps, the option `sleepIn`: whoever sleeps, everything that the event loop waits for ends the
 * sleep, nothing has to wait for the engine's sockets, and these wait for nothing.
 */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { lookup } from 'node:dns/promises'
import { readFile } from 'node:fs/promises'
import { createServer, type AddressInfo } from 'node:net'
import { performance } from 'node:perf_hooks'
import { setImmediate as immediate } from 'node:timers/promises'
import { MessageChannel, Worker } from 'node:worker_threads'
import t, { type Test } from 'tap'
import type { SleepIn, TransportOptions } from '../../src/transport/seam/transport.js'
import { nodeTransport } from '../../src/transport/node/transport.js'
import { nativeTransport } from '../../src/transport/native/transport.js'
import { patient } from '../support/patience.js'
import { ECHO, pingPong, portOf, Station, VARIANTS } from '../support/transports.js'
import { client, freePort, sleep, until } from '../support/util.js'

type Open = (options?: TransportOptions) => Station

/** Each backend, with a thread that sleeps in the engine and one that sleeps in libuv. */
function onEverySleep(name: string, body: (t: Test, open: Open, sleepIn: SleepIn) => Promise<void>): void {
  for (const { name: variant, skip, make } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
    for (const sleepIn of ['engine', 'libuv'] as const) {
      void t.test(`${variant}, in ${sleepIn}: ${name}`, { skip, timeout: patient(60_000) }, async (t) => {
        // Handles of the test before are closed by then.
        for (let i = 0; i < 5; i++) await immediate()
        const stations: Station[] = []
        await body(t, (options) => {
          const station = new Station(make({ sleepIn, ...options }))
          stations.push(station)
          return station
        }, sleepIn)
        await Promise.all(stations.map((station) => station.transport.close()))
        for (const { violations } of stations) t.strictSame(violations, [])
      })
    }
  }
}

const sleepsItself = (station: Station): boolean =>
  station.transport.info?.features.includes('sleep in the engine') === true

const ECHO_WORKER = `
const { parentPort } = require('node:worker_threads')
parentPort.on('message', (message) => { parentPort.postMessage(message) })
`

/** All that an event loop waits for, each after a while in which nothing else happens. */
async function everythingElse(t: Test): Promise<void> {
  const order: number[] = []
  await Promise.all([15, 5, 10].map(async (time) => {
    await sleep(time)
    order.push(time)
  }))
  t.strictSame(order.sort((a, b) => a - b), [5, 10, 15], 'timers')
  for (let i = 0; i < 200; i++) await immediate()
  await sleep(2)
  await new Promise<void>((resolve) => { setImmediate(resolve).unref() })
  t.ok((await readFile(new URL(import.meta.url))).length > 0, 'files')
  await lookup('localhost')
  const { port1, port2 } = new MessageChannel()
  port1.postMessage('message')
  t.strictSame(await once(port2, 'message'), ['message'], 'messages of the same thread')
  port1.close()
  const worker = new Worker(ECHO_WORKER, { eval: true })
  for (let i = 0; i < 5; i++) {
    await sleep(2)
    worker.postMessage(i)
    t.strictSame(await once(worker, 'message'), [i], 'messages of another thread')
  }
  await worker.terminate()
  t.equal(await new Promise((resolve) => execFile('echo', ['child'], (_error, out) => { resolve(out) })), 'child\n')
  const signalled = once(process, 'SIGUSR2')
  process.kill(process.pid, 'SIGUSR2')
  await signalled
  const server = createServer((socket) => { socket.pipe(socket) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const socket = await client((server.address() as AddressInfo).port)
  for (let i = 0; i < 10; i++) {
    await sleep(1)
    socket.write('y')
    await once(socket, 'data')
  }
  socket.destroy()
  server.close()
}

onEverySleep('it is where it is said to be', async (t, open, sleepIn) => {
  const station = open()
  t.equal(sleepsItself(station), sleepIn === 'engine')
  const { uvMetricsInfo } = performance.nodeTiming as { uvMetricsInfo?: { loopCount: number } }
  if (uvMetricsInfo === undefined) return
  const loops = (): number =>
    (performance.nodeTiming as unknown as { uvMetricsInfo: { loopCount: number } }).uvMetricsInfo.loopCount
  const messages = await pingPong(station)
  await until(() => messages() > 0)
  const [count, before] = [messages(), loops()]
  await until(() => messages() > count + 2000)
  const perLoop = (messages() - count) / (loops() - before)
  t.ok(sleepIn === 'engine' ? perLoop > 2 : perLoop <= 1, `${perLoop} messages per turn of the loop`)
})

onEverySleep('everything else has its turn while there is nothing to do', async (t, open) => {
  const station = open()
  await station.listen(ECHO)
  await everythingElse(t)
})

onEverySleep('everything else has its turn while there always is something to do', async (t, open) => {
  const messages = await pingPong(open())
  await until(() => messages() > 100)
  await everythingElse(t)
  const before = messages()
  await until(() => messages() > before)
})

onEverySleep('the engine has its turn while all else is busy', async (t, open) => {
  const station = open()
  const listener = await station.listen(ECHO)
  let rounds = 0
  let on = true
  const spin = (): void => {
    rounds++
    if (on) setImmediate(spin)
  }
  spin()
  const interval = setInterval(() => undefined, 1)
  const socket = await client(portOf(listener))
  for (let i = 0; i < 50; i++) {
    socket.write('x')
    await once(socket, 'data')
  }
  t.ok(rounds > 50)
  on = false
  clearInterval(interval)
  socket.destroy()
})

onEverySleep('commands that are given while libuv has its turn are executed', async (_t, open) => {
  const station = open()
  const messages = { to: 0 }
  const listener = await station.listen(ECHO)
  const connection = await new Promise<Parameters<NonNullable<typeof ECHO.data>>[0]>((resolve) => {
    station.connect({ host: '127.0.0.1', port: portOf(listener) }, {
      connected: resolve, data: () => { messages.to++ },
    })
  })
  for (let i = 0; i < 20; i++) {
    if (i % 4 === 0) await sleep(1)
    else if (i % 4 === 1) await immediate()
    else if (i % 4 === 2) await readFile(new URL(import.meta.url))
    else await new Promise<void>((resolve) => { process.nextTick(resolve) })
    connection.write('x')
    await until(() => messages.to === i + 1)
  }
})

onEverySleep('the sleep counts as idle, and uses no CPU', async (t, open) => {
  const station = open()
  const listener = await station.listen(ECHO)
  const socket = await client(portOf(listener))
  const before = performance.eventLoopUtilization()
  const cpu = process.cpuUsage()
  const start = performance.now()
  for (let i = 0; i < 8; i++) {
    await sleep(50)
    socket.write('x')
    await once(socket, 'data')
  }
  const time = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  const { idle, active, utilization } = performance.eventLoopUtilization(before)
  t.ok(user + system < time * 1000 / 2, `${user + system} us of CPU in ${time} ms`)
  t.ok(utilization < 0.5, `utilization ${utilization}`)
  t.ok(idle + active < time * 1.5 && idle + active > time / 1.5, `${idle} + ${active} ms of ${time}`)
  socket.destroy()
})

onEverySleep('several engines of a thread are all served, one that sleeps or none', async (t, open, sleepIn) => {
  const stations = [open(), open({ maxSlabBytes: 2 ** 24 }), open({ maxSlabBytes: 2 ** 25, busyPoll: 100 })]
  t.strictSame(stations.map(sleepsItself), [sleepIn === 'engine', false, false], 'one at most can')
  const talk = async (station: Station): Promise<void> => {
    const listener = await station.listen(ECHO)
    const socket = await client(portOf(listener))
    for (let i = 0; i < 10; i++) {
      if (i % 3 === 0) await sleep(2)
      socket.write('x')
      await once(socket, 'data')
    }
    socket.destroy()
  }
  await Promise.all(stations.map(talk))
  await stations[0].transport.close()
  await Promise.all(stations.slice(1).map(talk))
  const next = open()
  t.equal(sleepsItself(next), sleepIn === 'engine', 'the next one may')
  await Promise.all([...stations.slice(1), next].map(talk))
})

/** Connects as soon as it can, and ends when it has its answer. */
const IMPATIENT = `
const { connect } = require('node:net')
const attempt = () => {
  const socket = connect(Number(process.env.PORT), '127.0.0.1', () => { socket.write('x') })
  socket.on('error', () => { setTimeout(attempt, 20) }).on('data', () => { process.exit(0) })
}
process.stdout.write('ready')
attempt()
`

onEverySleep('opened while another engine spins, where nothing else happens', async (t, open) => {
  const port = await freePort()
  const env = { ...process.env, PORT: String(port) }
  const child = spawn(process.execPath, ['-e', IMPATIENT], { stdio: ['ignore', 'pipe', 'inherit'], env })
  const exited = once(child, 'exit')
  await once(child.stdout, 'data')
  const other = open({ busyPoll: 1000, sleepIn: 'libuv' })
  let count = 0
  const listener = await other.listen(ECHO)
  other.connect({ host: '127.0.0.1', port: portOf(listener) }, {
    connected: (connection) => { connection.write('x') },
    data: (connection, data) => {
      if (++count < 500) connection.write(data)
      else void open().listen(ECHO, { port })
    },
  })
  t.strictSame(await exited, [0, null])
})

onEverySleep('closed in the middle of a turn', async (t, open) => {
  const station = open()
  let left = 100
  let closed: Promise<void> | undefined
  const listener = await station.listen({
    data: (connection, data) => {
      if (--left > 0) connection.write(data)
      else closed = station.transport.close()
    },
  })
  const socket = await client(portOf(listener))
  socket.on('error', () => undefined).on('data', (data) => { socket.write(data) }).write('x')
  await until(() => closed !== undefined)
  await closed
  await sleep(5)
  socket.destroy()
  t.pass()
})

onEverySleep('with busy polling', async (t, open) => {
  const messages = await pingPong(open({ busyPoll: 'adaptive' }))
  await until(() => messages() > 1000)
  await everythingElse(t)
  const before = messages()
  await until(() => messages() > before)
})

const { href } = new URL('../../src/transport/native/transport.js', import.meta.url)
/** A program with an echo server. */
const SERVER = `
const { nativeTransport } = await import(process.env.MARKETPLACE)
const transport = nativeTransport(JSON.parse(process.env.OPTIONS))
transport.open((events) => {
  for (const { kind, connection, listener, data } of events) {
    if (kind === 'data') connection.write(data)
    if (kind === 'listening') globalThis.listening(listener.address.port)
  }
})
transport.listen({ host: '127.0.0.1', port: 0 })
`

/** Each of these is a process, or a worker, whose sleep is to be ended by what the test does to it. */
function onEveryProgram(name: string, body: (t: Test, env: NodeJS.ProcessEnv) => Promise<void>): void {
  onEverySleep(name, async (t, open, sleepIn) => {
    const backend = open().transport.info?.backend
    await body(t, { ...process.env, MARKETPLACE: href, OPTIONS: JSON.stringify({ backend, sleepIn }) })
  })
}

async function startWorker(env: NodeJS.ProcessEnv): Promise<{ worker: Worker, port: number }> {
  const program = `
    import { parentPort } from 'node:worker_threads'
    globalThis.listening = (port) => { parentPort.postMessage(port) }
    parentPort.on('message', (message) => { parentPort.postMessage(message) })
    ${SERVER}`
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(program)}`), { env })
  const [port] = await once(worker, 'message') as [number]
  return { worker, port }
}

onEveryProgram('in a worker: messages, its utilization from outside, and its termination', async (t, env) => {
  const { worker, port } = await startWorker(env)
  const socket = await client(port)
  for (let i = 0; i < 5; i++) {
    await sleep(5)
    worker.postMessage(i)
    t.strictSame(await once(worker, 'message'), [i])
    socket.write('x')
    await once(socket, 'data')
  }
  const before = worker.performance.eventLoopUtilization()
  await sleep(200)
  // It sleeps all the time, and has not been told to stop counting.
  const { idle, utilization } = worker.performance.eventLoopUtilization(before)
  t.ok(idle > 100 && utilization < 0.5, `idle for ${idle} ms of 200, utilization ${utilization}`)
  socket.on('error', () => undefined)
  t.equal(await worker.terminate(), 1)
  socket.destroy()
})

onEveryProgram('in a worker that is terminated in the middle of its work', async (t, env) => {
  for (let round = 0; round < 3; round++) {
    const { worker, port } = await startWorker(env)
    const socket = await client(port)
    socket.on('error', () => undefined).on('data', (data) => { socket.write(data) }).write('x')
    await sleep(round * 5)
    t.equal(await worker.terminate(), 1)
    socket.destroy()
  }
})

async function startChild(env: NodeJS.ProcessEnv, rest: string): Promise<{
  child: ReturnType<typeof spawn>, exited: Promise<unknown[]>
}> {
  const program = `globalThis.listening = (port) => {
    process.stdout.write('listening')
    ${rest}
  }
  ${SERVER}`
  const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'], env,
  })
  const exited = once(child, 'exit')
  await once(child.stdout as NodeJS.ReadableStream, 'data')
  return { child, exited }
}

onEveryProgram('a signal ends a process that sleeps, or is heard by it', async (t, env) => {
  const killed = await startChild(env, '')
  await sleep(20)
  killed.child.kill('SIGINT')
  t.strictSame(await killed.exited, [null, 'SIGINT'])
  const asked = await startChild(env, "process.on('SIGTERM', () => { process.exit(7) })")
  await sleep(20)
  asked.child.kill('SIGTERM')
  t.strictSame(await asked.exited, [7, null])
})

onEveryProgram('process.exit from a turn, from a timer, and an exception', async (t, env) => {
  for (const [rest, code] of [
    ['setTimeout(() => process.exit(5), 20)', 5],
    ["setTimeout(() => { throw new Error('meant to be') }, 20); console.error = () => undefined", 1],
  ] as const) {
    const { exited } = await startChild(env, `process.stderr.write = () => true; ${rest}`)
    t.strictSame(await exited, [code, null], rest)
  }
})

const DEBUGGER = `
const { parentPort, workerData } = require('node:worker_threads')
const { Session } = require('node:inspector')
const session = new Session()
session.connectToMainThread()
parentPort.on('message', () => {
  session.post('Runtime.evaluate', { expression: '6 * 7' }, (_error, answer) => {
    parentPort.postMessage(answer.result.value)
  })
})
`

onEverySleep('a debugger gets its answers while the thread sleeps', async (t, open) => {
  await open().listen(ECHO)
  const worker = new Worker(DEBUGGER, { eval: true })
  await once(worker, 'online')
  for (let i = 0; i < 3; i++) {
    await sleep(10)
    worker.postMessage('ask')
    t.strictSame(await once(worker, 'message'), [42])
  }
  await worker.terminate()
})

t.test('wrong places to sleep are refused', (t) => {
  for (const make of [nativeTransport, nodeTransport]) {
    for (const sleepIn of ['', 'Engine', 'uv', true, null, 1]) {
      t.throws(() => make({ sleepIn: sleepIn as SleepIn }), {
        name: 'TypeError', message: /sleepIn must be 'engine' or 'libuv'/,
      })
    }
  }
  const before = process.env.MARKETPLACE_SLEEP_IN
  t.teardown(() => {
    if (before === undefined) delete process.env.MARKETPLACE_SLEEP_IN
    else process.env.MARKETPLACE_SLEEP_IN = before
  })
  process.env.MARKETPLACE_SLEEP_IN = 'bed'
  t.throws(() => nativeTransport(), { name: 'TypeError', message: /MARKETPLACE_SLEEP_IN.*must be 'engine' or 'libuv'/ })
  nativeTransport({ sleepIn: 'libuv' })
  process.env.MARKETPLACE_SLEEP_IN = ''
  nativeTransport()
  t.end()
})
