/** The end of a socket, by choice or not: `end`, `destroy`, resets, errors, and the order of their events. */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { both, closed, failure, portOf, text, trace, type Socket } from './both.js'
import { nodeMajor } from '../support/util.js'

both('end-close after-close', 'end on both sides: end, finish, close', async (t, env) => {
  const { client, peer } = await env.pair()
  const events = trace(client, 'end', 'finish', 'close', 'error')
  peer.resume()
  client.resume()
  client.end('bye')
  t.equal(await closed(client), false)
  t.strictSame([...events].sort(), ['close', 'end', 'finish'])
  t.equal(events.at(-1), 'close')
  t.match(client, { destroyed: true, readable: false, writable: false, closed: true })
  t.strictSame(client.address(), {})
  client.setNoDelay(true).setKeepAlive(true, 1000).ref().unref().pause().resume()
  client.setTimeout(10, () => t.fail('timeout of a closed socket'))
  t.pass('after close, calls do no harm')
})

both('end-destroyed write-after-end-nt end-close', 'the other side is told of the end', async (t, env) => {
  const { client, peer } = await env.pair()
  const events = trace(client, 'end', 'close')
  client.resume()
  peer.end('x')
  client.on('end', () => { t.equal(client.destroyed, false, 'not yet at its end event') })
  await closed(client)
  t.strictSame(events, ['end', 'close'])
})

both('end-destroyed', 'destroyed before its end comes', async (t, env) => {
  const { client, peer } = await env.pair()
  client.on('end', () => t.fail('end'))
  client.destroy()
  peer.end()
  await closed(client)
  t.equal(client.destroyed, true)
})

both('end-without-connect', 'ended before any connect, it finishes', async (t, env) => {
  if (!env.ours && nodeMajor < 22) {
    t.comment('this Node\'s sockets finish when they have connected')
    return
  }
  const socket = env.own(new env.net.Socket())
  const events = trace(socket, 'finish')
  const ended = new Promise<void>((resolve) => { socket.end(resolve) })
  t.equal(socket.writable, false)
  await ended
  t.strictSame(events, ['finish'])
})

both('end-without-connect', 'ended before any connect, it sends the end when it connects', async (t, env) => {
  if (!env.ours && nodeMajor >= 22) {
    t.comment('this Node\'s sockets send no end')
    return
  }
  const server = await env.listen((socket) => socket.resume())
  const socket = env.own(new env.net.Socket())
  socket.end()
  socket.connect(portOf(server), '127.0.0.1').resume()
  // The peer ends because we have.
  await closed(socket)
  t.ok(socket.writableFinished)
})

both('socket-end-callback', 'the callback of end', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.resume()
  const seen: string[] = []
  client.end(() => seen.push('one'))
  await once(client, 'finish')
  t.strictSame(seen, ['one'])
  const other = await env.pair()
  await new Promise<void>((resolve) => { other.client.end('x', 'utf8', resolve) })
  t.equal(await text(other.peer), 'x')
})

both('write-after-close socket-write-after-close', 'write after destroy', async (t, env) => {
  const { client } = await env.pair()
  client.destroy()
  const error = await new Promise<unknown>((resolve) => client.write('late', resolve))
  t.match(error, { code: 'ERR_STREAM_DESTROYED' })
  t.equal(client.write('late', () => undefined), false)
  await closed(client)
})

both('socket-write-error write-arguments', 'what can not be written throws', async (t, env) => {
  const { client } = await env.pair()
  for (const wrong of [1, true, {}, [], undefined, () => undefined]) {
    t.throws(() => client.write(wrong as string), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  t.throws(() => client.write(null as unknown as string), { code: 'ERR_STREAM_NULL_VALUES' })
  t.throws(() => client.write('x', 'no-encoding' as 'utf8'), { code: 'ERR_UNKNOWN_ENCODING' })
  t.equal(client.destroyed, false)
  const idle = env.own(new env.net.Socket())
  t.throws(() => idle.write(1 as unknown as string), {
    code: 'ERR_INVALID_ARG_TYPE',
  }, 'also before it connects')
})

both('socket-write-after-close', 'write after end', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.resume()
  client.end()
  const failed = failure(client)
  client.write('late')
  t.match(await failed, { code: 'ERR_STREAM_WRITE_AFTER_END', message: 'write after end' })
})

both('socket-write-after-close', 'write on a socket that never connected', async (t, { net, own }) => {
  const socket = own(new net.Socket())
  const failed = failure(socket)
  const calls: unknown[] = []
  socket.write('x', (error) => calls.push((error as NodeJS.ErrnoException).code))
  t.match(await failed, { code: 'ERR_SOCKET_CLOSED', message: 'Socket is closed' })
  t.strictSame(calls, ['ERR_SOCKET_CLOSED'])
})

both('write-cb-on-destroy-before-connect', 'what waits to be written is told of the destroy',
  async (t, env) => {
    const server = await env.listen()
    const socket = env.connect(server)
    const told = new Promise<unknown>((resolve) => socket.write('never', resolve))
    socket.destroy()
    t.match(await told, { code: 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION' })
  })

both('other:socket-write-after-fin-error', 'write after the other side ended: EPIPE, and it is closed',
  async (t, env) => {
    const { client, peer } = await env.pair()
    const events = trace(client, 'end', 'error', 'close')
    const ended = once(client, 'end')
    client.resume()
    peer.end()
    await ended
    t.equal(client.writable, false)
    const [error, over] = [failure(client), closed(client)]
    const told = await new Promise((resolve) => {
      t.equal(client.write('late', resolve), false)
    })
    t.match(told, { code: 'EPIPE', message: 'This socket has been ended by the other party' })
    t.equal(await error, told)
    t.equal(await over, true)
    t.strictSame(events, ['end', 'error', 'close'])
  })

both('other:socket-write-after-fin', 'who allows half-open goes on writing after the other side ended',
  async (t, env) => {
    const server = await env.listen((socket) => { socket.end('bye') }, { allowHalfOpen: true })
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = env.connect(server, { allowHalfOpen: true })
    const [peer] = await accepted
    const came = text(peer)
    t.equal(await text(client), 'bye')
    t.equal(client.readyState, 'writeOnly')
    await new Promise((resolve) => client.write('late', resolve))
    client.end('r'.repeat(200_000))
    t.equal(await came, `late${'r'.repeat(200_000)}`)
  })

both('socket-no-halfopen-enforcer', 'nothing of the stream enforces what the socket does itself',
  (t, { net }) => {
    const socket = new net.Socket({ allowHalfOpen: false })
    t.equal(socket.listenerCount('end'), 1)
  })

both('connect-reset server-reset', 'a reset is an error on the other side', async (t, env) => {
  const { client, peer } = await env.pair()
  const failed = failure(client)
  const over = closed(client)
  const gone = closed(peer)
  t.equal(peer.resetAndDestroy(), peer)
  t.equal(await gone, false, 'who resets is told of no error')
  t.match(await failed, { code: 'ECONNRESET', syscall: 'read' })
  t.equal((await failed).message, 'read ECONNRESET')
  t.equal(await over, true)
  t.equal(peer.destroyed, true)
})

both('connect-reset', 'a reset of what never connected', async (t, { net, own }) => {
  const socket = own(new net.Socket())
  const failed = failure(socket)
  socket.resetAndDestroy()
  t.match(await failed, { code: 'ERR_SOCKET_CLOSED' })
})

both('connect-reset-after-destroy', 'a reset after destroy', async (t, env) => {
  const { client } = await env.pair()
  const over = closed(client)
  client.destroy()
  client.on('error', () => t.fail('error'))
  client.resetAndDestroy()
  t.equal(await over, false)
})

both('connect-reset-before-connected connect-reset-until-connected', 'a reset while it connects',
  async (t, env) => {
    let reset: unknown
    const server = await env.listen((socket) => {
      socket.resume()
      socket.on('error', (error: NodeJS.ErrnoException) => { reset = error.code })
      socket.on('close', () => { reset ??= 'closed' })
    })
    const accepted = once(server, 'connection')
    const socket = env.connect(server)
    const events = trace(socket, 'connect', 'error', 'close')
    socket.resetAndDestroy()
    await closed(socket)
    t.equal(events.at(-1), 'close')
    t.ok(events.includes('connect'), 'it waits for the connection')
    const [peer] = await accepted as [ReturnType<typeof env.connect>]
    if (!peer.closed) await once(peer, 'close').catch(() => undefined)
    t.equal(reset, 'ECONNRESET')
  })

both('socket-reset-twice socket-destroy-twice error-twice', 'a second destroy is nothing', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.on('error', () => undefined)
  const events = trace(client, 'error', 'close')
  client.destroy(new Error('first'))
  client.destroy(new Error('second'))
  t.equal(client.destroy(), client)
  t.equal((await failure(client)).message, 'first')
  t.equal(await closed(client), true)
  t.strictSame(events, ['error', 'close'])
  const other = await env.pair()
  other.peer.on('error', () => undefined)
  const twice = trace(other.client, 'error', 'close')
  other.client.resetAndDestroy()
  other.client.resetAndDestroy()
  await closed(other.client)
  t.strictSame(twice, ['close'])
})

both('error-twice', 'an error that both writing and reading meet is told once', async (t, env) => {
  const { client, peer } = await env.pair()
  const events = trace(client, 'error', 'close')
  const over = closed(client)
  client.write(Buffer.alloc(1 << 22))
  peer.resetAndDestroy()
  client.write('more')
  t.equal(await over, true)
  t.strictSame(events, ['error', 'close'])
})

both('socket-close-after-end', 'data that came before the close is read', async (t, env) => {
  const server = await env.listen((socket) => { socket.end('the last words') })
  const client = env.connect(server)
  client.pause()
  await once(client, 'connect')
  const words = text(client)
  client.resume()
  t.equal(await words, 'the last words')
})

both('during-close', 'addresses during close', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.on('close', () => { t.doesNotThrow(() => peer.remoteAddress) })
  const over = closed(peer)
  client.destroy()
  peer.resume()
  await over
})

both('connect-destroy', 'destroySoon sends what was written', async (t, env) => {
  const { client, peer } = await env.pair()
  const all = text(peer)
  client.write('a'.repeat(300_000))
  client.destroySoon()
  t.equal((await all).length, 300_000)
  t.equal(client.destroyed, true)
})

/** What another process gets that the closed socket is sent to: nothing, with a message, or an error here. */
async function send(t: Test, socket: Socket): Promise<string> {
  const echo = 'process.on("message", (text, handle) => process.send(text + String(handle)))'
  const child = fork('-', [], { execArgv: ['-e', echo], stdio: 'ignore' })
  t.teardown(() => { child.kill() })
  const answer = once(child, 'message') as Promise<[string]>
  try {
    child.send('came with ', socket, { keepOpen: true })
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? ''
  }
  return (await answer)[0]
}

both('socket-destroy-send', 'a socket that is destroyed is not sent', async (t, env) => {
  const { client } = await env.pair()
  client.destroy()
  await closed(client)
  t.equal((client as unknown as { _handle: unknown })._handle, null)
  t.equal(await send(t, client), 'came with undefined')
})

both('socket-reset-send', 'a socket that is reset is not sent', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.on('error', () => undefined)
  client.resetAndDestroy()
  await closed(client)
  t.equal((client as unknown as { _handle: unknown })._handle, null)
  t.equal(await send(t, client), 'came with undefined')
})

both('write-arguments', 'a text can\'t have the encoding of bytes', async (t, env) => {
  const { client } = await env.pair()
  t.throws(() => client.write('text', 'buffer' as BufferEncoding), {
    name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: 'Second argument must be a buffer',
  })
})

both('error-twice', 'what a library has noted of an error stays', async (t, env) => {
  const client = env.own(new env.net.Socket())
  Object.assign(client, { _hadError: true })
  client.destroy()
  await closed(client)
  t.equal((client as unknown as { _hadError: boolean })._hadError, true)
})
