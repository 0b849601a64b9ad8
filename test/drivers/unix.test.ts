/** Unix sockets by way of the drivers, and the options that limit times. */
import { endsByItself, onBoth } from './tcp-program.js'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  _, deleteEndpoint, endpoint, sendMessage, spawn, tcpAddress, tcpChannel, tcpHandle, unixAddress,
  unixListener, unixListening, unixPeer, type TcpEnd,
} from 'marketplace-native'
import { anyUnixAddress, anyUnixListener } from '../support/unchecked.js'
import { until } from '../support/util.js'

const skip = process.platform === 'linux' ? false : 'tested where both kinds of address exist'

onBoth('unix: listen, tell peers apart, connect, and clean up', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  for (const path of [join(folder, 'socket'), `\0marketplace-driver-${process.pid}`]) {
    const here = unixListener(path)
    const there = unixAddress(path)
    const peers: TcpEnd[] = []
    let listening = 0
    const session = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
    })
    const program = start((p) => [
      endpoint.subscriber(tcpChannel(_, here, _), {
        name: 'server', interest: 'observer',
        onPresence: ({ source, destination }) => {
          peers.push(source)
          return spawn(() => session(source, destination))
        },
      }),
      endpoint.subscriber(unixListening(here), { onPresence: () => { listening++ } }),
      ...[1, 2].map((id) => {
        const us = tcpHandle(id)
        return endpoint.subscriber(tcpChannel(there, us, _), p.notes(`client ${id}`, undefined, () => [
          sendMessage(tcpChannel(us, there, `hello ${id}`)),
        ]))
      }),
    ])
    // Whoever asked first was refused, if it was before the listener was there.
    await until(() => listening === 1)
    for (const id of [1, 2]) {
      if (!program.errors.some(({ local }) => (local as { id?: unknown }).id === id)) continue
      const us = tcpHandle(id)
      program.do(deleteEndpoint(`client ${id}`), endpoint.subscriber(tcpChannel(there, us, _),
        program.notes(`client ${id}`, undefined, () => [sendMessage(tcpChannel(us, there, `hello ${id}`))])))
    }
    await until(() => [1, 2].every((id) => program.bytes(`client ${id}`).toString() === `hello ${id}`))
    t.strictSame(peers, [unixPeer(1), unixPeer(2)], 'each peer has a number')
    program.do(deleteEndpoint('server'), deleteEndpoint('client 1'), deleteEndpoint('client 2'))
    program.letGo()
    t.ok(await endsByItself(program, 10_000))
  }
  t.strictSame(readdirSync(folder), [], 'the file is gone')
}, skip)

onBoth('unix: what cannot be is told', async (t, start) => {
  const bad = ['x'.repeat(108), '', 5 as unknown as string]
  const program = start(() => [
    endpoint.publisher(tcpChannel(tcpHandle('none'), unixAddress('/nowhere/at-all'), _)),
    ...bad.map((path) => endpoint.publisher(tcpChannel(tcpHandle('bad'), anyUnixAddress(path), _))),
    ...bad.map((path) => endpoint.publisher(tcpChannel(anyUnixListener(path), _, _))),
  ])
  await until(() => program.errors.length === 7)
  const codes = program.errors.map(({ error }) => `${error.syscall} ${error.code}`).sort()
  t.strictSame(codes, [
    'connect ENAMETOOLONG', 'connect ENOENT', 'connect ERR_INVALID_ARG_TYPE', 'connect ERR_INVALID_ARG_TYPE',
    'listen ENAMETOOLONG', 'listen ERR_INVALID_ARG_TYPE', 'listen ERR_INVALID_ARG_TYPE',
  ])
  const missing = program.errors.find(({ error }) => error.code === 'ENOENT')
  t.match(missing, { local: { id: 'none' }, remote: { path: '/nowhere/at-all' } })
}, skip)

onBoth('options of drivers: limits of time, and lookups', async (t, start) => {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  t.teardown(() => { rmSync(folder, { recursive: true }) })
  const path = join(folder, 'socket')
  const program = start((p) => [
    endpoint.subscriber(tcpChannel(_, unixListener(path), _), p.notes('server')),
    endpoint.subscriber(unixListening(unixListener(path)), {
      onPresence: () =>
        endpoint.subscriber(tcpChannel(unixAddress(path), tcpHandle('quiet'), _), p.notes('client')),
    }),
    endpoint.subscriber(tcpChannel(tcpAddress('slow', 1), tcpHandle('slow'), _)),
  ], { idleTimeout: 100, connectTimeout: 50, lookup: () => undefined })
  const reason = await program.reason('server')
  t.match(reason, { code: 'ETIMEDOUT', syscall: 'idle', address: path })
  await until(() => program.errors.length === 1)
  t.match(program.errors[0].error, { code: 'ETIMEDOUT', syscall: 'connect', address: 'slow', port: 1 })
}, skip)
