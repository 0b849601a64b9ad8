/** TLS inside of a conversation: a session that knows nothing of it, behind `node:tls`, with real peers. */
import { spawnSync, spawn as run } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { connect as tlsConnect, createServer as tlsServer, type TlsOptions, type TLSSocket } from 'node:tls'
import type { AddressInfo } from 'node:net'
import t from 'tap'
import {
  _, channelFor, emitterSource, endpoint, fromChannel, quit, sendMessage, spawn, streamEnd, tcpAddress,
  tcpChannel, tcpHandle, type TcpEnd,
} from 'marketplace-native'
import { client, missing, pattern, readAll, until } from '../support/util.js'
import { host, onBoth, server, type Start } from '../drivers/tcp-program.js'

const skip = missing('openssl')
const folder = mkdtempSync(join(tmpdir(), 'tls-'))
t.teardown(() => { rmSync(folder, { recursive: true }) })

/** A certificate of our own, which peers are told to trust. */
function certificate(name = ''): { key: Buffer, cert: Buffer } {
  const [key, cert] = [join(folder, `${name}key`), join(folder, `${name}cert`)]
  const made = spawnSync('openssl', [
    'req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost', '-keyout', key, '-out', cert,
  ])
  if (made.status !== 0) throw new Error(made.stderr.toString())
  return { key: readFileSync(key), cert: readFileSync(cert) }
}
const { key, cert } = skip === false ? certificate() : { key: Buffer.alloc(0), cert: Buffer.alloc(0) }

/** As the echo server's: it doesn't know what its conversation travels over. */
const echo = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  onAbsence: () => quit(),
})

const secured = streamEnd('secured')

/** As docs/streams.md has it: a server of node:tls has the handshakes, what passed is a conversation. */
function tlsEcho(start: Start, driver: 'tcp' | 'bare', options: TlsOptions = {}) {
  const handshakes = tlsServer({ key, cert, ...options })
  const refused: NodeJS.ErrnoException[] = []
  handshakes.on('tlsClientError', (error, socket) => {
    refused.push(error)
    socket.destroy()
  })
  const sockets = emitterSource<TLSSocket>(handshakes, 'secureConnection')
  const program = start((program) => [
    server((them, us) => {
      const { stream, actions } = fromChannel(them, us)
      handshakes.emit('connection', stream)
      return actions
    }),
    endpoint.subscriber([sockets, _], {
      onMessage: ([, socket]) => channelFor(socket, streamEnd(socket), secured),
    }),
    endpoint.subscriber(tcpChannel(_, secured, _), {
      interest: 'observer',
      onPresence: ({ source, destination }) => spawn(() => echo(source, destination)),
    }),
    endpoint.subscriber(tcpChannel(_, secured, _), { interest: 'observer', ...program.notes('inside') }),
  ], { driver })
  return { program, refused }
}

for (const driver of ['tcp', 'bare'] as const) {
  onBoth(`${driver}: a TLS server`, async (t, start) => {
    const { program } = tlsEcho(start, driver)
    const port = await program.port()
    const socket = tlsConnect({ port, host, ca: cert, servername: 'localhost' })
    await once(socket, 'secureConnect')
    t.ok(socket.authorized)
    const data = pattern(2_000_000)
    const back = readAll(socket)
    socket.end(data)
    t.ok((await back).equals(data), 'no byte is lost before the end')
    t.equal(await program.reason('inside'), undefined, 'an orderly end')
    socket.destroy()
    await until(() => program.connections === 0)
  }, skip)

  onBoth(`${driver}: a TLS peer that is reset, and one that speaks something else`, async (t, start) => {
    const { program, refused } = tlsEcho(start, driver)
    const port = await program.port()
    const raw = await client(port)
    const socket = tlsConnect({ socket: raw, ca: cert, servername: 'localhost' })
    socket.on('error', () => undefined)
    socket.write('x')
    await once(socket, 'data')
    raw.resetAndDestroy()
    t.match(await program.reason('inside'), { code: 'ECONNRESET' })
    const plain = await client(port)
    plain.on('error', () => undefined)
    plain.write('GET / HTTP/1.0\r\n\r\n')
    await until(() => refused.length === 1)
    t.match(refused[0], { code: /^ERR_SSL/ })
    t.equal(program.all('inside', 'presence').length, 1, 'no session without a handshake')
    plain.destroy()
    await until(() => program.connections === 0)
  }, skip)
}

onBoth('tcp: a stranger with a certificate of another authority, and a client that says nothing',
  async (t, start) => {
    const stranger = certificate('stranger')
    const options = { requestCert: true, rejectUnauthorized: true, ca: cert, handshakeTimeout: 300 }
    const { program, refused } = tlsEcho(start, 'tcp', options)
    const port = await program.port()
    const to = { port, host, ca: cert, servername: 'localhost' }
    const silent = await client(port)
    await once(silent.resume(), 'end')
    t.match(refused, [{ code: 'ERR_TLS_HANDSHAKE_TIMEOUT' }])
    silent.destroy()
    for (const identity of [stranger, {}]) {
      const socket = tlsConnect({ ...to, ...identity })
      socket.on('error', () => undefined)
      socket.resume().write('let me in')
      await new Promise((resolve) => socket.on('close', resolve))
    }
    await until(() => refused.length === 3)
    t.equal(program.all('inside', 'presence').length, 0, 'no session for them')
    // Our own certificate is its own authority.
    const friend = tlsConnect({ ...to, key, cert })
    friend.write('hello')
    const [data] = await once(friend, 'data') as [Buffer]
    t.equal(data.toString(), 'hello')
    friend.destroy()
    await until(() => program.connections === 0)
  }, skip)

onBoth('tcp: openssl s_client', async (t, start) => {
  const { program } = tlsEcho(start, 'tcp')
  const port = await program.port()
  const child = run('openssl', [
    's_client', '-connect', `${host}:${port}`, '-CAfile', join(folder, 'cert'), '-servername', 'localhost',
    '-verify_return_error', '-quiet',
  ])
  let said = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => (said += text))
  child.stderr.resume()
  child.stdin.write('hello from openssl\n')
  await until(() => said === 'hello from openssl\n')
  t.equal(said, 'hello from openssl\n')
  child.stdin.end()
  child.kill()
  await once(child, 'close')
  await until(() => program.connections === 0)
}, skip)

onBoth('tcp: a TLS client', async (t, start) => {
  const peer = tlsServer({ key, cert }, (socket) => socket.pipe(socket)).listen(0, host)
  await once(peer, 'listening')
  const { port } = peer.address() as AddressInfo
  const { stream, actions } = fromChannel(tcpAddress(host, port), tcpHandle(1))
  const program = start(() => spawn(() => actions), { driver: 'tcp' })
  const socket = tlsConnect({ socket: stream, ca: cert, servername: 'localhost' })
  await once(socket, 'secureConnect')
  t.ok(socket.authorized)
  const data = pattern(1_000_000)
  const back = readAll(socket)
  socket.end(data)
  t.ok((await back).equals(data))
  peer.close()
  await until(() => program.connections === 0)
}, skip)
