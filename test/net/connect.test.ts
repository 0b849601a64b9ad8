/** How a socket connects: the forms of `connect`, their checks, and the order of what happens. */
import { once } from 'node:events'
import { both, closed, failure, portOf, socketPath, text, trace, type Socket } from './both.js'
import { nodeMajor } from '../support/util.js'

both('connect-options-port', 'a port that is none is refused at once', (t, { net }) => {
  for (const port of [-1, 65_536, 'x', ' ', '0x1_0000', NaN, Infinity]) {
    t.throws(() => net.connect({ port } as never), { code: 'ERR_SOCKET_BAD_PORT' }, String(port))
  }
  for (const port of [true, [], {}, () => undefined, null]) {
    t.throws(() => net.connect({ port } as never), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  t.throws(() => net.connect({ port: 1, lookup: 'x' } as never), { code: 'ERR_INVALID_ARG_TYPE' })
})

both('connect-options-port', 'every form of connect reaches the server', async (t, env) => {
  const server = await env.listen((socket) => socket.end('yes'), { host: '::' })
  const port = portOf(server)
  const forms: unknown[][] = [
    [port], [String(port)], [port, 'localhost'], [{ port }], [{ port: String(port), host: '127.0.0.1' }],
    [{ port, family: 4 }], [{ port, host: 'localhost', family: 6 }].slice(0, 0),
  ].filter((form) => form.length > 0)
  for (const form of forms) {
    for (const name of ['connect', 'createConnection'] as const) {
      let calls = 0
      const connect = env.net[name] as (...args: unknown[]) => ReturnType<typeof env.connect>
      const socket = env.own(connect(...form, () => { calls++ }))
      t.equal(await text(socket), 'yes', JSON.stringify(form.length))
      t.equal(calls, 1)
    }
    const socket = env.own(new env.net.Socket())
    ;(socket.connect as (...args: unknown[]) => unknown)(...form)
    t.equal(await text(socket), 'yes')
  }
})

both('connect-no-arg', 'connect wants to know where to', (t, { net }) => {
  const missing = { code: 'ERR_MISSING_ARGS' }
  t.throws(() => (net.connect as unknown as () => void)(), missing)
  t.throws(() => (new net.Socket().connect as unknown as () => void)(), missing)
  t.throws(() => (new net.Socket().connect as unknown as (options: object) => void)({}), missing)
  const { connect } = new net.Socket() as unknown as { connect(options: object): void }
  t.throws(() => { connect.call(new net.Socket(), { host: 'localhost' }) }, missing)
})

both('connect-options-invalid', 'object mode is refused', (t, { net }) => {
  for (const option of ['objectMode', 'readableObjectMode', 'writableObjectMode']) {
    t.throws(() => net.connect({ port: 8080, [option]: true }), { code: 'ERR_INVALID_ARG_VALUE' }, option)
  }
})

both('connect-options-invalid', 'a host that is no text is refused', (t, env) => {
  if (!env.ours && nodeMajor < 24) {
    t.comment('this Node takes lists, and uses their first element')
    return
  }
  for (const host of [['127.0.0.1'], { a: 1 }, 7, true]) {
    const options = { port: 1, host: host as unknown as string }
    t.throws(() => env.own(env.net.connect(options)), { code: 'ERR_INVALID_ARG_TYPE', message: /host/ })
  }
})

both('normalize-args', 'options that _normalizeArgs has made are taken as they are', async (t, env) => {
  const server = await env.listen((socket) => socket.end('yes'))
  const { _normalizeArgs } = env.net as unknown as { _normalizeArgs(args: unknown[]): unknown }
  const args = _normalizeArgs([portOf(server), '127.0.0.1']) as never
  t.equal(await text(env.own(new env.net.Socket().connect(args))), 'yes')
})

both('connect-options-path pipe-connect-errors', 'a path leads to a Unix socket', async (t, env) => {
  const server = await env.listen((socket) => socket.end('unix'), { path: socketPath(t) })
  const path = server.address() as string
  for (const form of [[path], [{ path }]] as unknown[][]) {
    const connect = env.net.connect as (...args: unknown[]) => ReturnType<typeof env.connect>
    const socket = env.own(connect(...form))
    t.equal(await text(socket), 'unix')
    t.strictSame(socket.address(), {})
    t.equal(socket.remoteAddress, undefined)
  }
  for (const wrong of [1, {}, [], true]) {
    t.throws(() => env.net.connect({ path: wrong } as never), { code: 'ERR_INVALID_ARG_TYPE' })
  }
})

both('connect-options-ipv6', 'IPv6', async (t, env) => {
  const server = await env.listen((socket) => socket.end('six'), { host: '::1' })
  const socket = env.own(env.net.connect({ port: portOf(server), host: '::1' }))
  await once(socket, 'connect')
  t.match(socket, { remoteFamily: 'IPv6', remoteAddress: '::1', localFamily: 'IPv6', localAddress: '::1' })
  t.equal(await text(socket), 'six')
})

both('connect-handle-econnrefused connect-immediate-finish better-error-messages-port-hostname',
  'who is refused is told where', async (t, env) => {
    const server = await env.listen()
    const port = portOf(server)
    server.close()
    await closed(server)
    const socket = env.own(env.net.connect({ port, host: '127.0.0.1' }))
    const events = trace(socket, 'connect', 'ready', 'error', 'close', 'end', 'finish')
    const error = await failure(socket)
    t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port })
    t.equal(error.message, `connect ECONNREFUSED 127.0.0.1:${port}`)
    t.ok(error instanceof Error && typeof error.errno === 'number' && error.errno < 0)
    t.equal(await closed(socket), true, 'close says that there was an error')
    t.strictSame(events, ['error', 'close'])
    t.equal(socket.destroyed, true)
    t.equal(socket.connecting, false)
  })

both('better-error-messages-path pipe-connect-errors', 'a path where nobody listens', async (t, env) => {
  const path = socketPath(t, 'nobody')
  const error = await failure(env.own(env.net.connect(path)))
  t.match(error, { code: 'ENOENT', syscall: 'connect', address: path })
  t.equal(error.message, `connect ENOENT ${path}`)
  t.equal(error.port, undefined)
})

both('socket-connect-without-cb socket-ready-without-cb', 'connect, then ready', async (t, env) => {
  const server = await env.listen()
  const socket = env.own(new env.net.Socket())
  const events = trace(socket, 'lookup', 'connectionAttempt', 'connect', 'ready')
  t.equal(socket.connect(portOf(server), '127.0.0.1'), socket)
  await once(socket, 'ready')
  t.strictSame(events, ['connectionAttempt', 'connect', 'ready'])
})

both('socket-connecting', 'connecting, pending and readyState say how far it is', async (t, env) => {
  const server = await env.listen()
  const socket = env.own(new env.net.Socket())
  t.match(socket, { connecting: false, pending: true, readyState: 'open', destroyed: false })
  socket.connect(portOf(server), '127.0.0.1')
  t.match(socket, { connecting: true, pending: true, readyState: 'opening' })
  await once(socket, 'connect')
  t.match(socket, { connecting: false, pending: false, readyState: 'open' })
  socket.end()
  t.equal(socket.readyState, 'readOnly')
  socket.destroy()
  t.match(socket, { connecting: false, pending: true, readyState: 'closed', destroyed: true })
})

both('connect-call-socket-connect', 'connect uses the prototype that a program has patched',
  async (t, env) => {
    const server = await env.listen()
    const proto = env.net.Socket.prototype
    const { connect } = proto
    t.teardown(() => { proto.connect = connect })
    const seen: unknown[] = []
    proto.connect = function patched(this: typeof proto, ...args: unknown[]) {
      seen.push(this)
      return (connect as (...args: unknown[]) => typeof proto).apply(this, args)
    }
    const socket = env.connect(server)
    await once(socket, 'connect')
    t.ok(seen.includes(socket))
  })

both('connect-buffer connect-buffer2 write-connect-write', 'what is written before is sent after',
  async (t, env) => {
    const server = await env.listen((socket) => socket.pipe(socket))
    const socket = env.own(new env.net.Socket({ allowHalfOpen: true }))
    socket.connect(portOf(server), '127.0.0.1')
    const called: string[] = []
    t.equal(socket.connecting, true)
    socket.write('abc', () => called.push('abc'))
    socket.write(Buffer.from('dé'), () => called.push('dé'))
    socket.write('2d', 'hex', () => called.push('-'))
    t.equal(socket.bytesWritten, 7, 'what waits counts')
    socket.once('connect', () => socket.end('end'))
    t.equal(await text(socket), 'abcdé-end')
    t.strictSame(called, ['abc', 'dé', '-'])
    t.equal(socket.bytesWritten, 10)
    t.equal(socket.bytesRead, 10)
  })

both('writable socket-end-before-connect', 'ended while it connects', async (t, env) => {
  let got = ''
  const server = await env.listen((socket) => {
    socket.setEncoding('utf8').on('data', (chunk: string) => { got += chunk })
  })
  const socket = env.connect(server)
  t.equal(socket.writable, true, 'writable from the start')
  socket.end('bye')
  t.equal(socket.writable, false)
  await closed(socket)
  t.equal(got, 'bye')
})

both('connect-destroy connect-immediate-destroy', 'destroyed while it connects', async (t, env) => {
  const server = await env.listen()
  for (const destroy of ['now', 'soon'] as const) {
    const socket = env.connect(server)
    const events = trace(socket, 'connect', 'error', 'close')
    if (destroy === 'now') socket.destroy()
    else process.nextTick(() => socket.destroy())
    t.equal(await closed(socket), false)
    t.strictSame(events, ['close'])
  }
})

both('other:destroy-socket-in-lookup', 'destroyed by a listener of lookup', async (t, env) => {
  const socket = env.own(env.net.connect({
    port: 1, host: 'nowhere.example',
    lookup: (_host, _options, done) => { process.nextTick(done, null, '127.0.0.1', 4) },
    autoSelectFamily: false,
  }))
  socket.on('lookup', () => socket.destroy())
  const events = trace(socket, 'connect', 'connectionAttempt', 'error', 'close')
  await closed(socket)
  t.strictSame(events, ['close'])
})

both('connect-after-destroy reconnect', 'what was closed connects again', async (t, env) => {
  const server = await env.listen((socket) => socket.end('again'))
  const socket = env.own(new env.net.Socket())
  for (let round = 0; round < 4; round++) {
    let got = ''
    const onData = (chunk: Buffer): void => { got += chunk.toString() }
    socket.on('data', onData)
    socket.connect(portOf(server), '127.0.0.1')
    t.equal(await closed(socket), false)
    t.equal(got, 'again')
    t.equal(socket.bytesRead > 0, true)
    socket.off('data', onData)
  }
})

both('reconnect-error', 'and fails again', async (t, env) => {
  const server = await env.listen()
  const port = portOf(server)
  server.close()
  await closed(server)
  const socket = env.own(new env.net.Socket())
  for (let round = 0; round < 3; round++) {
    const failed = failure(socket)
    socket.connect(port, '127.0.0.1')
    t.equal((await failed).code, 'ECONNREFUSED')
    t.equal(await closed(socket), true)
  }
})

both('connect-after-destroy', 'connect in the turn of destroy', async (t, env) => {
  const server = await env.listen()
  const socket = env.connect(server)
  socket.destroy()
  await closed(socket)
  socket.connect(portOf(server), '127.0.0.1')
  await once(socket, 'connect')
  t.equal(socket.destroyed, false)
})

both('connect-paused-connection', 'an accepted socket that nobody reads does not hold the process',
  async (t, env) => {
    const { client, peer } = await env.pair()
    peer.pause()
    client.write('held')
    await new Promise((resolve) => client.write('', resolve))
    t.equal(peer.bytesRead >= 0, true)
    peer.unref()
    client.unref()
  })

both('local-address-port socket-local-address', 'local addresses: both ends agree, until the close',
  async (t, env) => {
    const { server, client, peer } = await env.pair({}, { localAddress: '127.0.0.2' })
    const early = env.connect(server)
    await new Promise((resolve) => { process.nextTick(resolve) })
    t.equal(early.connecting, true)
    t.match(early, { localAddress: '127.0.0.1', localPort: Number, localFamily: 'IPv4' }, 'known while it connects')
    t.match(peer, { localAddress: '127.0.0.1', localPort: portOf(server), localFamily: 'IPv4' })
    t.match(client, { localAddress: '127.0.0.2', localPort: peer.remotePort, localFamily: 'IPv4' })
    t.strictSame(client.address(), { address: '127.0.0.2', family: 'IPv4', port: client.localPort })
    client.destroy()
    t.equal(client.localAddress, undefined)
    t.strictSame(client.address(), {})
    const idle = new env.net.Socket()
    t.strictSame(idle.address(), {})
    t.match(idle, { localAddress: undefined, localPort: undefined, localFamily: undefined })
  })

both('remote-address-port remote-address', 'remote addresses: none before, the other end after',
  async (t, env) => {
    const nothing = { remoteAddress: undefined, remotePort: undefined, remoteFamily: undefined }
    t.match(new env.net.Socket(), nothing)
    const server = await env.listen()
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = env.connect(server)
    t.match(client, nothing, 'while it connects')
    await once(client, 'connect')
    const [peer] = await accepted
    t.match(client, { remoteAddress: '127.0.0.1', remotePort: portOf(server), remoteFamily: 'IPv4' })
    t.match(peer, { remoteAddress: '127.0.0.1', remotePort: client.localPort, remoteFamily: 'IPv4' })
    client.destroy()
    t.match(client, { remoteAddress: '127.0.0.1' }, 'the address that was asked for stays')
  })

both('client-bind-twice localerror', 'localAddress and localPort', async (t, env) => {
  t.throws(() => env.net.connect({ port: 1, localPort: 'x' as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => env.net.connect({ port: 1, localAddress: 'x' }), { code: 'ERR_INVALID_IP_ADDRESS' })
  const server = await env.listen()
  const spare = await env.listen()
  const localPort = portOf(spare)
  spare.close()
  await closed(spare)
  const first = env.connect(server, { localAddress: '127.0.0.1', localPort })
  await once(first, 'connect')
  t.match(first, { localAddress: '127.0.0.1', localPort })
  const second = env.connect(server, { localAddress: '127.0.0.1', localPort })
  const error = await failure(second)
  t.match(error.code, /^EADDR(INUSE|NOTAVAIL)$/)
  t.match(error.message, `127.0.0.1:${portOf(server)} - Local (127.0.0.1:${localPort})`)
})

both('socket-constructor connect-options-fd', 'the constructor', async (t, { net, own }) => {
  t.ok((net.Socket as unknown as (options: object) => object)({}) instanceof net.Socket, 'without new')
  const socket = own(new net.Socket({ readable: true, writable: true, allowHalfOpen: true }))
  t.equal(socket.allowHalfOpen, true)
  t.equal(new net.Socket().allowHalfOpen, false)
  t.throws(() => new net.Socket({ fd: 'x' as unknown as number }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => new net.Socket({ fd: -1 }), { code: 'ERR_OUT_OF_RANGE' })
})
