/** The servers and the client, as their users run them. */
import { once } from 'node:events'
import { createServer, type AddressInfo, type Server } from 'node:net'
import t, { type Test } from 'tap'
import { loadNative } from '../../src/transport/native/transport.js'
import { Cli } from '../support/cli.js'
import { quick } from '../support/quick.js'
import { client, freePort, readAll, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const TIMEOUT = patient(30_000)
const native = loadNative()
const TRANSPORTS = native.ok ? quick ? ['native'] : ['native', 'node'] : ['node']
if (!native.ok) t.comment(`native transport skipped: ${native.reason}`)

/** Starts a command and ends it with the test, whatever comes. */
function start(t: Test, ...args: string[]): Cli {
  const cli = new Cli(args)
  t.teardown(() => cli.child.kill('SIGKILL'))
  return cli
}

async function listen(t: Test): Promise<readonly [Server, number]> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return [server, (server.address() as AddressInfo).port]
}

for (const transport of TRANSPORTS) {
  const options = ['--port', '0', '--transport', transport]

  void t.test(`${transport}: echo on a free port, ended by Ctrl-C`, { timeout: TIMEOUT }, async (t) => {
    const cli = start(t, 'echo', ...options)
    const port = await cli.listening()
    t.match(cli.stdout, `listening on 127.0.0.1:${port}`)
    const socket = await client(port)
    socket.write('hello\n')
    await once(socket, 'readable')
    t.equal(String(socket.read()), 'hello\n')
    cli.signal('SIGINT')
    t.equal((await readAll(socket)).length, 0, 'the connection was closed')
    socket.end()
    t.equal(await cli.ended(), 0)
    t.equal(cli.stderr, '')
    t.notMatch(cli.stdout, '\x1b', 'no status line where there is no terminal')
    await t.rejects(client(port), { code: 'ECONNREFUSED' })
  })

  void t.test(`${transport}: chat, ended by Ctrl-C`, { timeout: TIMEOUT }, async (t) => {
    const cli = start(t, 'chat', ...options)
    const port = await cli.listening()
    // The lines may come in several chunks: the last one of them is awaited.
    await until(() => cli.stdout.includes(`nc localhost ${port}`))
    t.match(cli.stdout, `telnet localhost ${port}`)
    const [alice, bob] = [
      start(t, 'connect', 'localhost', String(port), '--transport', transport), await client(port),
    ]
    let heard = ''
    bob.setEncoding('utf8').on('data', (text: string) => (heard += text))
    await until(() => {
      alice.child.stdin.write('hello bob\n')
      return heard.includes('hello bob')
    }, 100)
    bob.write('hello alice\n')
    await until(() => alice.stdout.includes('hello alice'))
    t.pass('both hear each other')
    cli.signal('SIGINT')
    t.equal(await cli.ended(), 0)
    t.equal(await alice.ended(), 0, 'the client ends when the server closes')
    t.equal(alice.stderr, '')
    bob.destroy()
  })

  void t.test(`${transport}: chat, with a page for browsers, or without`, { timeout: TIMEOUT }, async (t) => {
    const cli = start(t, 'chat', ...options)
    const line = /^in a browser: (http:\/\/localhost:\d+\/)$/m
    await until(() => line.test(cli.stdout))
    const url = String(line.exec(cli.stdout)?.[1])
    const page = await fetch(url)
    t.equal(page.status, 200)
    t.match(page.headers.get('content-type'), 'text/html')
    t.match(page.headers.get('content-security-policy'), /default-src 'none'.*script-src 'sha256-/)
    t.match(await page.text(), '<title>Chat</title>')
    t.equal((await fetch(new URL('elsewhere', url))).status, 404)
    cli.signal('SIGINT')
    t.equal(await cli.ended(), 0)
    const [, port] = await listen(t)
    const taken = start(t, 'chat', ...options, '--web-port', String(port))
    t.equal(await taken.ended(), 1)
    t.match(taken.stderr, `port ${port} of 127.0.0.1 is in use; choose another one with --web-port`)
    const without = start(t, 'chat', ...options, '--no-web')
    await without.listening()
    await until(() => without.stdout.includes('Ctrl-C ends it'))
    without.signal('SIGINT')
    t.equal(await without.ended(), 0)
    t.notMatch(without.stdout, 'in a browser')
  })

  void t.test(`${transport}: SIGTERM lets connections end, for a time`, { timeout: TIMEOUT }, async (t) => {
    const patient = start(t, 'echo', ...options)
    const port = await patient.listening()
    const socket = await client(port)
    socket.write('one')
    await once(socket, 'readable')
    patient.signal('SIGTERM')
    await until(() => patient.stdout.includes('waiting for connections to end; once more to exit at once'))
    await t.rejects(client(port), { code: 'ECONNREFUSED' })
    socket.end(' more')
    t.equal((await readAll(socket)).toString(), 'one more', 'what is under way is served')
    t.equal(await patient.ended(), 0)

    const hasty = start(t, 'echo', ...options, '--drain-ms', '50')
    const stays = await client(await hasty.listening())
    const failed = once(stays, 'error')
    hasty.signal('SIGTERM')
    t.match(await failed, [{ code: 'ECONNRESET' }])
    t.equal(await hasty.ended(), 0)

    const twice = start(t, 'echo', ...options, '--drain-ms', '1000000')
    const last = await client(await twice.listening())
    last.on('error', () => undefined)
    twice.signal('SIGTERM')
    await until(() => twice.stdout.includes('waiting for connections to end'))
    twice.signal('SIGTERM')
    t.equal(await twice.ended(), 143, 'a second one ends it at once')
    last.destroy()
  })

  void t.test(`${transport}: a port in use`, { timeout: TIMEOUT }, async (t) => {
    const [, port] = await listen(t)
    const cli = start(t, 'chat', '--port', String(port), '--transport', transport)
    t.equal(await cli.ended(), 1)
    t.match(cli.stderr, /^marketplace: port \d+ of 127\.0\.0\.1 is in use[^\n]*EADDRINUSE[^\n]*\n$/)
    t.equal(cli.stdout, '')
  })

  void t.test(`${transport}: hosts`, { timeout: TIMEOUT }, async (t) => {
    const unknown = start(t, 'echo', ...options, '--host', 'no-such-host.invalid')
    t.equal(await unknown.ended(), 1)
    t.match(unknown.stderr, /^marketplace: unknown host no-such-host\.invalid[^\n]*\n$/)
    const everywhere = start(t, 'echo', ...options, '--host', '::1')
    await until(() => everywhere.stdout !== '' || everywhere.result !== undefined)
    // A machine without IPv6 says so.
    t.match(everywhere.stdout + everywhere.stderr, /listening on \[::1\]:\d+|EADDRNOTAVAIL|EAFNOSUPPORT/)
  })

  void t.test(`${transport}: connect`, { timeout: TIMEOUT }, async (t) => {
    const [server, port] = await listen(t)
    const nobodys = await freePort()
    const refused = start(t, 'connect', '127.0.0.1', String(nobodys), '--transport', transport)
    t.equal(await refused.ended(), 1)
    t.match(refused.stderr, /^marketplace: 127\.0\.0\.1:\d+ refused the connection.*ECONNREFUSED.*\n$/)

    server.once('connection', (socket) => socket.pipe(socket))
    const piped = start(t, 'connect', '127.0.0.1', String(port), '--transport', transport)
    piped.child.stdin.end('one\ntwo\n')
    t.equal(await piped.ended(), 0, 'ends after stdin and the server have ended')
    t.equal(piped.stdout, 'one\ntwo\n')
    t.equal(piped.stderr, '')

    server.once('connection', (socket) => socket.end('good bye\n'))
    const sentAway = start(t, 'connect', '--port', String(port), '--transport', transport)
    t.equal(await sentAway.ended(), 0, 'ends when the server closes, though stdin is open')
    t.equal(sentAway.stdout, 'good bye\n')
  })
}

void t.test('a second Ctrl-C exits at once', { timeout: TIMEOUT }, async (t) => {
  const cli = start(t, 'echo', '--port', '0', '--transport', 'node')
  const socket = await client(await cli.listening())
  // The echo can't be delivered: nobody reads it. So the orderly end would take its time.
  socket.on('error', () => undefined).pause()
  let taken = 0
  const send = (): void => { socket.write(Buffer.alloc(64 * 1024), (error) => { taken += 1; if (!error) send() }) }
  send()
  for (let before = -1; before !== taken;) {
    before = taken
    await sleep(patient(500))
  }
  cli.signal('SIGINT')
  await until(() => cli.stdout.includes('closing connections'))
  t.equal(cli.result, undefined, 'still handing over what is queued')
  cli.signal('SIGINT')
  t.equal(await cli.ended(), 130)
  socket.destroy()
})

void t.test('below npm, a Ctrl-C that comes twice is one Ctrl-C', { timeout: TIMEOUT }, async (t) => {
  const cli = new Cli(['echo', '--port', '0', '--transport', 'node'], { npm_lifecycle_event: 'start' })
  t.teardown(() => cli.child.kill('SIGKILL'))
  const socket = await client(await cli.listening())
  cli.signal('SIGINT')
  cli.signal('SIGINT')
  socket.resume().on('end', () => socket.end())
  t.equal(await cli.ended(), 0)
})

void t.test('a reader of stdout that goes away does not break a server', { timeout: TIMEOUT }, async (t) => {
  const cli = start(t, 'echo', '--port', '0', '--transport', 'node')
  const port = await cli.listening()
  cli.child.stdout.destroy()
  const socket = await client(port)
  socket.end('still served')
  t.equal((await readAll(socket)).toString(), 'still served')
  cli.signal('SIGINT')
  t.equal(await cli.ended(), 0)
  t.equal(cli.stderr, '')
})
