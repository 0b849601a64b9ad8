/** Who is let in to an inspector, and what clients can't do to a program. */
import { logged, run, sleep } from '../vm/harness.js'
import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import t from 'tap'
import { WebSocket } from 'ws'
import { endpoint, inspector, spawn } from 'marketplace-native'
import { spawnSync } from 'node:child_process'
import { Client, inspected, type Answer } from './program.js'
import { patient } from '../support/patience.js'

/** The status of a request with these headers. */
async function statusOf(url: string, headers: Record<string, string> = {}, method = 'GET'): Promise<number> {
  const sent = request(url, { headers, method }).end()
  const [response] = await once(sent, 'response') as [{ statusCode: number, resume(): void }]
  response.resume()
  return response.statusCode
}

/** How a WebSocket is refused; undefined if it isn't. */
async function refusalOf(url: string, headers: Record<string, string> = {}): Promise<number | undefined> {
  const socket = new WebSocket(url.replace('http', 'ws'), { headers })
  return new Promise((resolve) => {
    socket.on('open', () => { socket.terminate(); resolve(undefined) })
    socket.on('error', () => undefined)
    socket.on('unexpected-response', (_request, response) => { response.resume(); resolve(response.statusCode) })
  })
}

t.test('the token, the page\'s origin and the name of the host decide', async (t) => {
  const { url } = await inspected(t, () => undefined)
  const { host, origin, port } = new URL(url)
  const token = new URL(url).searchParams.get('token') ?? ''
  t.equal(token.length, 32)
  t.equal(new URL(url).hostname, '127.0.0.1', 'loopback')
  for (const ask of [statusOf, refusalOf]) {
    const good = ask === statusOf ? 200 : undefined
    t.equal(await ask(url), good)
    t.equal(await ask(url, { origin }), good)
    t.equal(await ask(`http://localhost:${port}/?token=${token}`), good)
    for (const [what, at, headers] of [
      ['no token', `http://${host}/`, {}], ['a wrong token', `http://${host}/?token=${token.replace(/./, 'x')}`, {}],
      ['a longer token', `${url}0`, {}], ['an empty token', `http://${host}/?token=`, {}],
      ['a foreign origin', url, { origin: 'http://evil.example' }], ['no origin', url, { origin: 'null' }],
      ['another port', url, { origin: 'http://127.0.0.1:1' }], ['a foreign name', url, { host: `evil.example:${port}` }],
      ['a name with another port', url, { host: 'localhost:1' }], ['nonsense', url, { host: '[' }],
    ] as const) t.equal(await ask(at, headers), 403, what)
  }
  t.equal(await statusOf(url, {}, 'POST'), 405)
  t.equal(await statusOf(`http://${host}/../../etc/passwd?token=${token}`), 404)
})

t.test('what is no address at all ends nothing, and needs no token to be refused', async (t) => {
  const { client, url } = await inspected(t, () => undefined)
  const { port, host } = new URL(url)
  const upgrade = 'Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n'
    + 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n'
  for (const target of ['//', '//[', 'http://[', '/\\\\[', '*']) {
    for (const more of ['', upgrade]) {
      const socket = connect(Number(port), '127.0.0.1')
      socket.write(`GET ${target} HTTP/1.1\r\nHost: ${host}\r\n${more}\r\n`)
      const [answer] = await once(socket, 'data') as [Buffer]
      t.match(answer.toString(), /^HTTP\/1\.1 40[03]/, `${target} ${more.length}`)
      socket.destroy()
    }
  }
  t.ok(await client.ask('tree'))
})

t.test('a client that is refused and does not go keeps no descriptor', { timeout: patient(30_000) }, async (t) => {
  const { url } = await inspected(t, () => undefined)
  const { port, host } = new URL(url)
  const socket = connect({ port: Number(port), host: '127.0.0.1', allowHalfOpen: true })
  socket.on('error', () => undefined)
  socket.write(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`)
  socket.resume()
  await once(socket, 'end')
  const ended = new Promise((resolve) => { socket.on('close', resolve) })
  // What nobody has any more is reset, or refused by the kernel, when more comes.
  const more = setInterval(() => { socket.write('x') }, 50)
  await ended
  clearInterval(more)
  t.pass('the server has closed it')
})

t.test('a client that never reads loses its session; fifty are served, and no more', async (t) => {
  const { client, url } = await inspected(t, () => undefined)
  const clients: Client[] = []
  for (let i = 1; i < 50; i++) clients.push(await new Client(url).opened())
  t.equal(await refusalOf(url), 503)
  const lazy = clients[0]
  lazy.socket.pause()
  const closed = once(lazy.socket, 'close')
  // Until its place is free.
  while (await refusalOf(url) !== undefined) {
    for (let i = 0; i < 1000; i++) lazy.socket.send(JSON.stringify({ id: i, do: 'tree' }))
    await client.ask('breaks')
  }
  lazy.socket.resume()
  await closed
  t.ok((await client.ask('tree'))['processes'], 'others are served')
  for (const other of clients) other.socket.terminate()
})

t.test('nonsense is answered, and ends nothing', async (t) => {
  const { client, url } = await inspected(t, () => undefined)
  for (const text of [
    '', '{', '[]', 'null', '7', '{"id":"a"}', '{"id":{},"do":"tree","x":1}', '{"do":["tree"]}',
    '{"do":"process","path":"0x1"}', '{"do":"process","path":"1e3"}', '{"do":"process","path":"99999999999999999999"}',
    '{"do":"events","from":-1}', '{"do":"events","limit":1e9}', '{"do":"trace","rate":"many"}', '{"do":"__proto__"}',
    '{"do":"chain","event":0.5}', '{"do":"watch","every":0}', '{"do":"log","level":"loud"}',
    '{"do":"break","on":"never"}',
  ]) client.socket.send(text)
  await client.ask('tree')
  const binary = await new Client(url).opened()
  binary.socket.send(Buffer.from('x'))
  const [code] = await once(binary.socket, 'close') as [number]
  t.equal(code, 1003)
  const huge = await new Client(url).opened()
  huge.socket.send('x'.repeat(300 * 1024))
  t.equal((await once(huge.socket, 'close') as [number])[0], 1009)
  const raw = connect(Number(new URL(url).port), '127.0.0.1')
  raw.on('error', () => undefined)
  raw.write('GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n')
  raw.resume()
  await once(raw, 'close')
  t.ok((await client.ask('tree'))['processes'])
})

t.test('hostile values: they are shown, and the program goes on', async (t) => {
  const { client, send } = await inspected(t, () => spawn(() => endpoint.subscriber(['hostile'], {
    onMessage: () => { throw new Proxy(new Error('x'), { get: () => { throw new Error('trap') } }) },
  })))
  await client.ask('trace')
  send(['hostile'])
  const { crash } = await client.hears('crashed')
  t.match(crash, { reason: { $: 'proxy' } })
  t.ok(((await client.ask('tree'))['processes'] as Answer[]).length > 0)
})

t.test('options that make no sense', (t) => {
  const bad: readonly [object, RegExp][] = [
    [{ port: 65_536 }, /options\.port/], [{ host: '' }, /options\.host/],
    [{ token: 'short' }, /at least 16 characters/],
    [{ readOnly: 1 }, /options\.readOnly/], [{ redact: 1 }, /options\.redact/], [{ prot: 1 }, /did you mean 'port'/],
  ]
  for (const [options, message] of bad) t.throws(() => inspector(options), { message })
  t.end()
})

t.test('a port that is in use: that is logged, and only the inspector ends', async (t) => {
  const { url } = await inspected(t, () => undefined)
  const { log, ended } = await run(() => [
    inspector({ print: false, port: Number(new URL(url).port) }),
    spawn(async () => { await sleep(200); return undefined }),
  ])
  t.ok(ended)
  t.same(logged(log, 'error'), ["the inspector can't listen"])
  t.match(log.find(({ level }) => level === 'error')?.fields['reason'], { code: 'EADDRINUSE' })
})

t.test('MARKETPLACE_INSPECT=1 gives any program an inspector; what makes no sense is told', (t) => {
  const program = `
    import { groundVm, quit } from 'marketplace-native'
    await groundVm(() => quit())
    console.log('ended')
  `
  const runWith = (value: string): { stdout: string, stderr: string } => spawnSync(
    process.execPath, ['--input-type=module', '--eval', program],
    { env: { ...process.env, MARKETPLACE_INSPECT: value, MARKETPLACE_LOG: 'warning' }, encoding: 'utf8' },
  )
  for (const value of ['1', '', '0']) t.match(runWith(value), { stdout: 'ended\n', stderr: '' }, `'${value}'`)
  t.match(runWith('yes').stderr, /MARKETPLACE_INSPECT must be 1, PORT or HOST:PORT; got 'yes'/)
  t.end()
})
