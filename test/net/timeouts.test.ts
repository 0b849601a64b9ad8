/** Time-outs, abort signals, options of the kernel's socket, and what of a socket may be called when. */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { until } from '../support/util.js'
import { both, closed, failure, portOf, trace, type Socket } from './both.js'

both('settimeout socket-timeout', 'timeout is told after the time, and the socket stays', async (t, env) => {
  const { client } = await env.pair()
  const before = performance.now()
  let calls = 0
  t.equal(client.setTimeout(50, () => { calls++ }), client)
  t.equal(client.timeout, 50)
  await once(client, 'timeout')
  t.ok(performance.now() - before >= 45)
  t.equal(calls, 1)
  t.match(client, { destroyed: false, readyState: 'open' })
  t.equal(client.listenerCount('timeout'), 0, 'the callback is for once')
})

both('settimeout socket-timeout', 'what is no time is refused', async (t, env) => {
  const { client } = await env.pair()
  for (const wrong of ['x', {}, [], true, null, undefined]) {
    t.throws(() => client.setTimeout(wrong as number), { code: 'ERR_INVALID_ARG_TYPE' })
  }
  for (const wrong of [-1, NaN, Infinity]) {
    t.throws(() => client.setTimeout(wrong), { code: 'ERR_OUT_OF_RANGE' })
  }
  t.throws(() => client.setTimeout(1, 'x' as never), { code: 'ERR_INVALID_ARG_TYPE' })
  client.setTimeout(0)
})

both('can-reset-timeout', 'what comes or goes starts the time anew', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.on('data', (chunk) => peer.write(chunk))
  client.resume()
  let timeouts = 0
  client.setTimeout(400, () => { timeouts++ })
  const begin = performance.now()
  while (performance.now() - begin < 700) {
    client.write('x')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  t.equal(timeouts, 0)
  await once(client, 'timeout')
  t.ok(performance.now() - begin >= 1000)
})

both('can-reset-timeout', 'the other side\'s end starts the time anew', async (t, env) => {
  const { client, peer } = await env.pair({ allowHalfOpen: true }, { allowHalfOpen: true })
  await once(client.resume().setTimeout(30), 'timeout')
  const again = once(client, 'timeout')
  peer.end()
  await once(client, 'end')
  await again
  t.equal(client.destroyed, false)
})

both('settimeout', 'setTimeout(0) and its callback', async (t, env) => {
  const { client } = await env.pair()
  const callback = (): void => { t.fail('timeout') }
  client.setTimeout(10, callback)
  client.setTimeout(0, callback)
  t.equal(client.listenerCount('timeout'), 0)
  await new Promise((resolve) => setTimeout(resolve, 40))
  t.equal(client.timeout, 0)
})

both('timeout-no-handle socket-timeout', 'a timeout of a socket that does not connect',
  async (t, { net, own }) => {
    const socket = own(new net.Socket())
    socket.setTimeout(20)
    socket.ref()
    const keeper = setInterval(() => undefined, 1000)
    await once(socket, 'timeout')
    clearInterval(keeper)
    socket.destroy()
    t.equal(socket.connecting, false)
  })

both('socket-timeout', 'timeout as an option of connect', async (t, env) => {
  const server = await env.listen()
  const socket = env.connect(server, { timeout: 30 })
  t.equal(socket.timeout, 30)
  await once(socket, 'timeout')
  t.pass('told')
})

const LONG_WRITE = 40 * 1024 * 1024

for (const when of ['before', 'after'] as const) {
  const what = `no timeout while the peer takes a long write, slowly (set ${when} it)`
  // Below the high-water mark, so that the write is done for the program at once.
  both('socket-timeout', what, async (t, env) => {
    for (let limit = 250; ; limit *= 2) {
      const { client, peer } = await env.pair({}, { highWaterMark: 2 * LONG_WRITE })
      let timeouts = 0
      const setTimeouts = (): void => { client.setTimeout(limit, () => { timeouts++ }) }
      const begin = performance.now()
      if (when === 'before') setTimeouts()
      const more = client.write(Buffer.alloc(LONG_WRITE))
      if (when === 'after') setTimeouts()
      // The rest fits into the kernel's buffers, and no longer waits.
      const pause = await takeSlowly(peer, LONG_WRITE * 0.7, limit / 25)
      // The machine was so busy that there was silence: this says nothing.
      if (pause > limit / 2 && limit < 8000) continue
      t.equal(more, true)
      t.equal(timeouts, 0)
      t.ok(performance.now() - begin > 2 * limit, 'it was long')
      // The peer takes nothing any more.
      await once(client, 'timeout')
      t.pass('silence is told')
      return
    }
  })
}

/** Reads so many bytes, a piece every few milliseconds. Returns the longest time without one. */
async function takeSlowly(socket: Socket, bytes: number, pauseMs: number): Promise<number> {
  let longest = 0
  let last = performance.now()
  await new Promise<void>((resolve) => {
    let piece = 0
    socket.on('data', (data) => {
      const now = performance.now()
      longest = Math.max(longest, now - last)
      last = now
      bytes -= data.length
      piece += data.length
      if (bytes > 0 && piece < 256 * 1024) return
      piece = 0
      socket.pause()
      if (bytes > 0) setTimeout(() => { socket.resume() }, pauseMs)
      else resolve()
    })
  })
  return longest
}

both('connect-abort-controller', 'a signal ends the attempt, or the connection', async (t, env) => {
  const server = await env.listen()
  const connect = (signal: AbortSignal): ReturnType<typeof env.connect> => env.connect(server, { signal })
  const early = connect(AbortSignal.abort())
  t.match(await failure(early), { name: 'AbortError', code: 'ABORT_ERR' })
  const midway = new AbortController()
  const second = connect(midway.signal)
  midway.abort()
  t.match(await failure(second), { name: 'AbortError' })
  const late = new AbortController()
  const third = connect(late.signal)
  await once(third, 'connect')
  const events = trace(third, 'error', 'close')
  late.abort()
  t.equal(await closed(third), true)
  t.strictSame(events, ['error', 'close'])
  t.equal(third.destroyed, true)
  t.throws(() => env.net.connect({ port: portOf(server), signal: 'x' as never }), {
    code: 'ERR_INVALID_ARG_TYPE',
  })
})

both('socket-setnodelay connect-nodelay persistent-nodelay', 'setNoDelay', async (t, env) => {
  const server = await env.listen()
  const socket = env.own(new env.net.Socket())
  t.equal(socket.setNoDelay(), socket, 'before it connects')
  socket.connect({ port: portOf(server), host: '127.0.0.1' })
  await once(socket, 'connect')
  for (const value of [true, false, undefined, 1, 'yes']) t.equal(socket.setNoDelay(value as boolean), socket)
  const other = env.connect(server, { noDelay: true })
  await once(other, 'connect')
  t.equal(other.setNoDelay(true), other)
})

/** Whether the kernel has a keep-alive timer for the socket with these ports, its own and its peer's. */
function keepsAlive(local: number | undefined, remote: number | undefined): boolean {
  const hex = (port = 0): string => `0100007F:${port.toString(16).toUpperCase().padStart(4, '0')}`
  const ends = `${hex(local)} ${hex(remote)}`
  const lines = readFileSync('/proc/net/tcp', 'utf8').split('\n')
  return lines.some((line) => line.includes(ends) && / 02:[0-9A-F]+ /.test(line))
}

const linux = process.platform === 'linux' ? false : 'it looks into /proc'

both('keepalive connect-keepalive persistent-keepalive server-keepalive', 'setKeepAlive', async (t, env) => {
  const { server, client, peer } = await env.pair({ keepAlive: true, keepAliveInitialDelay: 60_000 })
  const port = portOf(server)
  t.equal(keepsAlive(client.localPort, port), false)
  t.equal(client.setKeepAlive(true, 30_000), client)
  await until(() => keepsAlive(client.localPort, port))
  client.setKeepAlive(false)
  await until(() => !keepsAlive(client.localPort, port))
  const socket = env.own(new env.net.Socket())
  socket.setKeepAlive(true, 1000)
  socket.connect({ port, host: '127.0.0.1' })
  await once(socket, 'connect')
  await until(() => keepsAlive(socket.localPort, port))
  const option = env.connect(server, { keepAlive: true, keepAliveInitialDelay: 10_000 })
  await once(option, 'connect')
  await until(() => keepsAlive(option.localPort, port))
  t.ok(peer.readable)
  await until(() => keepsAlive(port, client.localPort))
  t.pass('the server\'s own side')
}, { skip: linux })

both('connect-nodelay connect-keepalive', 'options go by the functions of the handle', async (t, env) => {
  const server = await env.listen()
  const client = env.connect(server, { noDelay: true, keepAlive: true, keepAliveInitialDelay: 5000 })
  const called: unknown[] = []
  Object.assign((client as unknown as { _handle: object })._handle, {
    setNoDelay(on: boolean) { called.push(['setNoDelay', on]) },
    setKeepAlive(on: boolean, seconds: number) { called.push(['setKeepAlive', on, seconds]) },
  })
  await once(client, 'connect')
  t.strictSame(called, [['setNoDelay', true], ['setKeepAlive', true, 5]])
})
