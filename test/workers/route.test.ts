/** Workers to which the program routes connections: by their addresses, or by what they say first. */
import { collectLog } from '../vm/log-records.js'
import t, { type Test } from 'tap'
import { connect, type Socket } from 'node:net'
import { Worker } from 'node:worker_threads'
import {
  proxyHeader, readProxyHeader, type Route, type RoutedConnection, type ServeOptions,
} from '../../src/index.js'
import { patient } from '../support/patience.js'
import { socketPath } from '../net/both.js'
import { until } from '../support/util.js'
import { VARIANTS } from '../support/variants.js'
import { ask, open } from './load.js'
import { onBackend, program, quiet, skip, started } from './start.js'

quiet(t)
t.setTimeout(patient(60_000))

/** Says its worker's index, and then all that it was told, when its client has finished. */
const TELLS = `
  import { createServer } from 'marketplace-native/net'
  import { currentWorker } from 'marketplace-native'
  createServer({ allowHalfOpen: true }, (socket) => {
    let heard = ''
    socket.setEncoding('latin1').on('data', (text) => {
      heard += text
      if (heard.endsWith('die\\n')) process.exit(3)
    })
    socket.on('end', () => { socket.end(currentWorker().index + ' ' + heard, 'latin1') }).on('error', () => undefined)
  }).listen(...currentWorker().data.where)`

async function tells(
  t: Test, options: Partial<ServeOptions>, where: unknown[] = [0, '127.0.0.1'],
): ReturnType<typeof started> {
  const running = await started({ module: program(t, TELLS), data: { where }, ...options })
  t.teardown(() => running.served.stop())
  return running
}

/** All that the server says. */
async function heard(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('latin1').on('data', (data: string) => { text += data })
  socket.on('error', ({ code = '' }: NodeJS.ErrnoException) => { text += code })
  if (!socket.closed) await new Promise((resolve) => { socket.on('close', resolve) })
  return text
}

async function say(port: number, ...pieces: string[]): Promise<string> {
  const socket = await open(port)
  const answer = heard(socket)
  for (const piece of pieces) {
    socket.write(piece)
    // Each may come by itself.
    await new Promise(setImmediate)
  }
  socket.end()
  return answer
}

/** The kernel gives clients even ports. */
const ofPort = (port: number | undefined): number => (Number(port) >> 1) % 2

/** By the number on the first line. */
const byRoom: Route = ({ prefix, last }) => {
  const end = prefix.indexOf('\n')
  if (end < 0) return last ? 'least' : 'more'
  return Number(prefix.toString('latin1', 0, end).replace('room ', '')) % 3
}

t.test('by what is said first: all of one room are on one worker, which has every byte', { skip }, async (t) => {
  const { port } = await tells(t, { workers: 3, route: byRoom })
  const rooms = Array.from({ length: 60 }, (_none, i) => i)
  const answers = await Promise.all(rooms.map((room) => say(port, 'ro', `om ${room}`, '\nhel', 'lo')))
  t.strictSame(answers, rooms.map((room) => `${room % 3} room ${room}\nhello`))
  // Nothing is said but the end.
  t.match(await say(port), /^[012] $/)
  t.match(await say(port, 'room without an end'), /^[012] room without an end$/)
})

t.test('by addresses; on a Unix socket', { skip }, async (t) => {
  const asked: RoutedConnection[] = []
  const route: Route = (connection) => {
    asked.push(connection)
    return ofPort(connection.peer.port)
  }
  const { port, served } = await tells(t, { route, prefixBytes: 0 })
  const sockets = await Promise.all(Array.from({ length: 20 }, () => open(port)))
  const expected = sockets.map(({ localPort }) => `${ofPort(localPort)} x`)
  const answers = sockets.map(heard)
  for (const socket of sockets) socket.end('x')
  t.strictSame(await Promise.all(answers), expected)
  t.ok(new Set(expected).size === 2)
  t.equal(asked.length, 20, 'each is asked about once')
  t.match(asked[0], { listener: { address: '127.0.0.1', port }, peer: { address: '127.0.0.1' }, last: true })
  t.equal(asked[0].prefix.length, 0)
  await served.stop()
  const path = socketPath(t)
  await tells(t, { route: ({ listener, peer }) => listener.address === path && peer.family === 'unix' ? 1 : 0 }, [path])
  const socket = connect(path)
  socket.end('hello')
  t.equal(await heard(socket), '1 hello')
})

t.test('"least" is whoever has the fewest', { skip }, async (t) => {
  const { port, served } = await tells(t, { workers: 4, route: () => 'least' })
  const sockets = await Promise.all(Array.from({ length: 100 }, () => open(port)))
  await until(() => served.workers().every(({ connections }) => connections === 25))
  for (const socket of sockets) socket.destroy()
})

t.test('by a PROXY header, which the worker has as well', { skip }, async (t) => {
  const route: Route = ({ prefix }) => {
    const read = readProxyHeader(prefix)
    if (read.is === 'part') return 'more'
    return read.is === 'header' ? Number(read.header.source?.host.split('.')[3]) % 2 : 'least'
  }
  const { port } = await tells(t, { route })
  for (const last of [6, 7, 8, 9]) {
    for (const version of [1, 2] as const) {
      const source = { host: `192.0.2.${last}`, port: 1234 }
      const header = proxyHeader({ version, source, destination: { host: '192.0.2.1', port: 80 } }).toString('latin1')
      const [begin, end] = [header.slice(0, 9), header.slice(9)]
      const socket = await open(port)
      const answer = heard(socket)
      for (const piece of [begin, `${end}hello`]) {
        socket.write(piece, 'latin1')
        await new Promise(setImmediate)
      }
      socket.end()
      t.equal(await answer, `${last % 2} ${header}hello`)
    }
  }
})

t.test('what the function gets wrong costs that connection, and nobody else anything', { skip }, async (t) => {
  const { records: messages, end } = collectLog(({ level }) => level !== 'debug')
  t.teardown(end)
  const route = (({ prefix, last }) => {
    const wish = prefix.toString().trim()
    if (wish === '' && !last) return 'more'
    if (wish === 'throw') throw new Error('as it was told to')
    if (wish === 'late') return Promise.resolve(0)
    if (wish === 'too late') return Promise.reject(new Error('as it was told to'))
    if (wish === 'always more') return 'more'
    return wish === 'fine' ? 1 : Number(wish)
  }) as Route
  const { port } = await tells(t, { route, prefixBytes: 16 })
  for (const [wish, reason] of [
    ['throw', /as it was told to/], ['2', /0 to 1/], ['-1', /0 to 1/], ['0.5', /0 to 1/], ['late', /Promise/],
    ['too late', /Promise/],
    ['always more', /route: its result must be the index of a worker, from 0 to 1, or 'least'; got 'more'/],
  ] as const) {
    const socket = await open(port)
    const answer = heard(socket)
    socket.write(`${wish}\n`)
    if (wish === 'always more') socket.end()
    t.equal(await answer, 'ECONNRESET', wish)
    t.match(String(messages.at(-1)?.fields['reason']), reason)
    t.equal(await say(port, 'fine'), '1 fine')
  }
})

t.test('who says nothing is decided on in time, and does not keep others out', { skip }, async (t) => {
  const lasts: boolean[] = []
  const route: Route = ({ prefix, last }) => {
    if (prefix.length > 0) return 0
    if (!last) return 'more'
    lasts.push(last)
    return 1
  }
  const { port, served } = await tells(t, { route, prefixMs: 500 })
  const silent = await open(port)
  await until(() => served.workers()[1].connections === 1)
  silent.end()
  t.equal(await heard(silent), '1 ')
  const many = await tells(t, { route, prefixMs: 600_000 })
  const before = lasts.length
  const sockets: Socket[] = []
  for (let i = 0; i < 1500; i += 100) {
    sockets.push(...await Promise.all(Array.from({ length: 100 }, () => open(many.port))))
  }
  t.equal(await say(many.port, 'hello'), '0 hello')
  t.ok(lasts.length - before >= 900, 'the oldest ones had to be decided on')
  for (const socket of sockets) socket.destroy()
})

t.test('clients that have reset their connections before they were asked about leave room', { skip }, async (t) => {
  // A thread of its own, as this one is busy: it connects more than there is room for, and resets them all.
  const steps = new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
  const route: Route = ({ prefix, last }) => {
    if (prefix.length === 0) return last ? 1 : 'more'
    if (prefix.toString() !== 'busy' || last) return 0
    Atomics.store(steps, 0, 1)
    Atomics.notify(steps, 0)
    Atomics.wait(steps, 0, 1)
    return 'more'
  }
  const { port } = await tells(t, { route, prefixMs: 600_000 })
  const clients = new Worker(`
    const { workerData: { steps, port, room, more } } = require('node:worker_threads')
    const { readdirSync } = require('node:fs')
    const { connect } = require('node:net')
    const descriptors = () => readdirSync('/proc/self/fd').length
    Atomics.wait(steps, 0, 0)
    const before = descriptors()
    const sockets = []
    for (let i = 0; i < room + more; i++) {
      sockets.push(connect(port, '127.0.0.1', connected).on('error', () => undefined))
    }
    let missing = sockets.length
    function connected() { if (--missing === 0) accepted() }
    function accepted() {
      if (descriptors() - before < sockets.length + room) return void setImmediate(accepted)
      let open = sockets.length
      for (const socket of sockets) {
        socket.once('close', () => {
          if (--open > 0) return
          Atomics.store(steps, 0, 2)
          Atomics.notify(steps, 0)
        })
        socket.resetAndDestroy()
      }
    }`, { eval: true, workerData: { steps, port, room: 1023, more: 5 } })
  t.teardown(() => clients.terminate())
  const busy = await open(port)
  const answer = heard(busy)
  busy.write('busy')
  await until(() => Atomics.load(steps, 0) === 2)
  t.equal(await say(port, 'hello'), '0 hello')
  busy.end()
  t.equal(await answer, '0 busy')
})

t.test('a worker that dies or is restarted: its connections wait for the next one there', { skip }, async (t) => {
  const { port, served } = await tells(t, { workers: 3, route: byRoom, backoff: { first: 300, jitter: 0 } })
  await say(port, 'room 1\n', 'die\n')
  await until(() => served.workers().length === 2)
  const waiting = Promise.all([1, 4, 7, 2].map((room) => say(port, `room ${room}\n`)))
  t.equal(await say(port, 'room 2\n'), '2 room 2\n', 'others are served meanwhile')
  t.strictSame(await waiting, ['1 room 1\n', '1 room 4\n', '1 room 7\n', '2 room 2\n'])
  let over = false
  const wrong: string[] = []
  let answered = 0
  const clients = Array.from({ length: 6 }, async (_none, room) => {
    while (!over) {
      const answer = await say(port, `room ${room}`, '\n')
      if (answer === `${room % 3} room ${room}\n`) answered++
      else wrong.push(answer)
    }
  })
  await until(() => answered > 20)
  await served.restart()
  over = true
  await Promise.all(clients)
  t.strictSame(wrong, [])
})

t.test('more than there is room for wait for a worker: they are reset, which the log tells', { skip }, async (t) => {
  const { records: messages, end } = collectLog(({ level }) => level !== 'debug')
  t.teardown(end)
  const { port, served } = await tells(t, { route: byRoom, backoff: { first: 60_000, jitter: 0 } })
  await say(port, 'room 0\n', 'die\n')
  await until(() => served.workers().length === 1)
  let reset = 0
  const sockets: Socket[] = []
  for (let i = 0; i < 1100; i += 100) {
    const some = await Promise.all(Array.from({ length: 100 }, () => open(port)))
    for (const socket of some) socket.on('error', () => { reset++ }).write('room 3\n')
    sockets.push(...some)
  }
  await until(() => reset === 1100 - 1024)
  t.ok(messages.some(({ message }) => message === 'connections are reset, as too many wait for worker 0'))
  t.equal(await say(port, 'room 1\n'), '1 room 1\n')
  for (const socket of sockets) socket.destroy()
})

for (const { name, skip } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
  t.test(`shutdown: who waits is routed first, and served (${name})`, { skip }, async (t) => {
    onBackend(t, name)
    for (let round = 0; round < 5; round++) {
      const asked = new Set<number>()
      const route: Route = (connection) => {
        asked.add(connection.peer.port)
        return byRoom(connection)
      }
      const { port, served } = await tells(t, { workers: 3, route })
      const sockets = await Promise.all(Array.from({ length: 9 }, () => open(port)))
      const answers = sockets.map(heard)
      for (const socket of sockets) socket.write('room 1')
      await until(() => asked.size === sockets.length)
      const down = served.shutdown({ drainMs: 20_000 })
      await until(() => served.addresses().length === 0)
      await t.rejects(open(port), { code: 'ECONNREFUSED' })
      for (const socket of sockets) socket.end('!\n')
      for (const answer of await Promise.all(answers)) t.match(answer, /^[012] room 1!\n$/)
      await down
      await served
    }
  })
}

t.test('a function that ends all: those that wait are routed first, one after the other', { skip }, async (t) => {
  let depth = 0
  let deepest = 0
  let down: Promise<void> | undefined
  const route: Route = ({ prefix, last }) => {
    deepest = Math.max(deepest, ++depth)
    if (prefix.toString() === 'end') down = served.shutdown({ drainMs: 20_000 })
    depth--
    return prefix.length === 0 && !last ? 'more' : 1
  }
  const { port, served } = await tells(t, { route })
  const sockets = await Promise.all(Array.from({ length: 20 }, () => open(port)))
  const answers = sockets.map(heard)
  sockets[0].end('end')
  await until(() => served.addresses().length === 0)
  for (const socket of sockets.slice(1)) socket.end('hello')
  t.strictSame(await Promise.all(answers), sockets.map((_none, i) => i === 0 ? '1 end' : '1 hello'))
  t.equal(deepest, 1)
  await down
  await served
})

t.test('options that do not go together', { skip }, async (t) => {
  const fails = async (options: object, message: RegExp): Promise<void> => {
    await t.rejects(started(options), { message })
  }
  await fails({ share: 'route' }, /serve: options\.route must be a function, as share is 'route'; got undefined/)
  await fails({ route: 5 }, /serve: options\.route must be a function; got 5/)
  await fails({ share: 'least', route: () => 0 }, /options\.route must be undefined where connections are not routed/)
  await fails({ prefixBytes: 5 }, /options\.prefixBytes must be undefined where connections are not routed; got 5/)
  await fails({ route: () => 0, prefixBytes: 65_537 }, /options\.prefixBytes must be an integer from 0 to 65536 bytes/)
  await fails({ route: () => 0, prefixMs: 0 }, /options\.prefixMs must be an integer from 1/)
  await fails({ share: 'most' }, /options\.share must be 'least', 'reuseport' or 'route'; got 'most'/)
})

t.test('a program of the VM, with its own answers', { skip }, async (t) => {
  const { served, port } = await started({ route: ({ peer }) => ofPort(peer.port) })
  const sockets = await Promise.all(Array.from({ length: 10 }, () => open(port)))
  for (const socket of sockets) t.match(await ask(socket, 'who'), new RegExp(`^${ofPort(socket.localPort)} `))
  for (const socket of sockets) socket.destroy()
  await served.stop()
})
