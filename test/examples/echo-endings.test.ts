/** Echo sessions that end badly: clients that reset, handlers that throw. The others live on. */
import { host, onBoth, server } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import {
  _, endpoint, quit, sendMessage, tcpChannel, tcpListener, type SocketError, type TcpEnd,
} from 'marketplace-native'
import { echoServer } from '../../examples/echo.js'
import { client, readAll, until } from '../support/util.js'

onBoth('a client that resets: the reason says so; others live on', async (t, start) => {
  const program = start((p) => [
    echoServer(0),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { ...p.notes('in'), interest: 'observer' }),
    endpoint.publisher(tcpChannel(tcpListener(0), _, _), { ...p.notes('out'), interest: 'observer' }),
  ])
  const port = await program.port()
  const [bad, good] = [await client(port), await client(port)]
  for (const socket of [bad, good]) {
    socket.write('x')
    await once(socket, 'data')
  }
  const { port: badPort } = bad.address() as AddressInfo
  bad.resetAndDestroy()
  const reason = await program.reason('in') as SocketError
  t.match(reason, { code: 'ECONNRESET', syscall: 'read', address: host, port: badPort })
  t.ok(reason instanceof Error && reason.errno < 0)
  t.equal(await program.reason('out'), reason, 'both flows go with the same reason')
  t.equal(program.all('in', 'absence').length, 1)
  good.end('still here')
  t.equal((await readAll(good)).toString(), 'still here')
  await until(() => program.all('in', 'absence').length === 2)
  t.equal(program.all('in', 'absence')[1].reason, undefined, 'an orderly end has no reason')
})

onBoth('a session that throws: its connection closes, all else lives on', async (t, start) => {
  const session = (them: TcpEnd, us: TcpEnd) =>
    endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: () => quit(),
      onMessage: ({ subpacket }) => {
        if (subpacket.toString() === 'crash') throw new Error('asked to')
        return sendMessage(tcpChannel(us, them, subpacket))
      },
    })
  const program = start((p) => [
    server(session),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { ...p.notes('in'), interest: 'observer' }),
  ])
  const port = await program.port()
  const good = await client(port)
  good.write('before')
  await once(good, 'data')
  const bad = await client(port)
  bad.write('crash')
  t.equal((await readAll(bad)).length, 0, 'it is closed')
  await until(() => program.all('in', 'absence').length === 1)
  bad.destroy()
  t.ok(program.log.some(({ fields }) => (fields['reason'] as Error | undefined)?.message === 'asked to'))
  for (const socket of [good, await client(port)]) {
    socket.end('after')
    t.match((await readAll(socket)).toString(), /after$/)
  }
})
