/** What is around a socket of marketplace-native/net: contexts, exceptions, time-outs, the process's life. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { AddressInfo, Socket } from 'node:net'
import t from 'tap'
import net from 'marketplace-native/net'
import { patient } from '../support/patience.js'
import { sleep } from '../support/util.js'

const { href } = new URL('../../src/net/index.js', import.meta.url)
const LOCAL = { host: '127.0.0.1', port: 0 }

/** Runs a program in a process of its own, with `net` at hand; gives what it printed. */
async function run(
  program: string, environment: Record<string, string> = {},
): Promise<{ code: number, out: string, err: string }> {
  const prelude = `const net = (await import(${JSON.stringify(href)})).default
const { once } = await import('node:events')
setTimeout(() => { console.log('still there'); process.exit(3) }, ${patient(2000)}).unref()
`
  const child = spawn(process.execPath, ['--input-type=module', '-e', prelude + program], {
    env: { ...process.env, ...environment }, stdio: ['ignore', 'pipe', 'pipe'],
  })
  let out = ''
  let err = ''
  child.stdout.on('data', (data: Buffer) => { out += data.toString() })
  child.stderr.on('data', (data: Buffer) => { err += data.toString() })
  const [code] = await once(child, 'close') as [number]
  return { code, out: out.trim(), err }
}

void t.test('handlers run in the context in which their socket was made', async (t) => {
  const storage = new AsyncLocalStorage<string>()
  const seen: string[] = []
  const see = (what: string): void => { seen.push(`${what}: ${storage.getStore()}`) }
  const server = storage.run('server', () => net.createServer((peer) => {
    see('connection')
    peer.on('data', (data: Buffer) => {
      see(`peer data ${data.toString()}`)
      storage.enterWith(data.toString())
      peer.write(data)
    })
  }).listen(0, '127.0.0.1'))
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const clients = ['one', 'two'].map((name) => storage.run(name, () => {
    const client = net.connect(port, '127.0.0.1')
    client.on('connect', () => { see(`${name} connect`) })
    client.on('data', () => {
      see(`${name} data`)
      client.end(() => { see(`${name} ended`) })
    })
    client.on('close', () => { see(`${name} close`) })
    client.write(name, () => { see(`${name} written`) })
    return client
  }))
  await Promise.all(clients.map((client) => once(client, 'close')))
  server.close()
  for (const name of ['one', 'two']) {
    t.same(
      seen.filter((line) => line.startsWith(name)),
      ['connect', 'written', 'data', 'ended', 'close'].map((what) => `${name} ${what}: ${name}`),
    )
    t.ok(seen.includes(`peer data ${name}: server`), 'enterWith in one socket is not seen in another')
  }
  t.equal(seen.filter((line) => line === 'connection: server').length, 2)
})

void t.test('an exception in one handler does not take the events of others away', async (t) => {
  const { out, code } = await run(`
    const caught = []
    process.on('uncaughtException', (error) => caught.push(error.message))
    let text = ''
    const server = net.createServer((peer) => {
      let n = 0
      peer.on('data', (data) => {
        text += data
        if (n++ === 0) throw new Error('first data')
      })
      peer.on('end', () => peer.end())
    })
    server.listen(0, '127.0.0.1', async () => {
      const clients = Array.from({ length: 20 }, () => net.connect(server.address().port, '127.0.0.1'))
      await Promise.all(clients.map((client) => once(client, 'connect')))
      for (const client of clients) { client.resume(); client.write('x') }
      await new Promise((resolve) => setTimeout(resolve, 50))
      for (const client of clients) client.end('y')
      await Promise.all(clients.map((client) => once(client, 'close')))
      server.close(() => console.log(caught.length, text.length))
    })
  `)
  t.equal(code, 0)
  t.equal(out, '20 40')
})

void t.test('what keeps a process alive', async (t) => {
  const cases: readonly [name: string, program: string, code: number][] = [
    ['a server', "net.createServer().listen(0, '127.0.0.1')", 3],
    ['not one that is unreferenced', "net.createServer().listen(0, '127.0.0.1').unref()", 0],
    ['nor one unreferenced before', "net.createServer().unref().listen(0, '127.0.0.1')", 0],
    ['a socket', `const server = net.createServer(() => undefined).listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1'); server.unref() })`, 3],
    ['not unreferenced ones', `const server = net.createServer((s) => s.unref())
    server.listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1').unref(); server.unref() })`, 0],
    ['nothing at all', 'new net.Socket()', 0],
    ['not closed ones', `const server = net.createServer((s) => { s.end(); server.close() })
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').resume())`, 0],
    ['not a time-out', 'new net.Socket().setTimeout(100000)', 0],
  ]
  for (const [name, program, code] of cases) t.equal((await run(program)).code, code, name)
})

void t.test('without the engine it is node:net', async (t) => {
  const { out } = await run(`
    const node = await import('node:net')
    console.log(net.Socket === node.Socket, net.connect === node.connect, typeof net.promises.listen)
  `, { MARKETPLACE_NATIVE: 'off' })
  t.equal(out, 'true true function')
})

void t.test('the names are those of node:net', async (t) => {
  const node = await import('node:net')
  const ours = await import('marketplace-native/net')
  const missing = Object.keys(node).filter((name) => !(name in ours))
  const newer = ['BoundSocket']
  t.same(missing.filter((name) => !name.startsWith('_') && !newer.includes(name)), [])
  t.equal(net.Stream, net.Socket)
  t.ok((net.Socket as unknown as () => Socket)() instanceof net.Socket, 'without new')
  t.ok((net.Server as unknown as () => object)() instanceof net.Server)
  t.ok(net.createServer() instanceof node.Server)
  class Mine extends net.Socket {}
  t.ok(new Mine() instanceof Mine)
  t.ok(new Mine() instanceof net.Socket)
  t.equal(new net.Socket().constructor, net.Socket)
})

void t.test('time-outs: put off by what comes and goes, once until then', async (t) => {
  const server = await net.promises.listen(LOCAL)
  t.teardown(() => server.close())
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = await net.promises.connect({ port: (server.address() as AddressInfo).port })
  const [peer] = await accepted
  t.teardown(() => client.destroy())
  peer.resume()
  client.resume()
  let timeouts = 0
  client.setTimeout(150)
  client.on('timeout', () => { timeouts++ })
  for (let i = 0; i < 8; i++) {
    if (i % 2 === 0) client.write('x')
    else peer.write('x')
    await sleep(40)
  }
  // On a slow machine the pauses may be longer.
  const early = timeouts
  await once(client, 'timeout')
  await sleep(400)
  t.equal(timeouts, early + 1)
  client.write('x')
  await once(client, 'timeout')
  client.setTimeout(0)
  await sleep(200)
  t.equal(timeouts, early + 2)
})

void t.test('promises: what fails, and what is cancelled', async (t) => {
  const server = await net.promises.listen(LOCAL)
  const { port } = server.address() as AddressInfo
  await t.rejects(net.promises.listen({ host: '127.0.0.1', port }), { code: 'EADDRINUSE' })
  const signal = AbortSignal.abort()
  await t.rejects(net.promises.connect({ host: '127.0.0.1', port, signal }), { name: 'AbortError' })
  await (server as unknown as AsyncDisposable)[Symbol.asyncDispose]()
  await t.rejects(net.promises.connect({ host: '127.0.0.1', port }), { code: 'ECONNREFUSED' })
  const controller = new AbortController()
  const other = await net.promises.listen({ ...LOCAL, signal: controller.signal })
  controller.abort()
  await once(other, 'close')
  t.notOk(other.listening)
})
