/** What the end of a process does to sockets, and what keeps a process alive. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { alone, programs, type Environment, type Socket } from '../program.js'

type Body = (environment: Environment, socket: Socket) => unknown

/** A server in a process of its own: it says what it got when its connection is over, and ends. */
const REPORTER = `
  const server = require('node:net').createServer((socket) => {
    let length = 0
    socket.on('data', (data) => { length += data.length })
    const over = (how) => () => { process.stdout.write(length + ' bytes, ' + how + '\\n'); server.close() }
    socket.on('end', over('ended')).on('error', over('reset'))
  })
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))`

/** One that neither reads nor writes, and one that writes for ever. */
const SILENT = `
  const server = require('node:net').createServer({ pauseOnConnect: true }, (socket) => {
    socket.on('error', () => {})
  })
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('disconnect', () => process.exit())`
const FLOOD = `
  const server = require('node:net').createServer((socket) => {
    const flood = () => { while (socket.write(Buffer.alloc(65536))); }
    socket.on('drain', flood).on('error', () => {})
    flood()
  })
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('disconnect', () => process.exit())`
const ENDS = `
  const server = require('node:net').createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {})
    socket.end('bye')
  })
  server.listen(0, '127.0.0.1', () => process.send(server.address().port))
  process.on('disconnect', () => process.exit())`

/** Starts a server, which doesn't keep this process alive. */
async function start(code: string, isReporter = false): Promise<number> {
  const stdout = isReporter ? 'inherit' : 'ignore'
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', stdout, 'inherit', 'ipc'] })
  const [port] = await once(child, 'message') as [number]
  child.unref()
  child.channel?.unref()
  return port
}

/** A process that talks to a reporter, which tells what arrived. */
const reported = (body: Body) => alone(async (environment) => {
  const { net, hide } = environment
  const port = await start(REPORTER, true)
  hide(port, 'port')
  const socket = net.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  // Not in the callback of the connection.
  await new Promise(setImmediate)
  await body(environment, socket)
})

/** Whether a process ends while it has such a socket. */
const left = (code: string, body: Body, options: object = {}) =>
  alone(async (environment) => {
    const { net, print } = environment
    const port = await start(code)
    const socket = net.connect({ port, host: '127.0.0.1', ...options })
    process.on('exit', () => { print('exit') })
    await once(socket, 'connect')
    await body(environment, socket)
  })

export default programs({
  'exit after write': reported((_environment, socket) => {
    socket.write('x')
    process.exit()
  }),
  'exit after several writes': reported((_environment, socket) => {
    for (let i = 0; i < 10; i++) socket.write(`line ${i}\n`)
    socket.write(Buffer.alloc(3000))
    process.exit(3)
  }),
  'exit after end': reported((_environment, socket) => {
    socket.end('last words')
    process.exit()
  }),
  'exit after write in a promise': reported(async (_environment, socket) => {
    await Promise.resolve()
    socket.write('x')
    process.exit()
  }),
  'exit after write in a tick': reported((_environment, socket) => {
    process.nextTick(() => {
      socket.write('x')
      process.exit()
    })
  }),
  'write in a listener of exit': reported((_environment, socket) => {
    process.on('exit', () => { socket.write('bye') })
    process.exit()
  }),
  'write in a listener of exit that was there first': alone(async ({ net }) => {
    const sockets: Socket[] = []
    process.on('exit', () => { for (const socket of sockets) socket.write('bye') })
    const port = await start(REPORTER, true)
    sockets.push(net.connect(port, '127.0.0.1', () => { process.exit() }))
  }),
  'uncaught exception after write': reported((_environment, socket) => {
    setImmediate(() => {
      socket.write('x')
      throw new Error('mine')
    })
  }),
  'unhandled rejection after write': reported((_environment, socket) => {
    socket.write('x')
    throw new Error('mine')
  }),
  'exit in a data handler that has answered': alone(async ({ serve }) => {
    const { port } = await serve((socket) => {
      socket.on('data', (data) => {
        socket.write(data)
        process.exit()
      })
    })
    const client = spawn(process.execPath, ['-e', `
      const socket = require('node:net').connect(${port}, '127.0.0.1')
      socket.on('data', (data) => console.log('client has ' + data)).write('hello')
      socket.on('close', () => {}).on('error', (error) => console.log(error.code))`],
    { stdio: ['ignore', 'inherit', 'inherit'] })
    client.unref()
  }),
  'uncaught exceptions in handlers of many sockets': alone(async ({ serve, net, print }) => {
    let caught = 0
    process.on('uncaughtException', () => { caught++ })
    const peers: Socket[] = []
    const { server, port } = await serve((peer) => {
      peers.push(peer)
      throw new Error('connection')
    })
    const told: string[] = []
    const clients = Array.from({ length: 8 }, (_, i) => {
      told.push('')
      const socket = net.connect(port, '127.0.0.1')
      for (const event of ['connect', 'data', 'end', 'close']) {
        socket.on(event, () => {
          told[i] += ` ${event}`
          // After the others Node would not read, or not end.
          if (event === 'data' || event === 'close') throw new Error(event)
        })
      }
      return socket
    })
    const over = Promise.all(clients.map((socket) => new Promise((resolve) => {
      // Its other listener for this event throws.
      socket.prependListener('close', resolve)
    })))
    while (peers.length < clients.length || told.some((text) => text === '')) await new Promise(setImmediate)
    // All of it comes in one turn.
    for (const peer of peers) peer.end('x')
    await over
    await new Promise(setImmediate)
    print(told, caught)
    server.close()
  }),
  'uncaught exception in a data handler that has answered': alone(async ({ pair, print }) => {
    const { client, peer } = await pair()
    process.on('uncaughtException', (error) => { print('uncaught', error) })
    client.on('data', (data) => {
      print('client has', data)
      process.exit(4)
    })
    peer.on('data', (data) => {
      peer.write(data)
      throw new Error('mine')
    })
    client.write('hello')
  }),
  'unref before connect': alone(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.end(); server.close() })
    const socket = new net.Socket()
    socket.unref()
    socket.connect(port, '127.0.0.1', () => print('connected'))
  }),
  'unref before connect, and nothing else': alone(async ({ net, print, hide }) => {
    const port = await start(SILENT)
    hide(port, 'port')
    const socket = new net.Socket()
    socket.unref()
    socket.connect(port, '127.0.0.1')
    socket.on('connect', () => { print('connected') })
    process.on('exit', () => { print('exit') })
  }),
  'unref while the name is looked up': alone(async ({ net, print }) => {
    const port = await start(SILENT)
    net.connect(port, 'localhost').unref().on('connect', () => { print('connected') })
      .on('error', (error: NodeJS.ErrnoException) => { print(error.code) })
  }),
  'a lookup that never calls back': alone(({ net, print }) => {
    net.connect({ port: 1, host: 'nowhere', lookup: () => undefined })
    process.on('exit', () => { print('exit') })
  }),
  'unref, refused': alone(({ net, print }) => {
    net.connect(1, '127.0.0.1').unref().on('error', (error) => { print(error) })
  }),
  'unref, then end with 16 MiB': reported((_environment, socket) => {
    socket.unref()
    socket.end(Buffer.alloc(16 * 1024 * 1024))
  }),
  'unref, then many writes': reported((_environment, socket) => {
    socket.unref()
    for (let i = 0; i < 100; i++) socket.write(Buffer.alloc(100_000))
    // Not a line: it may come before the reporter's or after it.
    socket.end(() => { process.exitCode = 5 })
  }),
  'end with 4 MiB, then unref': reported((_environment, socket) => {
    socket.end(Buffer.alloc(4 * 1024 * 1024))
    socket.unref()
  }),
  'a peer that finished, and nobody reads': left(ENDS, () => undefined, { allowHalfOpen: true }),
  'a peer that finished, half-open': left(ENDS, async (_environment, socket) => {
    socket.resume()
    await once(socket, 'end')
  }, { allowHalfOpen: true }),
  'a peer that finished, paused': left(ENDS, (_environment, socket) => { socket.pause() }),
  'a flood that nobody reads': left(FLOOD, () => undefined),
  'a flood, paused': left(FLOOD, (_environment, socket) => { socket.pause() }),
  'a flood, paused after data': left(FLOOD, async (_environment, socket) => {
    socket.on('data', () => { socket.pause() })
  }),
  'a flood, read again after a time': left(FLOOD, async ({ print }, socket) => {
    socket.pause()
    await new Promise((resolve) => { setTimeout(resolve, 50) })
    await once(socket.resume(), 'data')
    print('data')
    socket.destroy()
  }),
  'paused before it connects': alone(async ({ net, print }) => {
    const port = await start(SILENT)
    const socket = net.connect(port, '127.0.0.1', () => { print('connected') })
    socket.pause()
    process.on('exit', () => { print('exit') })
  }),
  'a silent peer, unref': left(SILENT, (_environment, socket) => { socket.unref() }),
  'a silent peer, unref, ref, destroyed': left(SILENT, (_environment, socket) => {
    socket.unref().ref()
    setTimeout(() => { socket.destroy() }, 20).unref()
  }),
  'destroyed while unref': left(SILENT, async ({ print }, socket) => {
    socket.unref()
    socket.destroy()
    socket.on('close', () => { print('close') })
  }),
  'pauseOnConnect keeps nothing': alone(async ({ pair, print }) => {
    const { server, client } = await pair({ pauseOnConnect: true })
    client.unref()
    server.close()
    process.on('exit', () => { print('exit') })
  }),
  'a server that is unref': alone(async ({ serve, print }) => {
    const { server } = await serve()
    server.unref()
    process.on('exit', () => { print('exit') })
  }),
  'a timeout alone': alone(async ({ net, print }) => {
    new net.Socket().setTimeout(20_000)
    process.on('exit', () => { print('exit') })
  }),
  'beforeExit may go on': alone(async ({ net, print, serve }) => {
    const { server, port } = await serve()
    server.unref()
    process.once('beforeExit', () => {
      print('beforeExit')
      const socket = net.connect(port, '127.0.0.1', () => { print('connected'); socket.destroy() })
    })
  }),
})
