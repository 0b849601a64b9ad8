/** The carrier over NATS alone, with a real server. */
import { connect, nkeys } from '@nats-io/transport-node'
import t, { type Test } from 'tap'
import { NatsCarrier, type NatsSettings } from '../../src/relay/nats-carrier.js'
import { certificateFiles, makeCertificate } from '../support/certificates.js'
import { freePort, pattern, sleep, until } from '../support/util.js'
import { NatsServer, noNats, Proxy } from './nats-server.js'

/** A carrier, and what it has told. */
class Node {
  readonly carrier: NatsCarrier
  readonly heard: { readonly from: string; readonly packet: Buffer }[] = []
  readonly events: string[] = []
  error: (Error & { code?: string }) | undefined

  constructor(t: Test, node: string, url: string, more: Partial<NatsSettings> = {}) {
    this.carrier = new NatsCarrier({ servers: [url], prefix: 'test', node, auth: {}, tls: undefined, ...more })
    this.carrier.start({
      onMessage: (from, packet) => this.heard.push({ from, packet: Buffer.from(packet) }),
      onUp: () => this.events.push('up'),
      onDown: () => this.events.push('down'),
      onGone: (other) => this.events.push(`gone ${other}`),
      onFailed: (error) => {
        this.events.push('failed')
        this.error = error
      },
    })
    t.teardown(() => { this.carrier.stop() })
  }

  async has(event: string, times = 1): Promise<void> {
    await until(() => this.events.filter((other) => other === event).length >= times)
  }

  send(to: string | undefined, text: string): void {
    this.carrier.send(to, new Uint8Array(Buffer.from(text)))
  }

  get texts(): string[] {
    return this.heard.map(({ from, packet }) => `${from}: ${packet.toString()}`)
  }
}

async function up(...nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) await node.has('up')
}

t.test('nats', { skip: noNats }, async (t) => {
  t.test('to one and to all, in order, each with its sender', async (t) => {
    const { url } = await NatsServer.start(t)
    const [a, b, c] = ['a', 'b', 'c'].map((name) => new Node(t, name, url))
    const other = new Node(t, 'a', url, { prefix: 'other' })
    await up(a, b, c, other)
    for (let i = 0; i < 100; i++) a.send('b', `${i}`)
    a.send(undefined, 'all')
    b.send('a', 'back')
    c.send('c', 'nobody hears himself')
    c.send(undefined, 'end')
    await until(() => a.heard.length === 2 && b.heard.length === 102 && c.heard.length === 1)
    t.same(b.texts.filter((text) => text !== 'c: end'),
      [...Array.from({ length: 100 }, (_v, i) => `a: ${i}`), 'a: all'])
    t.same(a.texts.sort(), ['b: back', 'c: end'])
    t.same(c.texts, ['a: all'])
    t.same(other.heard, [], 'another prefix is another network')
    await until(() => a.carrier.queued('b') === 0 && a.carrier.queued(undefined) === 0)
    t.match(a.carrier.metrics, { up: true, packetsSent: 101, packetsReceived: 2, refused: 0, queued: 0 })
  })

  t.test('nobody listens: gone, at once; who listens again is heard', async (t) => {
    const { url } = await NatsServer.start(t)
    const a = new Node(t, 'a', url)
    await up(a)
    a.send('b', 'x')
    await a.has('gone b')
    const b = new Node(t, 'b', url)
    await up(b)
    a.send('b', 'y')
    await until(() => b.heard.length === 1)
    b.send('a', 'last')
    b.carrier.stop()
    await until(() => a.heard.length === 1)
    t.same(a.texts, ['b: last'], 'what was sent goes first')
    await until(() => {
      a.send('b', 'z')
      // Several of them may have gone before the first answer comes.
      return a.events.length >= 3
    })
    t.same(a.events.slice(0, 3), ['up', 'gone b', 'gone b'])
  })

  t.test('a name that is used twice is heard under that name', async (t) => {
    const { url } = await NatsServer.start(t)
    const [first, second] = [new Node(t, 'a', url), new Node(t, 'a', url)]
    await up(first, second)
    first.send(undefined, '1')
    second.send(undefined, '2')
    await until(() => first.heard.length === 1 && second.heard.length === 1)
    t.same([...first.texts, ...second.texts], ['a: 2', 'a: 1'])
  })

  t.test('the server dies and comes back', async (t) => {
    const server = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', server.url), new Node(t, 'b', server.url)]
    await up(a, b)
    await server.kill()
    await a.has('down')
    await b.has('down')
    a.send('b', 'lost')
    t.equal(a.carrier.queued('b'), 0, 'what is refused does not wait')
    t.match(a.carrier.metrics, { up: false, refused: 1 })
    await server.run()
    await a.has('up', 2)
    await b.has('up', 2)
    a.send('b', 'again')
    await until(() => b.heard.length > 0)
    t.same(b.texts, ['a: again'])
    t.match(a.carrier.metrics, { up: true, reconnects: 1 })
  })

  t.test('no server yet: it comes later', async (t) => {
    const port = await freePort()
    const a = new Node(t, 'a', `nats://127.0.0.1:${port}`)
    const never = new Node(t, 'never', `nats://127.0.0.1:${port}`)
    await sleep(100)
    t.same(a.events, [])
    never.carrier.stop()
    await NatsServer.start(t, '', port)
    await up(a)
    t.same(never.events, [], 'who was stopped before says nothing')
  })

  t.test('a cut link comes back; a slow one delivers', async (t) => {
    const server = await NatsServer.start(t)
    const proxy = await Proxy.start(t, server.port)
    const [a, b] = [new Node(t, 'a', proxy.url), new Node(t, 'b', server.url)]
    await up(a, b)
    proxy.cut()
    await a.has('down')
    await a.has('up', 2)
    proxy.delay = 100
    a.send('b', 'slow')
    t.equal(a.carrier.queued('b'), 4)
    await until(() => b.heard.length === 1)
    await until(() => a.carrier.queued('b') === 0)
    t.same(b.texts, ['a: slow'])
  })

  t.test('what waits is counted until the server has it', async (t) => {
    const server = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', server.url), new Node(t, 'b', server.url)]
    await up(a, b)
    server.signal('SIGSTOP')
    for (let i = 0; i < 100; i++) a.carrier.send('b', new Uint8Array(pattern(50_000, i)))
    await sleep(200)
    t.equal(a.carrier.queued('b'), 5_000_000)
    t.equal(a.carrier.queued('c'), 0)
    server.signal('SIGCONT')
    await until(() => a.carrier.queued('b') === 0 && b.heard.length === 100)
    t.ok(b.heard.every(({ packet }, i) => packet.equals(pattern(50_000, i))), 'every byte')
  })

  t.test('the server decides how long packets can be', async (t) => {
    const { url } = await NatsServer.start(t, 'max_payload: 4096')
    const [a, b] = [new Node(t, 'a', url), new Node(t, 'b', url)]
    await up(a, b)
    t.equal(a.carrier.maxPacket, 4096)
    a.carrier.send('b', new Uint8Array(4097))
    a.carrier.send('b', new Uint8Array(4096))
    await until(() => b.heard.length === 1)
    t.equal(b.heard[0].packet.length, 4096)
    t.match(a.carrier.metrics, { refused: 1, up: true })
    const small = await NatsServer.start(t, 'max_payload: 512')
    const none = new Node(t, 'none', small.url)
    await none.has('failed')
    t.match(none.error, { message: /max_payload must be 1024 or more; it is 512/ })
  })

  const users = `
    authorization {
      users: [
        { user: a, password: secret, permissions: {
            publish: ["test.all.a", "test.to.*.a"], subscribe: ["test.all.*", "test.to.a.*", "test.gone.a.*"] } }
        { user: b, password: secret, permissions: {
            publish: ["test.all.b", "test.to.*.b"], subscribe: ["test.all.*", "test.to.b.*", "test.gone.b.*"] } }
      ]
    }`

  t.test('credentials, and permissions for each node', async (t) => {
    const server = await NatsServer.start(t, users)
    const as = (node: string, user: string, pass = 'secret'): Node =>
      new Node(t, node, server.url, { auth: { user, pass } })
    const [a, b] = [as('a', 'a'), as('b', 'b')]
    await up(a, b)
    a.send('b', 'x')
    await until(() => b.heard.length === 1)
    for (const wrong of [as('c', 'a', 'wrong'), new Node(t, 'c', server.url)]) {
      await wrong.has('failed')
      t.match(wrong.error, { code: 'EACCES', message: /^natsRelay c: nats:.*Authorization Violation/ })
      t.same(wrong.events, ['failed'])
    }
    const stranger = as('b', 'a')
    await stranger.has('failed')
    t.match(stranger.error, { code: 'EACCES', message: /may not listen to test\.to\.b\.\*/ })
    t.same(b.texts, ['a: x'])
  })

  t.test('a token, and an nkey', async (t) => {
    const token = await NatsServer.start(t, 'authorization { token: "t0ken" }')
    await up(new Node(t, 'a', token.url, { auth: { token: 't0ken' } }))
    const wrong = new Node(t, 'a', token.url, { auth: { token: 'no' } })
    await wrong.has('failed')
    const user = nkeys.createUser()
    const nkey = await NatsServer.start(t, `authorization { users: [{ nkey: ${user.getPublicKey()} }] }`)
    await up(new Node(t, 'a', nkey.url, { auth: { nkey: Buffer.from(user.getSeed()).toString() } }))
    const other = new Node(t, 'a', nkey.url, { auth: { nkey: Buffer.from(nkeys.createUser().getSeed()).toString() } })
    await other.has('failed')
    t.match(other.error, { code: 'EACCES' })
  })

  t.test('a server that has waited too long for who we are is asked again, however often; at each start', async (t) => {
    const server = await NatsServer.start(t, 'authorization { user: u, password: p, timeout: 0.3 }')
    const proxy = await Proxy.start(t, server.port)
    proxy.delay = 400
    const a = new Node(t, 'a', proxy.url, { auth: { user: 'u', pass: 'p' } })
    await sleep(3000)
    t.same(a.events, [])
    proxy.delay = 0
    await up(a)
    // And while it runs.
    proxy.delay = 400
    proxy.cut()
    await sleep(4000)
    t.same(a.events, ['up', 'down'])
    proxy.delay = 0
    await a.has('up', 2)
    await server.kill()
    const wrong = await NatsServer.start(t, 'authorization { user: u, password: other }', server.port)
    await a.has('failed')
    t.match(a.error, { code: 'EACCES', message: /Authorization Violation/ })
    await wrong.kill()
  })

  t.test('who has a name that no node can have is not heard: to answer it could cost the connection', async (t) => {
    const server = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', server.url), new Node(t, 'b', server.url)]
    await up(a, b)
    const stranger = await connect({ servers: server.url })
    t.teardown(() => stranger.close())
    // In the subjects of a packet to it the name stands twice.
    for (const name of ['x'.repeat(2100), 'x'.repeat(65), '\u00e9', 'a,b']) {
      stranger.publish(`test.all.${name}`, Uint8Array.of(1))
      stranger.publish(`test.to.a.${name}`, Uint8Array.of(1))
    }
    await stranger.flush()
    b.send('a', 'end')
    await until(() => a.texts.includes('b: end'))
    t.same(a.texts, ['b: end'])
  })

  t.test('TLS, with an authority of our own', async (t) => {
    const ca = makeCertificate({ name: 'authority', authority: true })
    const own = makeCertificate({ by: ca, type: 'rsa' })
    const files = certificateFiles(own)
    const server = await NatsServer.start(t, `tls { cert_file: "${files.certFile}", key_file: "${files.keyFile}" }`)
    const url = `tls://localhost:${server.port}`
    await up(new Node(t, 'a', url, { tls: { ca: ca.cert } }))
    const untrusting = new Node(t, 'b', url)
    await untrusting.has('failed')
    t.match(untrusting.error, { message: /^natsRelay b: tls:/ })
  })
})
