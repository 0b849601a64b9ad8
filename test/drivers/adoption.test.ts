/** Listeners and connections that others have opened, by way of the drivers. */
import { endsByItself, onBoth } from './tcp-program.js'
import { closeSync, mkdtempSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  _, deleteEndpoint, endpoint, fdAddress, fdListener, fdListening, sendMessage, spawn, tcpAccepting, tcpAddress,
  tcpChannel, tcpEngine, tcpHandle, unixPeer, type FdListener, type TcpEnd,
} from 'marketplace-native'
import {
  boundDescriptor, closedDescriptor, connectedDescriptor, datagramDescriptor, fileDescriptor, isOpen,
  listeningDescriptor,
} from '../support/descriptors.js'
import { loadNative } from '../../src/transport/native/addon.js'
import { client, readAll, until } from '../support/util.js'

const skip = process.platform !== 'linux' ? 'tested where the kernel lists sockets'
  : loadNative().ok ? false : 'descriptors are duplicated by the addon'

/** A server that echoes on this listener, and notes who comes. */
function echo(here: FdListener, peers: TcpEnd[], mode: 'bytes' | 'strings' = 'bytes') {
  return endpoint.subscriber(tcpChannel(_, here, _), {
    name: 'server', interest: 'observer',
    onPresence: ({ source, destination }) => {
      peers.push(source)
      return spawn(() => endpoint.subscriber(tcpChannel(source, destination, _), {
        onMessage: ({ subpacket }) => mode === 'bytes' && sendMessage(tcpChannel(destination, source, subpacket)),
      }))
    },
  })
}

onBoth('adoption: a listener by its descriptor; where it listens is published', async (t, start) => {
  const { fd, port } = await listeningDescriptor()
  const here = fdListener(fd)
  const peers: TcpEnd[] = []
  const where: unknown[] = []
  const engine = tcpEngine()
  const program = start(() => [
    echo(here, peers),
    endpoint.subscriber(fdListening(here, _), {
      onPresence: ({ address }) => { where.push(address) },
      onAbsence: () => { where.push('over') },
    }),
  ], { engine })
  await until(() => where.length === 1)
  t.strictSame(where, [tcpAddress('127.0.0.1', port)])
  t.match(engine.listening(), [{ local: here, address: { port } }])
  const socket = await client(port)
  const { localPort = 0 } = socket
  socket.end('hello')
  t.equal((await readAll(socket)).toString(), 'hello')
  t.strictSame(peers, [tcpAddress('127.0.0.1', localPort)], 'a peer has its plain name')
  program.do(sendMessage(tcpAccepting(here, false)))
  program.do(sendMessage(tcpAccepting(here, true)))
  program.do(deleteEndpoint('server'))
  await until(() => where.length === 2 && !isOpen(fd))
  t.strictSame(engine.listening(), [])
  program.letGo()
  t.ok(await endsByItself(program, 10_000))
}, skip)

onBoth('adoption: a Unix listener, and a connection that was there, each in a conversation', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  const { fd } = await listeningDescriptor(path)
  const ends = [await connectedDescriptor(), await connectedDescriptor(join(folder, 'other'))]
  const peers: TcpEnd[] = []
  const program = start((p) => [
    echo(fdListener(fd), peers),
    ...ends.map(({ fd: end }) => endpoint.subscriber(tcpChannel(fdAddress(end), tcpHandle(end), _),
      p.notes(`end ${end}`, ({ source, destination, subpacket }) =>
        sendMessage(tcpChannel(destination, source, subpacket))))),
  ])
  const socket = connect({ path, allowHalfOpen: true })
  socket.end('unix')
  t.equal((await readAll(socket)).toString(), 'unix')
  t.strictSame(peers, [unixPeer(1)])
  for (const { fd: end, peer } of ends) {
    peer.end('there and back')
    t.equal((await readAll(peer)).toString(), 'there and back')
    await program.reason(`end ${end}`)
    await until(() => !isOpen(end))
  }
  program.do(deleteEndpoint('server'))
  program.letGo()
  t.ok(await endsByItself(program, 10_000))
}, skip)

onBoth('adoption: what can\'t be is told to who asked, and stays open', async (t, start) => {
  const { fd: listening } = await listeningDescriptor()
  const { fd: connected, peer } = await connectedDescriptor()
  const [datagrams, file, closed] = [await datagramDescriptor(), fileDescriptor(), closedDescriptor()]
  const program = start(() => [
    ...[connected, datagrams, file, closed].map((fd) => endpoint.publisher(tcpChannel(fdListener(fd), _, _))),
    ...[listening, datagrams, file, closed].map(
      (fd) => endpoint.publisher(tcpChannel(tcpHandle(fd), fdAddress(fd), _))),
  ])
  await until(() => program.errors.length === 8)
  const told = program.errors.map(({ local, remote, error: { syscall, code } }) =>
    `${syscall} ${((remote ?? local) as unknown as { fd: number }).fd} ${code}`)
  t.strictSame(told.sort(), [
    `listen ${connected} EINVAL`, `listen ${datagrams} EPROTOTYPE`, `listen ${file} ENOTSOCK`,
    `listen ${closed} EBADF`, `open ${listening} EINVAL`, `open ${datagrams} EPROTOTYPE`, `open ${file} ENOTSOCK`,
    `open ${closed} EBADF`,
  ].sort())
  for (const fd of [listening, connected, datagrams, file]) {
    t.ok(isOpen(fd))
    closeSync(fd)
  }
  peer.destroy()
  const bound = boundDescriptor()
  closeSync(bound)
  for (const fd of [-1, 1.5, 2 ** 31]) {
    t.throws(() => fdListener(fd), { code: 'ERR_OUT_OF_RANGE' })
    t.throws(() => fdAddress(fd), { code: 'ERR_OUT_OF_RANGE' })
  }
  t.throws(() => fdListener('3' as never), { code: 'ERR_INVALID_ARG_TYPE' })
  program.letGo()
  t.ok(await endsByItself(program, 10_000))
}, skip)
