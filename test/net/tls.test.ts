/** `node:tls` on top of a socket: what programs ask of a TLS socket is answered by the socket below it. */
import { execFileSync, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import * as https from 'node:https'
import type { IncomingMessage } from 'node:http'
import { fileURLToPath } from 'node:url'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import { makeCertificates } from '../clients/lib/certificates.js'
import { deferred, missing, until } from '../support/util.js'
import { both, closed, failure, portOf, type Behaviour, type Server, type Socket } from './both.js'

const skip = missing('openssl')
const { key, cert, ca, keyFile, certFile } = skip === false ? makeCertificates() : undefined!

const test = (what: string, body: (t: Test, env: Behaviour) => unknown): void => {
  both('other:tls-js-stream', what, body, { skip })
}

interface Secured {
  readonly server: Server
  readonly secure: tls.Server
}

/** A server that hands its connections to one of node:tls. */
async function serve({ listen }: Behaviour, onSocket?: (socket: tls.TLSSocket) => void): Promise<Secured> {
  const secure = tls.createServer({ key, cert }, onSocket)
  const server = await listen((socket) => { secure.emit('connection', socket) })
  return { server, secure }
}

const onTop = (socket: Socket): tls.TLSSocket => tls.connect({ socket, ca, servername: 'localhost' })

/** All of a TLS connection: both TLS sockets, and the sockets below. */
async function pair(env: Behaviour) {
  const { server, secure } = await serve(env)
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const ready = once(secure, 'secureConnection') as Promise<[tls.TLSSocket]>
  const raw = env.connect(server)
  const client = onTop(raw)
  const [[rawPeer], [peer]] = await Promise.all([accepted, ready, once(client, 'secureConnect')])
  return { server, raw, client, rawPeer, peer }
}

test('both ends know the addresses', async (t, env) => {
  const { server, client, peer } = await pair(env)
  t.match(client, { remoteAddress: '127.0.0.1', remoteFamily: 'IPv4', remotePort: portOf(server) })
  t.match(peer, { localAddress: '127.0.0.1', localFamily: 'IPv4', localPort: portOf(server) })
  t.equal(peer.remotePort, client.localPort)
  t.same(peer.address(), { address: '127.0.0.1', family: 'IPv4', port: portOf(server) })
  client.resume().end()
  await closed(client)
  t.equal(client.remoteAddress, '127.0.0.1', 'as it was')
})

test('over a socket that is still connecting: \'connect\' comes, then the addresses', async (t, env) => {
  const { server } = await serve(env)
  const client = onTop(env.connect(server))
  t.equal(client.connecting, true)
  t.equal(client.remoteAddress, undefined)
  await once(client, 'connect')
  t.equal(client.connecting, false)
  t.equal(client.remotePort, portOf(server))
  await once(client, 'secureConnect')
  client.destroy()
})

for (const side of ['client', 'server'] as const) {
  test(`a reset is the TLS socket's error, and its end (${side})`, async (t, env) => {
    // Node's client ends in order here, as TLS has taken its handle.
    if (side === 'server' && !env.ours) return
    const { client, peer, raw, rawPeer } = await pair(env)
    const [socket, below, other] = side === 'client' ? [client, raw, rawPeer] : [peer, rawPeer, raw]
    const errorsBelow: unknown[] = []
    below.on('error', (error) => errorsBelow.push(error))
    const ends = Promise.all([failure(socket), closed(socket), closed(below)])
    other.resetAndDestroy()
    const [error, hadError, belowHadError] = await ends
    t.match(error, { code: 'ECONNRESET', syscall: 'read', message: 'read ECONNRESET' })
    t.equal(hadError, true)
    t.equal(belowHadError, false)
    t.same(errorsBelow, [])
  })
}

test('a reset in the handshake is told by the server', async (t, env) => {
  const { server, secure } = await serve(env)
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const raw = env.connect(server)
  const [[peer]] = await Promise.all([accepted, once(raw, 'connect')])
  const told = once(secure, 'tlsClientError')
  raw.write('\x16\x03')
  await until(() => peer.bytesRead === 2)
  raw.resetAndDestroy()
  const [error] = await told as [NodeJS.ErrnoException]
  t.equal(error.code, 'ECONNRESET')
})

test('an attempt that fails is the TLS socket\'s error', async (t, env) => {
  const { server } = await serve(env)
  const port = portOf(server)
  server.close()
  await closed(server)
  const client = onTop(env.own(env.net.connect(port, '127.0.0.1')))
  t.equal((await failure(client)).code, 'ECONNREFUSED')
})

/** How a program reads before it asks for TLS. */
const READERS: Readonly<Record<string, (socket: Socket, heard: (text: string) => void) => void>> = {
  'by data': (socket, heard) => { socket.on('data', (data) => { heard(String(data)) }) },
  'as text': (socket, heard) => { socket.setEncoding('utf8').on('data', heard) },
  'by readable': (socket, heard) => {
    socket.on('readable', () => {
      const data = socket.read() as Buffer | null
      if (data !== null) heard(String(data))
    })
  },
}

for (const [how, read] of Object.entries(READERS)) {
  test(`STARTTLS: who read before (${how}) hears nothing of TLS`, async (t, env) => {
    const heard: string[] = []
    const server = await env.listen((socket) => {
      read(socket, (text) => {
        heard.push(`server ${text}`)
        if (text !== 'STARTTLS') return
        socket.write('OK')
        const secure = new tls.TLSSocket(socket, { isServer: true, key, cert })
        secure.on('data', (data) => { secure.end(`echo ${data}`) })
      })
      socket.on('end', () => heard.push('server end'))
    })
    const raw = env.connect(server)
    const { promise: agreed, resolve } = deferred()
    read(raw, (text) => {
      heard.push(`client ${text}`)
      if (text === 'OK') resolve()
    })
    raw.on('end', () => heard.push('client end'))
    raw.write('STARTTLS')
    await agreed
    const client = onTop(raw)
    await once(client, 'secureConnect')
    client.write('hello')
    const done = closed(client)
    let answer = ''
    client.on('data', (data) => (answer += String(data)))
    await done
    t.equal(answer, 'echo hello')
    t.same(heard, ['server STARTTLS', 'client OK'])
  })
}

test('a reader that waits holds its peer up, and gets all', async (t, env) => {
  const size = 8 << 20
  const { client, peer, raw } = await pair(env)
  peer.end(Buffer.alloc(size, 7))
  await once(client, 'readable')
  // What does not fit is with the kernel and the peer.
  t.ok(raw.bytesRead < size)
  let got = 0
  for await (const data of client) {
    got += (data as Buffer).length
    if (got % 5 === 0) await new Promise(setImmediate)
  }
  t.equal(got, size)
})

const noStatistics = skip === false ? missing('ss') : skip

both('other:tls-js-stream connect-keepalive', 'setKeepAlive reaches the kernel', async (t, env) => {
  const { server, client } = await pair(env)
  client.setKeepAlive(true, 3_600_000)
  const filter = ['state', 'established', `( dport = :${portOf(server)} )`]
  await until(() => execFileSync('ss', ['-tnoH', ...filter], { encoding: 'utf8' }).includes('keepalive'))
  t.pass()
}, { skip: noStatistics })

test('https: the request knows who asks; an agent keeps connections', async (t, env) => {
  const web = https.createServer({ key, cert }, ({ socket }, response) => {
    response.end(JSON.stringify([socket.remoteAddress, socket.localPort]))
  })
  const server = await env.listen((socket) => { web.emit('connection', socket) }, { allowHalfOpen: true })
  let opened = 0
  const agent = new https.Agent({ keepAlive: true, ca })
  t.teardown(() => { agent.destroy() })
  ;(agent as unknown as { createConnection: (options: object) => tls.TLSSocket }).createConnection = () => {
    opened++
    return onTop(env.connect(server))
  }
  for (let i = 0; i < 2; i++) {
    const request = https.get({ agent, host: 'localhost', port: portOf(server) })
    const [response] = await once(request, 'response') as [IncomingMessage]
    let body = ''
    response.on('data', (data) => (body += String(data)))
    await once(response, 'end')
    t.same(JSON.parse(body), ['127.0.0.1', portOf(server)])
    // The agent has it back by then.
    await new Promise(setImmediate)
  }
  t.equal(opened, 1)
})

both('other:tls-socket-close', 'who hears that the socket below is closed finds the TLS socket destroyed',
  async (t, env) => {
    const { server, secure } = await serve(env)
    const ready = once(secure, 'secureConnection') as Promise<[tls.TLSSocket]>
    const [raw] = (await Promise.all([
      once(server, 'connection') as Promise<[Socket]>, once(onTop(env.connect(server)), 'secureConnect'),
    ]))[0]
    const [peer] = await ready
    const seen = new Promise((resolve) => {
      raw.once('close', () => { resolve(peer.destroyed) })
    })
    raw.destroy()
    t.equal(peer.destroyed, false, 'not at once')
    t.equal(await seen, true)
  }, { skip })

const ours = fileURLToPath(new URL('../../src/net/index.js', import.meta.url))

/** Programs that have to end by themselves. */
const ENDING: Readonly<Record<string, string>> = {
  'unref': 'client.unref()',
  'unref before it is secure': '',
  'ref and unref': 'client.unref(); client.ref(); client.unref()',
}

for (const [name, then] of Object.entries(ENDING)) {
  void t.test(`${name}: an idle TLS socket does not keep the process`, { skip }, (t) => {
    const program = `(async () => {
      const { once } = require('node:events')
      const { readFileSync } = require('node:fs')
      const tls = require('node:tls')
      const net = process.argv[1] === 'node' ? require('node:net') : (await import(process.argv[1])).default
      const [key, cert] = process.argv.slice(2).map((file) => readFileSync(file))
      const secure = tls.createServer({ key, cert }, (peer) => { peer.unref() })
      const server = net.createServer((socket) => { secure.emit('connection', socket) })
      server.listen(0, '127.0.0.1')
      await once(server, 'listening')
      const socket = net.connect(server.address().port, '127.0.0.1')
      const client = tls.connect({ socket, rejectUnauthorized: false })
      const keep = setInterval(() => undefined, 1000)
      ${name.includes('before') ? 'client.unref()' : ''}
      await once(client, 'secureConnect')
      server.unref()
      ${then}
      clearInterval(keep)
      console.log('idle')
    })()`
    for (const module of ['node', ours]) {
      const args = ['-e', program, module, keyFile, certFile]
      const run = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 30_000 })
      t.match(run, { status: 0, stdout: 'idle\n', signal: null }, `${module}: ${run.stderr}`)
    }
    t.end()
  })
}
