/**
 * The async context of events, and what async_hooks are told of sockets and servers.
 */
import { AsyncLocalStorage, createHook, executionAsyncId } from 'node:async_hooks'
import { once } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { both, portOf, socketPath, type Socket } from './both.js'

both('connect-after-destroy', 'events have the context of connect', async (t, { net, own, listen }) => {
  const storage = new AsyncLocalStorage<string>()
  const server = await listen((peer) => { peer.on('error', () => undefined); peer.write('x') })
  const socket = own(storage.run('constructor', () => new net.Socket()))
  const seen: string[] = []
  const events = ['connect', 'ready', 'data', 'close', 'lookup']
  for (const event of events) socket.on(event, () => { seen.push(`${event} ${storage.getStore()}`) })
  for (const name of ['first', 'second']) {
    storage.run(name, () => { socket.connect(portOf(server), 'localhost') })
    await once(socket, 'data')
    storage.run('destroyer', () => { socket.destroy() })
    await once(socket, 'close')
  }
  const expected = ['first', 'second'].flatMap((name) => events.map((event) => `${event} ${name}`))
  t.same([...new Set(seen)].sort(), expected.sort())
})

both('socket-timeout', "'timeout' has the context of setTimeout", async (t, { pair }) => {
  const storage = new AsyncLocalStorage<string>()
  const { client } = await storage.run('connect', async () => pair())
  const heard = new Promise((resolve) => {
    client.on('timeout', () => { resolve(storage.getStore()) })
  })
  storage.run('setTimeout', () => { client.setTimeout(20) })
  t.equal(await heard, 'setTimeout')
})

both('server-close', "'connection' has the context of listen, its socket none", async (t, { net, own }) => {
  const storage = new AsyncLocalStorage<string>()
  const server = own(storage.run('create', () => net.createServer()))
  storage.run('listen', () => { server.listen(0, '127.0.0.1') })
  await once(server, 'listening')
  const heard = new Promise((resolve) => {
    server.on('connection', (socket: Socket) => {
      const store = storage.getStore()
      socket.on('data', () => { resolve([store, storage.getStore()]) })
    })
  })
  own(net.connect(portOf(server), '127.0.0.1')).write('x')
  t.same(await heard, ['listen', undefined])
})

interface Told {
  readonly type: string
  readonly trigger: number
  before: number
  after: number
  destroy: number
}

/** What hooks are told of the resources of these types while `body` runs, and a little longer. */
async function told(types: readonly string[], body: () => Promise<void>): Promise<Map<number, Told>> {
  const all = new Map<number, Told>()
  const hook = createHook({
    init(id, type, trigger) {
      if (types.includes(type)) all.set(id, { type, trigger, before: 0, after: 0, destroy: 0 })
    },
    before(id) { const one = all.get(id); if (one !== undefined) one.before++ },
    after(id) { const one = all.get(id); if (one !== undefined) one.after++ },
    destroy(id) { const one = all.get(id); if (one !== undefined) one.destroy++ },
  }).enable()
  try {
    await body()
    // Told in a later phase.
    const isOver = (): boolean => [...all.values()].every(({ destroy }) => destroy > 0)
    for (let i = 0; i < 200 && !isOver(); i++) await turn()
  } finally {
    hook.disable()
  }
  return all
}

const TCP = ['TCPWRAP', 'TCPSERVERWRAP', 'TCPCONNECTWRAP']
const PIPE = ['PIPEWRAP', 'PIPESERVERWRAP', 'PIPECONNECTWRAP']

for (const [where, types] of [['TCP', TCP], ['a path', PIPE]] as const) {
  both('connect-after-destroy', `hooks: all that begins ends, over ${where}`, async (t, { net }) => {
    const [socketType, serverType, connectType] = types
    const path = socketPath(t)
    const all = await told(types, async () => {
      const server = net.createServer((peer) => { peer.on('error', () => undefined).end('x') })
      if (where === 'TCP') server.listen(0, '127.0.0.1')
      else server.listen(path)
      await once(server, 'listening')
      const socket = new net.Socket()
      socket.resume()
      for (let i = 0; i < 3; i++) {
        if (where === 'TCP') socket.connect(portOf(server), '127.0.0.1')
        else socket.connect(path)
        await once(socket, 'close')
      }
      // Never connected, and given up while connecting.
      new net.Socket().destroy()
      const given = where === 'TCP' ? net.connect(portOf(server), '127.0.0.1') : net.connect(path)
      given.on('error', () => undefined)
      given.destroy()
      await once(given, 'close')
      server.close()
      await once(server, 'close')
    })
    const count = (type: string): number => [...all.values()].filter((one) => one.type === type).length
    t.equal(count(serverType), 1)
    t.ok(count(socketType) >= 7, 'a resource for each connection and each end')
    t.ok(count(connectType) >= 3)
    for (const { type, before, after, destroy } of all.values()) {
      t.equal(destroy, 1, `${type} ends once`)
      t.equal(before, after)
    }
    const server = [...all].find(([, { type }]) => type === serverType)?.[0]
    const sockets = new Set([...all].filter(([, { type }]) => type === socketType).map(([id]) => id))
    t.equal([...all.values()].filter(({ trigger }) => trigger === server).length >= 3, true, 'by the server')
    for (const { type, trigger } of all.values()) {
      if (type === connectType) t.ok(sockets.has(trigger), 'an attempt is by its socket')
    }
  })
}

both('other:graph.shutdown', 'hooks: a lookup is caused by the socket', async (t, env) => {
  const server = await env.listen()
  const types = ['TCPWRAP', 'GETADDRINFOREQWRAP', 'TCPCONNECTWRAP']
  const seen = await told(types, async () => {
    const socket = env.own(env.net.connect({ port: portOf(server), host: 'localhost', family: 4 }))
    await once(socket, 'connect')
    socket.destroy()
    await once(socket, 'close')
  })
  const cause = (type: string): number | undefined => (
    [...seen.values()].find((one) => one.type === type)?.trigger
  )
  const socket = cause('TCPCONNECTWRAP')
  t.equal(seen.get(socket as number)?.type, 'TCPWRAP')
  t.equal(cause('GETADDRINFOREQWRAP'), socket)
})

both('error-twice', 'hooks: a failed listen and a failed connect end, too', async (t, { net, listen }) => {
  const taken = await listen()
  const all = await told(TCP, async () => {
    const server = net.createServer()
    server.listen(portOf(taken), '127.0.0.1')
    await once(server, 'error')
    const free = net.createServer().listen(0, '127.0.0.1')
    await once(free, 'listening')
    const port = portOf(free)
    free.close()
    await once(free, 'close')
    const socket = net.connect(port, '127.0.0.1')
    const closed = once(socket, 'close').catch(async () => once(socket, 'close'))
    await closed
  })
  t.ok(all.size >= 3)
  for (const { type, destroy } of all.values()) t.equal(destroy, 1, type)
  t.ok(executionAsyncId() >= 0)
})
