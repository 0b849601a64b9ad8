/** What can't be done is reported to the one who asked, with Node's error fields. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo } from 'node:net'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { client, deferred, freePort, readAll, sleep } from '../support/util.js'

onEveryTransport('a port in use', async (t, open) => {
  const station = open()
  const first = await station.listen(ECHO)
  const port = portOf(first)
  await t.rejects(station.listen(ECHO, { port }), {
    code: 'EADDRINUSE', syscall: 'listen', address: '127.0.0.1', port,
  })
  const socket = await client(port)
  socket.end('still here')
  t.equal((await readAll(socket)).toString(), 'still here', 'the first listener is unharmed')
})

onEveryTransport('an address that is not ours, and a name that does not exist', async (t, open) => {
  const station = open()
  const foreign = station.listen(ECHO, { host: '192.0.2.1' })
  await t.rejects(foreign, { code: 'EADDRNOTAVAIL', address: '192.0.2.1' })
  const unknown = station.listen(ECHO, { host: 'no-such-host.invalid' })
  await t.rejects(unknown, { code: /^(ENOTFOUND|EAI_AGAIN)$/ })
})

onEveryTransport('connection refused', async (t, open) => {
  const station = open()
  const port = await freePort()
  t.match(await station.failure({ host: '127.0.0.1', port }), {
    code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port,
  })
  const byName = await station.failure({ host: 'localhost', port })
  t.match(byName, { code: 'ECONNREFUSED', syscall: 'connect', port })
  t.equal(station.transport.metrics.connects, 0)
  t.equal(station.transport.metrics.connections, 0)
})

onEveryTransport('an unresolvable host', async (t, open) => {
  const error = await open().failure({ host: 'no-such-host.invalid', port: 5999 })
  // EAI_AGAIN is what a machine without a name server says.
  t.match(error, { code: /^(ENOTFOUND|EAI_AGAIN)$/, syscall: 'getaddrinfo' })
})

onEveryTransport('connecting to a listener that we did not write', async (t, open) => {
  const station = open()
  const server = createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as AddressInfo
  const received: Buffer[] = []
  const closed = deferred<unknown>()
  const connection = station.connect({ host: 'localhost', port }, {
    connected: (made) => {
      t.match(made.remote, { port, family: /^IPv[46]$/ })
      t.match(made.local, { address: made.remote?.address, family: made.remote?.family })
      t.ok((made.local?.port ?? 0) > 0)
      made.write(', and later')
      made.shutdown()
    },
    data: (_connection, data) => { received.push(data) },
    closed: (_connection, error) => { closed.resolve(error) },
  })
  t.equal(connection.listener, undefined)
  connection.write('written at once')
  t.equal(await closed.promise, undefined)
  t.equal(Buffer.concat(received).toString(), 'written at once, and later')
})

onEveryTransport('a listener that is closed releases its port at once', async (t, open) => {
  const station = open()
  const accepted = deferred()
  const listener = await station.listen({ ...ECHO, accepted: () => { accepted.resolve() } })
  const port = portOf(listener)
  const old = await client(port)
  await accepted.promise
  listener.close()
  listener.close()
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  for (let round = 0; round < 20; round += 1) {
    const again = await station.listen(ECHO, { port })
    t.equal(portOf(again), port)
    again.close()
  }
  old.end('accepted connections live on')
  t.equal((await readAll(old)).toString(), 'accepted connections live on')
})

onEveryTransport('a listener closed before it listened says nothing', async (t, open) => {
  const station = open()
  const port = await freePort()
  for (const host of ['127.0.0.1', 'localhost', 'no-such-host.invalid']) {
    const listener = station.transport.listen({ host, port })
    listener.close()
  }
  await sleep(300)
  t.equal(station.events, 0)
  const socket = connect(port, '127.0.0.1')
  const [error] = await once(socket, 'error') as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNREFUSED')
})
