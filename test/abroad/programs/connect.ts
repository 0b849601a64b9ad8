/** `connect()` in every state of a socket, and lookups of every kind. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { programs, type Environment, type Net, type Server, type Socket } from '../program.js'

/** Sockets that a server has heard of, and what each of them got. */
function counting(server: Server): { readonly sockets: Socket[], readonly texts: string[] } {
  const sockets: Socket[] = []
  const texts: string[] = []
  server.on('connection', (socket: Socket) => {
    const i = sockets.push(socket) - 1
    texts.push('')
    socket.on('data', (data) => { texts[i] += data.toString() })
    socket.on('error', () => undefined)
  })
  return { sockets, texts }
}

/** Everything that a socket tells, in order. */
function watch(socket: Socket, print: Environment['print'], ...events: string[]): void {
  for (const event of events) {
    socket.on(event, (...args: unknown[]) => { print(event, ...args) })
  }
}

async function gone(...sockets: Socket[]): Promise<void> {
  await Promise.all(sockets.map((socket) => new Promise<void>((resolve) => {
    if (socket.closed) resolve()
    else socket.once('close', () => { resolve() })
    socket.destroy()
  })))
}

async function ended(socket: Socket): Promise<void> {
  socket.resume()
  if (!socket.closed) await once(socket, 'close')
}

async function close(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

/** A few turns of the loop, and a little time: what comes too much has come by then. */
async function settle(): Promise<void> {
  for (let i = 0; i < 5; i++) await turn()
  await new Promise((resolve) => { setTimeout(resolve, 30) })
}

type Again = (socket: Socket, port: number) => unknown

/** Connects again what is connected. */
async function connectedAgain({ net, print, hide, serve }: Environment, again: Again): Promise<void> {
  const { server, port } = await serve()
  const { sockets, texts } = counting(server)
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  hide(socket.localPort, 'local port')
  socket.write('before')
  watch(socket, print, 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'lookup', 'error', 'close')
  try {
    again(socket, port)
    print('connecting', socket.connecting, socket.pending, socket.readyState)
  } catch (error) {
    print('throws', error)
  }
  await settle()
  print('destroyed', socket.destroyed, sockets.length, texts)
  await gone(socket)
  await Promise.all(sockets.map(async (peer) => ended(peer)))
  print('all closed')
  await close(server)
}

type Programs = Record<string, (env: Environment) => unknown>

type Found = (error: Error | null, ...found: unknown[]) => void
type Lookup = (host: string, options: { all?: boolean }, callback: Found) => void
type Give = (callback: Found, options: { all?: boolean }) => void

/** What a lookup makes of a connect: `localhost` is never asked for. */
async function withLookup(
  { net, print, serve }: Environment, lookup: Lookup, options: object = {},
): Promise<void> {
  const { server, port } = await serve()
  const { sockets } = counting(server)
  const socket = new net.Socket()
  watch(socket, print, 'lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'close')
  // Whether the local port is known is a matter of time.
  socket.on('error', (error) => {
    error.message = error.message.replace(/ - Local .*/, '')
    print('error', error)
  })
  socket.connect({ host: 'a.test', port, lookup, ...options } as never)
  await settle()
  print('connected', !socket.connecting && !socket.destroyed, socket.remoteAddress, sockets.length <= 1)
  await gone(socket)
  await close(server)
}

/** A lookup that answers at once, in a later turn, or after a tick. */
const lookups = (
  name: string, give: Give, options?: object,
): Record<string, (env: Environment) => unknown> => ({
  [`lookup ${name}, at once`]: async (env) => withLookup(env, (_host, how, callback) => {
    give(callback, how)
  }, options),
  [`lookup ${name}, later`]: async (env) => withLookup(env, (_host, how, callback) => {
    setImmediate(() => { give(callback, how) })
  }, options),
  [`lookup ${name}, of family 4`]: async (env) => withLookup(
    env, (_host, how, callback) => {
      setImmediate(() => { give(callback, how) })
    }, { ...options, family: 4 }),
  [`lookup ${name}, without autoSelectFamily`]: async (env) => withLookup(
    env, (_host, how, callback) => {
      setImmediate(() => { give(callback, how) })
    }, { ...options, autoSelectFamily: false }),
})

const one = (address: unknown, family: unknown): Give => (callback, { all }) => {
  if (all === true) callback(null, [{ address, family }])
  else callback(null, address, family)
}

/** The options of a connect that throws, by name. */
const THROWING: Readonly<Record<string, (port: number) => object>> = {
  'a port that is none': () => ({ port: -1 }),
  'a port of no type': () => ({ port: {} }),
  'a local address that is none': (port) => ({ port, localAddress: 'x' }),
  'a local port that is none': (port) => ({ port, localPort: 'x' }),
  'autoSelectFamily that is none': (port) => ({ port, autoSelectFamily: 1 }),
  'a time-out of attempts that is none': (port) => ({ port, autoSelectFamilyAttemptTimeout: 0 }),
  'a lookup that is none': (port) => ({ port, host: 'a.test', lookup: 1 }),
  'a lookup that throws': (port) => ({ port, host: 'a.test', lookup() { throw new Error('no lookup') } }),
  'hints that are none': (port) => ({ port, host: 'localhost', hints: 12_345 }),
  'a path that is none': () => ({ path: {} }),
}

type Afterwards = (socket: Socket, port: number) => unknown

/** What a socket is after a connect that threw, and what can be done with it then. */
const thrown = (how: string, afterwards: Afterwards, names = Object.keys(THROWING)): Programs => (
  Object.fromEntries(names.map((name) => [
    `connect with ${name}, then ${how}`,
    async ({ net, print, serve }: Environment) => {
      const { server, port } = await serve()
      const { sockets, texts } = counting(server)
      const socket = new net.Socket()
      const state = (): void => {
        print(socket.connecting, socket.pending, socket.readyState, socket.destroyed)
      }
      watch(socket, print, 'connectionAttempt', 'connect', 'finish', 'error', 'close')
      try {
        socket.connect(THROWING[name](port) as never)
      } catch (error) {
        print('throws', (error as NodeJS.ErrnoException).code)
      }
      state()
      afterwards(socket, port)
      state()
      await settle()
      state()
      print(sockets.length, texts)
      await gone(socket, ...sockets)
      await close(server)
    },
  ]))
)

async function unixPath(body: (path: string) => Promise<void>): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), 'abroad-'))
  try {
    await body(join(directory, 's'))
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}

const local = (socket: Socket, net: Net): boolean => net.isIP(socket.localAddress ?? '') !== 0

export default programs({
  'connect to the same again': async (env) => connectedAgain(
    env, (s, port) => s.connect(port, '127.0.0.1')),
  'connect again by name': async (env) => connectedAgain(
    env, (s, port) => s.connect({
      host: 'a.test', port, lookup: (_host, _options, done) => { done(null, '127.0.0.1', 4) },
    })),
  'connect again to many': async (env) => connectedAgain(env, (s, port) => s.connect({
    host: 'a.test', port, autoSelectFamily: true,
    lookup: (_h, _o, done) => {
      done(null, [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }])
    },
  })),
  'connect again to another address': async (env) => connectedAgain(
    env, (s, port) => s.connect(port, '127.0.0.2')),
  'connect again with a callback': async (env) => connectedAgain(
    env, (s, port) => s.connect(port, '127.0.0.1', () => { env.print('callback') })),
  'connect again twice': async (env) => connectedAgain(
    env, (s, port) => { s.connect(port, '127.0.0.1').connect(port, '127.0.0.1') }),
  'connect again without a port': async (env) => connectedAgain(env, (s) => s.connect({} as never)),
  'connect again to a bad port': async (env) => connectedAgain(env, (s) => s.connect(99999)),
  'connect again to a bad address': async (env) => connectedAgain(
    env, (s, port) => s.connect({ port, host: '127.0.0.1', localAddress: 'x' })),
  'connect again from a local address': async (env) => connectedAgain(
    env, (s, port) => s.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.1' })),
  'connect again in the callback': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = net.connect(port, '127.0.0.1', () => {
      print('connected')
      socket.connect(port, '127.0.0.1')
    })
    watch(socket, print, 'error', 'close')
    await settle()
    print(sockets.length, socket.destroyed)
    await gone(socket)
    await close(server)
  },
  'connect after a half close by the peer': async ({ net, print, serve }) => {
    const { server, port } = await serve((peer) => { peer.end('bye') }, { allowHalfOpen: true })
    const { sockets } = counting(server)
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.resume()
    await once(socket, 'end')
    watch(socket, print, 'connect', 'error', 'close')
    socket.connect(port, '127.0.0.1')
    await settle()
    print(socket.destroyed, sockets.length)
    await gone(socket, ...sockets)
    await close(server)
  },
  'connect while connecting': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = new net.Socket()
    watch(socket, print, 'connectionAttempt', 'connect', 'close')
    // Whether the local port is known is a matter of time.
    socket.on('error', ({ code, syscall }: NodeJS.ErrnoException) => { print(code, syscall) })
    socket.connect(port, '127.0.0.1')
    socket.connect(port, '127.0.0.1')
    print(socket.connecting)
    await settle()
    print(socket.destroyed, sockets.length <= 1)
    await gone(socket)
    await close(server)
  },
  'connect while it was connecting for a turn': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = new net.Socket()
    watch(socket, print, 'connectionAttempt', 'connect', 'close')
    // Whether the local port is known is a matter of time.
    socket.on('error', ({ code, syscall }: NodeJS.ErrnoException) => { print(code, syscall) })
    socket.connect(port, '127.0.0.1')
    await new Promise<void>((resolve) => { process.nextTick(resolve) })
    socket.connect(port, '127.0.0.1')
    await settle()
    print(socket.destroyed, sockets.length <= 1)
    await gone(socket)
    await close(server)
  },
  'connect while a lookup is on': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = new net.Socket()
    watch(socket, print, 'lookup', 'connectionAttempt', 'connect', 'error', 'close')
    socket.connect({
      host: 'a.test', port, autoSelectFamily: false,
      lookup: (_h, _o, done) => { setImmediate(done, null, '127.0.0.1', 4) },
    })
    socket.connect(port, '127.0.0.1')
    await settle()
    print(socket.destroyed, sockets.length <= 1)
    await gone(socket)
    await close(server)
  },
  'connect to a path while connecting to a path': async ({ net, print, hide }) => unixPath(async (path) => {
    const server = net.createServer()
    const { sockets } = counting(server)
    server.listen(path)
    await once(server, 'listening')
    const socket = new net.Socket()
    hide(path, 'path')
    watch(socket, print, 'connect', 'error', 'close')
    socket.connect(path)
    socket.connect(path)
    await settle()
    print(socket.destroyed, sockets.length <= 1)
    await gone(socket)
    await close(server)
  }),
  'connect to a path again': async ({ net, print, hide }) => unixPath(async (path) => {
    hide(path, 'path')
    const server = net.createServer()
    const { sockets } = counting(server)
    server.listen(path)
    await once(server, 'listening')
    const socket = net.connect(path)
    await once(socket, 'connect')
    watch(socket, print, 'connect', 'error', 'close')
    socket.connect(path)
    await settle()
    print(socket.destroyed, sockets.length)
    await gone(socket)
    await close(server)
  }),
  'connect after destroy, before close': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    watch(socket, print, 'connect', 'error', 'close', 'end')
    socket.destroy()
    socket.connect(port, '127.0.0.1')
    await settle()
    print(socket.destroyed, socket.connecting, sockets.length, local(socket, net))
    socket.write('again')
    await settle()
    await gone(socket)
    await close(server)
  },
  'connect in close, many times': async ({ net, print, serve }) => {
    const { server, port } = await serve((peer) => { peer.end('x') })
    let times = 0
    const socket = new net.Socket()
    socket.on('data', (data) => { print('data', data) })
    const over = new Promise<void>((resolve) => {
      socket.on('close', () => {
        print('close', socket.bytesRead, socket.bytesWritten)
        if (++times === 3) resolve()
        else socket.connect(port, '127.0.0.1')
      })
    })
    socket.on('connect', () => { socket.write('yy') })
    socket.connect(port, '127.0.0.1')
    await over
    await close(server)
  },
  ...thrown('destroy', (socket) => { socket.destroy() }),
  ...thrown('destroy with an error', (socket) => { socket.destroy(new Error('mine')) }),
  ...thrown('connect', (socket, port) => { socket.connect(port, '127.0.0.1') },
    Object.keys(THROWING).filter((name) => !name.includes('path'))),
  ...thrown('write and connect', (socket, port) => {
    socket.write('early')
    socket.connect(port, '127.0.0.1')
  }, ['a port that is none', 'a lookup that throws']),
  ...thrown('write', (socket) => { socket.write('for nobody') }, ['a port that is none']),
  'connect once the end has finished': async ({ net, print, hide, serve }) => {
    const { server, port } = await serve(undefined, { allowHalfOpen: true })
    const { sockets, texts } = counting(server)
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    hide(socket.localPort, 'local port')
    socket.end('before')
    await once(socket, 'finish')
    watch(socket, print, 'connectionAttempt', 'connect', 'error', 'close')
    socket.connect(port, '127.0.0.1')
    await settle()
    print(socket.destroyed, sockets.length, texts)
    await gone(socket, ...sockets)
    await close(server)
  },
  'connect after an error': async ({ net, print, serve }) => {
    const { server, port } = await serve((peer) => { peer.end() })
    await close(server)
    const socket = net.connect(port, '127.0.0.1')
    watch(socket, print, 'error', 'close', 'connect')
    await once(socket, 'error').catch(() => undefined)
    await once(socket, 'close').catch(() => undefined)
    socket.connect(port, '127.0.0.1')
    await once(socket, 'close').catch(() => undefined)
    await settle()
  },
  'counters of each connection': async ({ net, print, serve }) => {
    const { server, port } = await serve((peer) => { peer.end('hello') })
    const socket = new net.Socket()
    socket.resume()
    for (let i = 0; i < 3; i++) {
      socket.connect(port, '127.0.0.1')
      print('connecting', socket.bytesRead, socket.bytesWritten)
      await once(socket, 'connect')
      print('connected', socket.bytesRead, socket.bytesWritten)
      socket.write('abc')
      print('written', socket.bytesRead, socket.bytesWritten)
      await once(socket, 'close')
      print('closed', socket.bytesRead, socket.bytesWritten)
    }
    await close(server)
  },
  'counters of writes before connect': async ({ net, print, serve }) => {
    const { server, port } = await serve((peer) => { peer.resume(); peer.on('end', () => peer.end()) })
    const socket = new net.Socket()
    socket.resume()
    for (let i = 0; i < 2; i++) {
      socket.connect(port, '127.0.0.1')
      socket.write('abc')
      socket.write('def')
      print('early', socket.bytesWritten)
      await once(socket, 'connect')
      print('connected', socket.bytesWritten)
      socket.end()
      await once(socket, 'close')
      print('closed', socket.bytesWritten)
    }
    await close(server)
  },
  'addresses as the kernel says them': async ({ net, print }) => {
    const server = net.createServer()
    server.listen(0)
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    const hosts = [
      '127.0.0.1', '0.0.0.0', '::', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::FFFF:7f00:1',
    ]
    for (const host of hosts) {
      const accepted = once(server, 'connection') as Promise<[Socket]>
      const socket = net.connect({ port, host })
      await once(socket, 'connect')
      const [peer] = await accepted
      print(host, socket.remoteAddress, socket.remoteFamily, socket.localAddress)
      print(peer.remoteAddress, peer.remoteFamily, peer.localAddress)
      const over = once(peer, 'close')
      peer.resume()
      await gone(socket)
      await over
    }
    await close(server)
  },
  'server.address of several spellings': async ({ net, print }) => {
    for (const host of ['0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::', '0.0.0.0', '::FFFF:7f00:1']) {
      const server = net.createServer()
      server.listen(0, host)
      await once(server, 'listening')
      const { address, family } = server.address() as { address: string, family: string }
      print(host, address, family)
      await close(server)
    }
  },
  ...lookups('that gives an address', one('127.0.0.1', 4)),
  ...lookups('of the wrong family 6', one('127.0.0.1', 6)),
  ...lookups('of the wrong family 4', one('::1', 4)),
  ...lookups('of family 5', one('127.0.0.1', 5)),
  ...lookups('of family 0', one('127.0.0.1', 0)),
  ...lookups('of family IPv4', one('127.0.0.1', 'IPv4')),
  ...lookups('of family "4"', one('127.0.0.1', '4')),
  ...lookups('without a family', one('127.0.0.1', undefined)),
  ...lookups('of a name', one('localhost', 4)),
  ...lookups('of null', one(null, 4)),
  ...lookups('of nothing', one(undefined, undefined)),
  ...lookups('of a number', one(2130706433, 4)),
  ...lookups('of an empty text', one('', 4)),
  ...lookups('of a blank behind', one('127.0.0.1 ', 4)),
  ...lookups('that fails', (callback) => { callback(new Error('no such name')) }),
  ...lookups('that fails with an address', (callback, { all }) => {
    if (all === true) callback(new Error('no such name'), [{ address: '127.0.0.1', family: 4 }])
    else callback(new Error('no such name'), '127.0.0.1', 4)
  }),
  ...lookups('that never answers', () => undefined),
  ...lookups('that gives one of several', (callback) => {
    callback(null, [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.1', family: 4 }])
  }),
  ...lookups('of a mixed list', (callback, { all }) => {
    const list = [
      { address: 'x', family: 4 }, { address: '127.0.0.1', family: 4 }, { address: '1.2.3.4', family: 9 },
    ]
    if (all !== true) callback(null, '127.0.0.1', 4)
    else callback(null, list)
  }),
  ...lookups('that gives one address for all', (callback) => { callback(null, '127.0.0.1', 4) }),
  ...lookups('that answers twice', (callback, how) => {
    one('127.0.0.1', 4)(callback, how)
    one('127.0.0.1', 4)(callback, how)
  }),
  ...lookups('that answers twice, in two turns', (callback, how) => {
    one('127.0.0.1', 4)(callback, how)
    setImmediate(() => { one('127.0.0.1', 4)(callback, how) })
  }),
  ...lookups('that answers and fails', (callback, how) => {
    one('127.0.0.1', 4)(callback, how)
    callback(new Error('no such name'))
  }),
  ...lookups('that fails and answers', (callback, how) => {
    callback(new Error('no such name'))
    one('127.0.0.1', 4)(callback, how)
  }),
  ...lookups('that fails twice', (callback) => {
    callback(new Error('first'))
    callback(new Error('second'))
  }),
  'lookup that is null': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const socket = net.connect({ host: '127.0.0.1', port, lookup: null as never })
    await once(socket, 'connect')
    print('connected')
    await gone(socket)
    await close(server)
  },
  'lookup that answers after destroy': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const socket = new net.Socket()
    watch(socket, print, 'lookup', 'connectionAttempt', 'connect', 'error', 'close')
    let answer: Found = () => undefined
    const lookup: Lookup = (_host, _options, done) => { answer = done }
    socket.connect({ host: 'a.test', port, family: 4, lookup: lookup as never })
    socket.destroy()
    await settle()
    answer(null, '127.0.0.1', 4)
    await settle()
    print(socket.destroyed)
    await close(server)
  },
  'lookup that answers after destroy and a new connect': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const { sockets } = counting(server)
    const socket = new net.Socket()
    watch(socket, print, 'connect', 'error', 'close')
    let answer: Found = () => undefined
    const lookup: Lookup = (_host, _options, done) => { answer = done }
    socket.connect({ host: 'a.test', port, family: 4, lookup: lookup as never })
    socket.destroy()
    await settle()
    socket.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    answer(null, '127.0.0.1', 4)
    await settle()
    print(socket.destroyed, sockets.length)
    await gone(socket)
    await close(server)
  },
})
