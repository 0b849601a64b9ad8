/** What a server listens on: the forms of `listen`, their checks, and where they fail. */
import { once } from 'node:events'
import { both, closed, failure, portOf, socketPath, text, type Socket } from './both.js'

both('listen-invalid-port', 'a port that is none is refused at once', (t, { net }) => {
  for (const port of [-1, 65_536, 1e10, 'x', NaN, Infinity]) {
    t.throws(() => net.createServer().listen({ port } as object), {
      code: 'ERR_SOCKET_BAD_PORT',
    }, String(port))
  }
  t.throws(() => net.createServer().listen(-1), { code: 'ERR_SOCKET_BAD_PORT' })
})

both('server-listen-options', 'options that say nothing of where to listen are refused', (t, { net }) => {
  for (const options of [{}, { host: 'localhost' }, { exclusive: true }, { path: undefined }]) {
    t.throws(() => net.createServer().listen(options as object), { code: 'ERR_INVALID_ARG_VALUE' })
  }
  for (const wrong of [true, false, { fd: -1 }]) {
    t.throws(() => net.createServer().listen(wrong as unknown as number), { code: 'ERR_INVALID_ARG_VALUE' })
  }
})

both('server-listen-options', 'every form of listen takes a callback', async (t, { net, own }) => {
  const forms: unknown[][] = [
    [0], ['0'], [], [0, '127.0.0.1'], [0, 10], [0, '127.0.0.1', 10], [undefined], [null], [{ port: 0 }],
    [{ port: '0', host: '127.0.0.1', backlog: 5 }], [{ port: 0, exclusive: true }],
  ]
  for (const form of forms) {
    const server = own(net.createServer())
    await new Promise<void>((resolve) => { server.listen(...[...form, resolve] as unknown as []) })
    t.ok(server.listening && portOf(server) > 0, JSON.stringify(form))
    server.close()
    await closed(server)
  }
})

both('server-listen-remove-callback', 'the callback of listen is called once in a lifetime',
  async (t, { net, own }) => {
    const server = own(net.createServer())
    let calls = 0
    for (let round = 1; round <= 2; round++) {
      server.listen(0, () => { calls++ })
      await once(server, 'listening')
      t.equal(server.listenerCount('listening'), 0)
      server.close()
      await closed(server)
    }
    t.equal(calls, 2, 'one call for each listen')
  })

both('server-call-listen-multiple-times listen-twice', 'who listens does not listen again',
  async (t, { net, own }) => {
    const twice = own(net.createServer())
    twice.listen(0)
    t.throws(() => twice.listen(0), {
      code: 'ERR_SERVER_ALREADY_LISTEN',
    }, 'before it is told that it listens')
    await once(twice, 'listening')
    t.throws(() => twice.listen({ port: 0 }), { code: 'ERR_SERVER_ALREADY_LISTEN' })
    t.throws(() => twice.listen('x'), { code: 'ERR_SERVER_ALREADY_LISTEN' })
    twice.close()
    await closed(twice)
    twice.listen(0)
    await once(twice, 'listening')
    t.pass('but after its close it does')
  })

both('listening', 'listening says whether it does', async (t, { net, own }) => {
  const server = own(net.createServer())
  t.equal(server.listening, false)
  t.equal(server.address(), null)
  server.listen(0)
  await once(server, 'listening')
  t.equal(server.listening, true)
  server.close()
  t.equal(server.listening, false, 'as soon as it is closed')
})

both('eaddrinuse bind-twice better-error-messages-listen', 'a port that is taken is told by an error',
  async (t, env) => {
    const first = await env.listen()
    const second = env.own(env.net.createServer())
    const failed = failure(second)
    second.listen(portOf(first), '127.0.0.1', () => t.fail('it does not listen'))
    const error = await failed
    const port = portOf(first)
    t.match(error, { code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port })
    t.equal(error.message, `listen EADDRINUSE: address already in use 127.0.0.1:${port}`)
    t.equal(typeof error.errno, 'number')
    t.equal(second.listening, false)
    t.equal(second.address(), null)
  })

both('listen-error better-error-messages-listen', 'an address of another machine is told by an error',
  async (t, env) => {
    const server = env.own(env.net.createServer())
    server.listen(0, '192.0.2.1')
    const error = await failure(server)
    t.match(error, { code: 'EADDRNOTAVAIL', syscall: 'listen', address: '192.0.2.1' })
    t.match(error.message, /^listen EADDRNOTAVAIL: .*192\.0\.2\.1/)
  })

both('listen-invalid-port server-listen-options', 'what a cluster knows it by', async (t, env) => {
  const key = (server: unknown): string => (server as { _connectionKey: string })._connectionKey
  const any = await env.listen(undefined, { host: undefined })
  const v6 = (any.address() as { family: string }).family === 'IPv6'
  t.equal(key(any), v6 ? '6::::0' : '4:0.0.0.0:0')
  t.equal(key(await env.listen()), '4:127.0.0.1:0')
  const path = socketPath(t)
  t.match(key(await env.listen(undefined, { path })), `-1:${path}:`)
})

both('server-try-ports', 'after a port that was taken, another one does', async (t, env) => {
  const first = await env.listen()
  const second = env.own(env.net.createServer())
  second.listen(portOf(first), '127.0.0.1')
  await failure(second)
  second.listen(0, '127.0.0.1')
  await once(second, 'listening')
  t.not(portOf(second), portOf(first))
})

both('listen-close-server', 'closed before it listens, it never does', async (t, { net, own }) => {
  const server = own(net.createServer())
  server.on('listening', () => t.fail('listening'))
  server.listen(0)
  server.close()
  await closed(server)
  t.equal(server.listening, false)
})

both('listen-close-server-callback-is-not-function', 'what is no function is no callback',
  async (t, { net, own }) => {
    const server = own(net.createServer())
    server.listen(0)
    server.close('bad argument' as unknown as () => void)
    await closed(server)
    t.pass('it closes')
  })

both('server-close-before-calling-lookup-callback', 'closed while its host is looked up',
  async (t, { net, own }) => {
    const server = own(net.createServer())
    server.on('listening', () => t.fail('listening'))
    server.listen({ port: 0, host: 'localhost' })
    server.close()
    await new Promise((resolve) => setTimeout(resolve, 30))
    t.equal(server.listening, false)
  })

both('listen-ipv6only', 'ipv6Only leaves the port to IPv4', async (t, env) => {
  const six = await env.listen(undefined, { host: '::', ipv6Only: true })
  const four = env.own(env.net.createServer())
  four.listen(portOf(six), '0.0.0.0')
  await once(four, 'listening')
  t.equal(portOf(four), portOf(six))
})

both('listen-ipv6only', 'without it, one server has both', async (t, env) => {
  const server = await env.listen((socket) => socket.end('dual'), { host: '::' })
  t.equal(await text(env.connect(server, { host: '127.0.0.1' })), 'dual')
  t.equal(await text(env.connect(server, { host: '::1' })), 'dual')
})

both('server-listen-options-signal', 'a signal closes the server', async (t, { net, own }) => {
  const controller = new AbortController()
  const server = own(net.createServer())
  server.listen({ port: 0, signal: controller.signal })
  await once(server, 'listening')
  controller.abort()
  await closed(server)
  t.equal(server.listening, false)
  const late = own(net.createServer())
  late.listen({ port: 0, signal: AbortSignal.abort() })
  await closed(late)
  t.equal(late.listening, false, 'also one that is aborted already')
  t.throws(() => net.createServer().listen({ port: 0, signal: 'no' as unknown as AbortSignal }), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
})

both('server-options', 'createServer checks its arguments', (t, { net }) => {
  t.throws(() => net.createServer('path' as unknown as object), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => net.createServer(0 as unknown as object), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => new (net.Server as unknown as new (x: unknown) => object)(1), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
  t.doesNotThrow(() => { net.createServer(undefined as unknown as object) })
  t.ok((net.Server as unknown as () => object)() instanceof net.Server, 'Server can be called without new')
})

both('reuseport', 'two servers share a port with reusePort', async (t, env) => {
  if (Number(process.versions.node.split('.')[0]) < 23 && !env.ours) {
    t.comment('this Node has no reusePort')
    return
  }
  const first = await env.listen(undefined, { reusePort: true })
  const second = await env.listen(undefined, { reusePort: true, port: portOf(first) })
  t.equal(portOf(second), portOf(first))

  const came = [0, 0]
  for (const [index, server] of [first, second].entries()) {
    server.on('connection', (socket: Socket) => { came[index]++; socket.end() })
  }
  // The kernel chooses by a hash of the ports: that it would never choose one of two is beyond chance.
  for (let round = 0; round < 100 && came.includes(0); round++) await closed(env.connect(first).resume())
  t.ok(!came.includes(0), `connections: ${came.join(', ')}`)

  const third = env.own(env.net.createServer())
  third.listen(portOf(first), '127.0.0.1')
  t.match(await failure(third), { code: 'EADDRINUSE' }, 'who does not ask for it does not share')
})

both('server-listen-options', 'address tells address, family and port', async (t, env) => {
  const four = await env.listen()
  t.strictSame(four.address(), { address: '127.0.0.1', family: 'IPv4', port: portOf(four) })
  const six = await env.listen(undefined, { host: '::1' })
  t.strictSame(six.address(), { address: '::1', family: 'IPv6', port: portOf(six) })
})

both('listen-fd0 server-listen-handle', 'a descriptor that is no socket is told by an error',
  async (t, { net, own }) => {
    const server = own(net.createServer())
    server.listen({ fd: 2_000_000 })
    const error = await failure(server)
    t.match(error.code, /^(EINVAL|ENOTSOCK|EBADF)$/)
  })

both('server-listen-handle', 'a server takes over what another listens on', async (t, env) => {
  // As Node's own handle: the sockets are Node's then, in both modules.
  const { net, own } = env
  const handles = net as unknown as { _createServerHandle(host: string, port: number, type: number): object }
  const server = own(net.createServer((socket) => { own(socket).end('taken over') }))
  server.listen(handles._createServerHandle('127.0.0.1', 0, 4))
  await once(server, 'listening')
  const client: Socket = env.connect(server)
  t.equal(await text(client), 'taken over')
})
