/** The chat client example as its users run it: a child process, through the command line. */
import { host, TRANSPORTS } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import { loadNative } from '../../src/transport/native/transport.js'
import { Cli } from '../support/cli.js'
import { readAll, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'
import { leftOutOnNode } from '../support/variants.js'

interface Talk {
  readonly cli: Cli
  readonly socket: Socket
}

/** Starts a client and the plain server that it talks to. */
async function connected(t: Test, transport: string): Promise<Talk> {
  const server = createServer({ allowHalfOpen: true }).listen(0, host)
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const cli = new Cli(['connect', host, `${port}`, '--transport', transport])
  t.teardown(() => {
    cli.child.kill('SIGKILL')
    server.close()
  })
  const [socket] = await once(server, 'connection') as [Socket]
  socket.on('error', () => undefined)
  return { cli, socket }
}

const native = loadNative()
for (const transport of TRANSPORTS) {
  const skip = transport === 'node' ? leftOutOnNode : !native.ok && native.reason
  const test = (name: string, body: (t: Test, talk: Talk) => Promise<void>): void => {
    void t.test(`${transport}: ${name}`, { skip, timeout: patient(20_000) }, async (t) =>
      body(t, await connected(t, transport)))
  }

  test('lines go out as they are typed, also the last one without an end; then eof', async (t, talk) => {
    const { cli, socket } = talk
    const { stdin } = cli.child
    let heard = ''
    socket.setEncoding('utf8').on('data', (text: string) => (heard += text))
    stdin.write('one\n')
    await until(() => heard === 'one\n')
    stdin.write('tw')
    await sleep(30)
    t.equal(heard, 'one\n', 'half a line waits')
    stdin.write('o\r\ngrüße 🎈\n\n')
    await until(() => heard.endsWith('🎈\n\n'))
    const ended = once(socket, 'end')
    stdin.end('end')
    await ended
    t.equal(heard, 'one\ntwo\ngrüße 🎈\n\nend\n')
    socket.write('an answer after ')
    await sleep(50)
    socket.end('its eof\n')
    t.equal(await cli.ended(), 0)
    t.equal(cli.stdout, 'an answer after its eof\n')
    t.equal(cli.stderr, '')
  })

  test('all that came is printed when the server ends', async (t, { cli, socket }) => {
    const text = Array.from({ length: 50_000 }, (_, i) => `line ${i} ✓\n`).join('')
    socket.end(text)
    t.equal(await cli.ended(), 0, 'ends with the server, though its input is open')
    t.ok(cli.stdout === text, `${cli.stdout.length} of ${text.length} characters`)
    t.equal((await readAll(socket)).length, 0)
    t.equal(cli.stderr, '')
  })

  test('a lost connection is told in one line', async (t, { cli, socket }) => {
    socket.write('welcome\n')
    await until(() => cli.stdout === 'welcome\n')
    socket.resetAndDestroy()
    t.equal(await cli.ended(), 1)
    t.match(cli.stderr, /^marketplace: [^\n]*ECONNRESET[^\n]*\n$/)
  })

  test('much input to a server that reads late arrives whole', async (t, { cli, socket }) => {
    const text = Array.from({ length: 60_000 }, (_, i) => `${i} ${'#'.repeat(40)}\n`).join('')
    socket.pause()
    cli.child.stdin.end(text)
    await sleep(200)
    t.ok((await readAll(socket)).toString() === text)
    socket.end()
    t.equal(await cli.ended(), 0)
  })
}
