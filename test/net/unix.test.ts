/** Unix sockets. */
import { once } from 'node:events'
import { chmodSync, existsSync, statSync, writeFileSync } from 'node:fs'
import { pattern } from '../support/util.js'
import { both, closed, failure, socketPath, text, type Socket } from './both.js'

const windows = process.platform === 'win32' ? 'Unix sockets' : false
const linux = process.platform === 'linux' ? false : 'abstract sockets are Linux\'s'

both('server-listen-path pipe:address', 'the forms of listen with a path', async (t, { net, own }) => {
  for (const form of ['text', 'options', 'callback']) {
    const path = socketPath(t)
    const server = own(net.createServer())
    if (form === 'text') server.listen(path)
    else if (form === 'options') server.listen({ path, exclusive: true })
    else server.listen(path, 5, () => undefined)
    await once(server, 'listening')
    t.equal(server.address(), path)
    t.equal(existsSync(path), true)
    server.close()
    await closed(server)
    t.equal(existsSync(path), false, 'the file goes with it')
  }
  t.throws(() => net.createServer().listen({ path: 1 } as never), { code: 'ERR_INVALID_ARG_VALUE' })
}, { skip: windows })

both('server-listen-path', 'readableAll and writableAll', async (t, env) => {
  const all = await env.listen(undefined, { path: socketPath(t), readableAll: true, writableAll: true })
  t.equal(statSync(all.address() as string).mode & 0o666, 0o666)
}, { skip: windows })

both('better-error-messages-listen-path', 'a path in no directory', async (t, { net, own }) => {
  const server = own(net.createServer())
  server.listen('/nowhere/at/all')
  const error = await failure(server)
  t.match(error, { code: /^(EACCES|ENOENT)$/, syscall: 'listen', address: '/nowhere/at/all' })
  t.match(error.message, /^listen E\w+: .* \/nowhere\/at\/all$/)
}, { skip: windows })

both('server-listen-path eaddrinuse', 'a path that is taken', async (t, env) => {
  const first = await env.listen(undefined, { path: socketPath(t) })
  const second = env.own(env.net.createServer())
  second.listen(first.address() as string)
  t.match(await failure(second), { code: 'EADDRINUSE', syscall: 'listen', address: first.address() })
}, { skip: windows })

both('pipe-with-long-path', 'a path that is too long', async (t, { net, own, ours }) => {
  const path = `${socketPath(t)}${'x'.repeat(200)}`
  const told = (start: () => ReturnType<typeof own>): Promise<unknown> => new Promise((resolve) => {
    try {
      const started = start().once('error', resolve)
      for (const event of ['listening', 'connect']) started.once(event, () => { resolve('cut') })
    } catch (error) {
      resolve(error)
    }
  })
  const listening = await told(() => own(net.createServer()).listen(path))
  // libuv of Node 20 cuts the path off; ours never listens where nobody asked for.
  if (ours || listening !== 'cut') {
    t.match(listening, {
      message: `listen EINVAL: invalid argument ${path}`, code: 'EINVAL', syscall: 'listen', address: path,
    })
  }
  const connecting = await told(() => own(new net.Socket()).connect(path))
  if (ours || listening !== 'cut') {
    t.match(connecting, { message: `connect EINVAL ${path}`, code: 'EINVAL', syscall: 'connect', address: path })
  }
}, { skip: windows })

both('pipe-connect-errors', 'a file that is no socket, and one that may not be reached', async (t, env) => {
  const file = socketPath(t, 'file')
  writeFileSync(file, '')
  t.match(await failure(env.own(env.net.connect(file))), {
    code: /^(ECONNREFUSED|ENOTSOCK)$/, syscall: 'connect', address: file,
  })
  if (process.getuid?.() === 0) {
    t.comment('root may reach everything')
    return
  }
  const server = await env.listen(undefined, { path: socketPath(t) })
  chmodSync(server.address() as string, 0)
  t.match(await failure(env.connect(server)), { code: 'EACCES' })
}, { skip: windows })

both('pipe:abstract-socket', 'abstract paths', async (t, env) => {
  const path = `\0net-${process.pid}-${env.ours}`
  const server = await env.listen((socket) => socket.end('abstract'), { path })
  t.equal(server.address(), path)
  t.equal(await text(env.connect(server)), 'abstract')
}, { skip: linux })

both('pipe:stream pipe:file-to-http pipe:head pipe:return-val', 'much through a path', async (t, env) => {
  const bytes = pattern(2_000_000)
  const options = { path: socketPath(t), allowHalfOpen: true }
  const server = await env.listen((socket) => { socket.pipe(socket) }, options)
  const client = env.connect(server)
  const chunks: Buffer[] = []
  client.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  client.end(bytes)
  await once(client, 'end')
  t.ok(Buffer.concat(chunks).equals(bytes))
}, { skip: windows })

both('pipe-connect-errors connect-reset', 'a Unix socket can not be reset', async (t, env) => {
  const { client } = await env.pair({ path: socketPath(t) })
  t.throws(() => client.resetAndDestroy(), { code: 'ERR_INVALID_HANDLE_TYPE' })
}, { skip: windows })

for (const [what, bytes] of [['little', 1], ['much', 1_000_000]] as const) {
  both('socket-write-error', `${what} that is written when the peer is gone was not taken`, async (t, env) => {
    for (const how of ['write', 'end', 'write and end'] as const) {
      const server = await env.listen(undefined, { path: socketPath(t), allowHalfOpen: true })
      const connection = once(server, 'connection') as Promise<[Socket]>
      const client = env.connect(server)
      const [peer] = await connection
      peer.resume()
      const ended = once(peer, 'end')
      client.destroy()
      await Promise.all([ended, closed(client)])
      peer.on('finish', () => { t.fail('it can\'t have finished') })
      const failed = failure(peer)
      const told = new Promise<unknown>((resolve) => {
        const data = pattern(bytes)
        if (how === 'end') peer.end(data, resolve as () => void)
        else peer.write(data, resolve)
        if (how === 'write and end') peer.end()
      })
      t.match(await told, { code: 'EPIPE', syscall: 'write' }, how)
      t.match(await failed, { code: 'EPIPE', syscall: 'write' }, how)
      await closed(peer)
    }
  }, { skip: windows })
}
