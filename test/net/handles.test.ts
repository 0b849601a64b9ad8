/** What programs and tools do with the handle below a socket or a server, and Node's lists of what is open. */
import { once } from 'node:events'
import { both, closed, failure, socketPath, type Server, type Socket } from './both.js'

/** What programs call of libuv's. */
interface Handle {
  close(callback?: () => void): void
  hasRef(): boolean
  setNoDelay(on: boolean): number
  setKeepAlive(on: boolean, seconds: number): number
  onconnection: (status: number, client?: Handle) => void
}

const handleOf = (of: Socket | Server): Handle => (of as unknown as { _handle: Handle })._handle

/** Puts null there, as programs do that take the handle away. */
const takeHandle = (of: Socket): void => { Object.assign(of, { _handle: null }) }

both('other:handle-wrap-hasref', 'a handle that is closed is not referenced, and tells in a later phase',
  async (t, env) => {
    const { server, client } = await env.pair()
    for (const one of [server, client]) {
      const handle = handleOf(one)
      t.equal(handle.hasRef(), true)
      one.unref()
      t.equal(handle.hasRef(), false)
      one.ref()
      let told = false
      const gone = new Promise<void>((resolve) => {
        handle.close(() => { told = true; resolve() })
      })
      await Promise.resolve()
      t.equal(told, false, 'not in this turn')
      await gone
      t.equal(handle.hasRef(), false)
    }
  })

both('socket-write-after-close', 'the peer hears an end when the handle is closed', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.resume()
  const ended = once(peer, 'end')
  handleOf(client).close()
  await ended
  t.equal(client.destroyed, false, 'the socket knows nothing of it')
})

for (const callback of [undefined, () => undefined]) {
  const kind = callback === undefined ? 'of a write' : 'of a write with a callback'
  both('socket-write-after-close', `the error ${kind} after that`, async (t, env) => {
    const { client } = await env.pair()
    client.write('x')
    handleOf(client).close()
    const failed = failure(client)
    client.write('foo', callback)
    t.match(await failed, { message: 'write EBADF', code: 'EBADF', syscall: 'write' })
  })

  both('socket-write-after-close', `the error ${kind} without a handle`, async (t, env) => {
    const { client } = await env.pair()
    client.write('x')
    handleOf(client).close()
    takeHandle(client)
    t.equal(client.pending, true)
    const failed = failure(client)
    client.write('foo', callback)
    t.match(await failed, { message: 'Socket is closed', code: 'ERR_SOCKET_CLOSED' })
  })
}

both('socket-write-after-close', 'it may connect again', async (t, env) => {
  const server = await env.listen((socket) => { socket.on('error', () => undefined).end('hello') })
  const client = env.connect(server)
  await once(client, 'connect')
  handleOf(client).close()
  takeHandle(client)
  client.once('error', () => undefined)
  client.write('foo')
  await closed(client)
  client.connect((server.address() as { port: number }).port, '127.0.0.1')
  await once(client, 'connect')
  t.equal(handleOf(client).hasRef(), true)
  client.write('bar')
  t.match(await once(client, 'data'), [Buffer.from('hello')])
})

both('server-nodelay server-keepalive', 'a function in the place of onconnection has each connection pass',
  async (t, env) => {
    const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 3000 }
    const server = await env.listen(undefined, options)
    const handle = handleOf(server)
    const { onconnection } = handle
    const seen: unknown[] = []
    handle.onconnection = function (status, client): void {
      const { setNoDelay, setKeepAlive } = client as Handle
      Object.assign(client as Handle, {
        setNoDelay(on: boolean) {
          seen.push(['noDelay', on])
          return setNoDelay.call(client, on)
        },
        setKeepAlive(on: boolean, seconds: number) {
          seen.push(['keepAlive', on, seconds])
          return setKeepAlive.call(client, on, seconds)
        },
      })
      seen.push([this === handle, status])
      onconnection.call(this, status, client)
      seen.push('returned')
    }
    server.on('connection', (socket) => {
      seen.push('connection')
      socket.setNoDelay(true)
      socket.setKeepAlive(true, 3000)
      socket.setKeepAlive(true, 5000)
      socket.pipe(socket)
    })
    const client = env.connect(server)
    client.end('echo')
    t.match(await once(client, 'data'), [Buffer.from('echo')])
    t.same(seen, [
      [true, 0], ['noDelay', true], ['keepAlive', true, 3], 'connection', ['keepAlive', true, 5], 'returned',
    ])
  })

both('server-nodelay', 'one that keeps the connection for later', async (t, env) => {
  const server = await env.listen()
  const handle = handleOf(server)
  const { onconnection } = handle
  handle.onconnection = (status, client) => { setImmediate(() => { onconnection.call(handle, status, client) }) }
  const heard = once(server, 'connection') as Promise<[Socket]>
  env.connect(server).end('late')
  const [peer] = await heard
  t.match(await once(peer, 'data'), [Buffer.from('late')])
  await closed(peer)
  server.close()
  await once(server, 'close')
})

interface Lists {
  _getActiveHandles(): unknown[]
  getActiveResourcesInfo(): string[]
}

const lists = process as unknown as Lists

/** How many of what is open are of this type. */
const count = (type: string): number => (
  lists.getActiveResourcesInfo().filter((one) => one === type).length
)

/** Of these types, when what the test before has left is closed: Node still counts that while it closes. */
async function countsOf(types: readonly string[]): Promise<number[]> {
  for (let i = 0; i < 5; i++) await new Promise(setImmediate)
  return types.map(count)
}

both('other:process-getactivehandles other:process-getactiveresources-track-active-handles',
  'sockets and servers are in Node\'s lists of what is open, if they are referenced', async (t, env) => {
    const types = ['TCPSocketWrap', 'TCPServerWrap']
    const before = await countsOf(types)
    const more = (): number[] => types.map((type, i) => count(type) - before[i])
    const { server, client, peer } = await env.pair()
    const includes = (): boolean[] => {
      const handles = lists._getActiveHandles()
      return [server, client, peer].map((one) => handles.includes(one))
    }
    t.same([more(), includes()], [[2, 1], [true, true, true]])
    client.unref()
    server.unref()
    t.same([more(), includes()], [[1, 0], [false, false, true]])
    client.ref()
    server.ref()
    t.same([more(), includes()], [[2, 1], [true, true, true]])
    client.pause()
    t.same(includes(), [true, true, true], 'also who does not read')
    const ends = [closed(client), closed(peer), once(server, 'close')]
    client.destroy()
    server.close()
    peer.resume()
    await Promise.all(ends)
    t.same([more(), includes()], [[0, 0], [false, false, false]])
  })

both('other:process-getactivehandles', 'those of a path, too, who connects, and what waits to be written',
  async (t, env) => {
    const types = ['PipeWrap', 'ConnectWrap', 'SimpleWriteWrap']
    const before = await countsOf(types)
    const more = (): number[] => types.map((type, i) => count(type) - before[i])
    const { client, peer } = await env.pair({ path: socketPath(t), pauseOnConnect: true })
    t.equal(more()[0], 3)
    client.write(Buffer.alloc(8_000_000))
    t.equal(more()[2], 1)
    peer.resume()
    await once(client, 'drain')
    const server = await env.listen()
    const second = env.connect(server)
    await new Promise((resolve) => { second.once('connectionAttempt', resolve) })
    await Promise.resolve()
    t.ok(second.connecting)
    t.ok(lists._getActiveHandles().includes(second))
    await once(second, 'connect')
    t.same(more().slice(2), [0])
  })

both('other:handle-wrap-hasref', 'a server that closes is no immediate of the program', async (t, env) => {
  const server = await env.listen()
  const [before] = await countsOf(['Immediate'])
  server.close()
  t.equal(count('Immediate'), before)
  const immediate = setImmediate(() => undefined)
  t.equal(count('Immediate'), before + 1, 'one of the program is')
  clearImmediate(immediate)
  await once(server, 'close')
})
