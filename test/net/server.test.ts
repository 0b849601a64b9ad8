/** A server's connections: counting, refusing, closing, disposing; options that its sockets get. */
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import * as nodeNet from 'node:net'
import { BlockList } from 'node:net'
import { Duplex } from 'node:stream'
import { nodeMajor, until } from '../support/util.js'
import { both, closed, failure, portOf, text, trace, type Server, type Socket } from './both.js'

function connections(server: Server): Promise<number> {
  return new Promise((resolve, reject) => {
    server.getConnections((error, count) => {
      if (error === null) resolve(count)
      else reject(error)
    })
  })
}

both('server-close', 'close comes when all connections have ended', async (t, env) => {
  const { server, client, peer } = await env.pair()
  const order: string[] = []
  server.on('close', () => order.push('server'))
  peer.on('close', () => order.push('peer'))
  t.equal(await connections(server), 1)
  t.equal(server.close(() => order.push('callback')), server)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.strictSame(order, [], 'not yet')
  peer.resume()
  client.end()
  await closed(server)
  t.strictSame(order, ['server', 'callback'], 'when the last is destroyed, a moment before its own close')
  t.equal(await connections(server), 0)
})

both('server-close', 'close of a server that does not listen', async (t, { net }) => {
  const server = net.createServer()
  const error = await new Promise<unknown>((resolve) => { server.close(resolve) })
  t.match(error, { code: 'ERR_SERVER_NOT_RUNNING', message: 'Server is not running.' })
})

both('server-async-dispose', 'await using closes it', async (t, { net, own }) => {
  const server = own(net.createServer())
  server.listen(0)
  await once(server, 'listening')
  await server[Symbol.asyncDispose]()
  t.equal(server.listening, false)
  await server[Symbol.asyncDispose]()
  t.pass('a second time, too')
})

both('server-max-connections server-drop-connections', 'maxConnections: what is too many is dropped',
  async (t, env) => {
    const server = await env.listen()
    server.maxConnections = 2
    const drops: object[] = []
    server.on('drop', (data) => drops.push(data as object))
    const kept = [env.connect(server), env.connect(server)]
    await Promise.all(kept.map((socket) => once(socket, 'connect')))
    await until(() => (server as unknown as { _connections: number })._connections === 2)
    const extra = env.connect(server)
    await once(extra, 'connect')
    const { localPort } = extra
    const over = closed(extra.resume())
    extra.on('error', () => undefined)
    await over
    await until(() => drops.length === 1)
    t.match(drops[0], {
      localAddress: '127.0.0.1', localPort: portOf(server), localFamily: 'IPv4',
      remoteAddress: '127.0.0.1', remotePort: localPort, remoteFamily: 'IPv4',
    })
    t.equal(await connections(server), 2)
  })

both('server-max-connections-close-makes-more-available', 'who leaves makes room', async (t, env) => {
  const server = await env.listen((socket) => socket.resume())
  server.maxConnections = 1
  for (let round = 0; round < 4; round++) {
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = env.connect(server)
    const [peer] = await accepted
    client.end()
    await closed(peer)
  }
  t.equal(await connections(server), 0)
})

both('server-max-connections', 'maxConnections of 0 refuses all, and null or none refuses nobody',
  async (t, env) => {
    const server = await env.listen((socket) => socket.end('in'))
    server.maxConnections = 0
    const client = env.connect(server)
    client.on('error', () => undefined)
    await closed(client.resume())
    // Node 20 took 0 for no limit.
    if (env.ours || Number(process.versions.node.split('.')[0]) > 20) t.equal(client.bytesRead, 0)
    server.maxConnections = undefined as unknown as number
    t.equal(await text(env.connect(server)), 'in')
  })

both('server-blocklist', 'blockList of a server', async (t, env) => {
  if (nodeMajor < 22 && !env.ours) {
    t.comment('this Node\'s servers have no blockList')
    return
  }
  const blockList = new BlockList()
  blockList.addAddress('127.0.0.1')
  const accepted: (string | undefined)[] = []
  const server = await env.listen((socket) => {
    accepted.push(socket.remoteAddress)
    socket.end('welcome')
  }, { blockList })
  server.on('drop', () => t.fail('blocked is not dropped: that is for maxConnections'))
  const blocked = env.connect(server)
  blocked.on('error', () => undefined)
  await closed(blocked.resume())
  t.equal(blocked.bytesRead, 0)
  t.equal(await connections(server), 0)

  // Who connects from elsewhere is let in, and the list may change while the server runs.
  t.equal(await text(env.connect(server, { localAddress: '127.0.0.2' })), 'welcome')
  blockList.addRange('127.0.0.2', '127.0.0.3')
  const late = env.connect(server, { localAddress: '127.0.0.2' })
  late.on('error', () => undefined)
  await closed(late.resume())
  t.equal(late.bytesRead, 0)
  t.strictSame(accepted, ['127.0.0.2'])
  t.throws(() => env.net.createServer({ blockList: {} } as object), { code: 'ERR_INVALID_ARG_TYPE' })
})

both('blocklist', 'blockList of connect', async (t, env) => {
  if (nodeMajor < 22 && !env.ours) {
    t.comment('this Node\'s sockets have no blockList')
    return
  }
  const server = await env.listen(() => t.fail('accepted'))
  const blockList = new BlockList()
  blockList.addAddress('127.0.0.1')
  const error = await failure(env.connect(server, { blockList }))
  t.match(error, { code: 'ERR_IP_BLOCKED', message: 'IP(127.0.0.1) is blocked by net.BlockList' })
})

both('blocklist other:blocklist other:socketaddress', 'BlockList and SocketAddress', (t, { net }) => {
  const list = new net.BlockList()
  list.addSubnet('10.0.0.0', 8)
  list.addRange('192.0.2.1', '192.0.2.9')
  t.equal(list.check('10.1.2.3'), true)
  t.equal(list.check('192.0.2.10'), false)
  t.match(new net.SocketAddress({ address: '1.2.3.4', port: 5 }), {
    address: '1.2.3.4', port: 5, family: 'ipv4',
  })
})

both('server-keepalive server-nodelay server-options', 'sockets get the options of their server',
  async (t, env) => {
    const server = await env.listen(undefined, {
      allowHalfOpen: true, noDelay: true, keepAlive: true, keepAliveInitialDelay: 1000, highWaterMark: 1234,
    })
    const accepted = once(server, 'connection') as Promise<[Socket]>
    env.connect(server)
    const [peer] = await accepted
    t.equal(peer.allowHalfOpen, true)
    t.equal(peer.readableHighWaterMark, 1234)
    t.equal(peer.writableHighWaterMark, 1234)
    t.equal((peer as unknown as { server: unknown }).server, server)
    t.throws(() => env.net.createServer({ keepAliveInitialDelay: 'x' as never }), {
      code: 'ERR_INVALID_ARG_TYPE',
    })
  })

both('server-options', 'the connection listener and what `this` is', async (t, env) => {
  const server = env.own(env.net.createServer(function listener(this: unknown, socket: Socket) {
    t.equal(this, server)
    t.ok(socket instanceof env.net.Socket)
    socket.end()
  }))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  await closed(env.connect(server).resume())
})

both('listen-close-server server-close', 'events of a server in order', async (t, env) => {
  const server = env.own(env.net.createServer((socket) => socket.end()))
  const events = trace(server, 'listening', 'connection', 'close', 'error')
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  await closed(env.connect(server).resume())
  server.close()
  await closed(server)
  t.strictSame(events, ['listening', 'connection', 'close'])
})

both('server-max-connections-close-makes-more-available', 'who is refused hears an end',
  async (t, env) => {
    const server = await env.listen((socket) => socket.resume())
    server.maxConnections = 1
    const first = env.connect(server)
    await once(first, 'connect')
    for (let i = 0; i < 20; i++) {
      const refused = env.connect(server)
      refused.once('connect', () => refused.write('x')).resume()
      // A reset may come first, as the kernel has it; that it can't be written any more is no news.
      const told = await Promise.race([once(refused, 'error'), once(refused, 'close')]) as unknown[]
      if (told[0] instanceof Error) t.match(told[0], { code: 'ECONNRESET' })
    }
    t.ok(first.writable)
  })

both('socket-constructor', 'sockets and servers that Node has made are instances, too', async (t, env) => {
  const { Socket, Server } = env.net
  t.ok(new nodeNet.Socket() instanceof Socket)
  t.ok(createHttpServer() instanceof Server)
  t.notOk(new Duplex() instanceof Socket)
  t.notOk({} instanceof Socket)
  class Own extends Socket {}
  t.ok(new Own() instanceof Own && new Own() instanceof Socket)
  t.notOk(new Socket() instanceof Own)
  t.notOk(new nodeNet.Socket() instanceof Own)
})

both('server-listeners', 'a server that listens has no listeners but the program\'s', async (t, env) => {
  const server = env.net.createServer().listen(0)
  await once(server, 'listening')
  const counts = server.eventNames().map((name) => [String(name), server.listenerCount(name)])
  t.strictSame(counts, [])
  server.close()
  await closed(server)
})
