/** What keeps a process alive, and what crosses its border: each in a process of its own. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as nodeNet from 'node:net'
import { fileURLToPath } from 'node:url'
import { both, type Behaviour, type Socket } from './both.js'
import { patient } from '../support/patience.js'
import { sleep } from '../support/util.js'

const OURS = new URL('../../src/net/index.js', import.meta.url).href

interface Outcome {
  readonly code: number | null
  readonly out: string
  readonly errors: string
}

/** Runs `code`, in which `net` is the module, to its end. */
async function run({ ours }: Behaviour, code: string, args: string[] = []): Promise<Outcome> {
  const source = `import * as net from ${JSON.stringify(ours ? OURS : 'node:net')}
    import { once } from 'node:events'
    ${code}`
  const child = spawn(process.execPath, [...args, '--input-type=module', '-e', source], {
    cwd: fileURLToPath(new URL('.', import.meta.url)), stdio: ['ignore', 'pipe', 'pipe'], timeout: patient(25_000),
  })
  let out = ''
  let errors = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
  child.stderr.setEncoding('utf8').on('data', (text: string) => { errors += text })
  const [status] = await once(child, 'close') as [number | null]
  return { code: status, out: out.trim(), errors }
}

/** Both ends of a connection. */
const PAIR = `
  const server = net.createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const client = net.connect(server.address().port, '127.0.0.1')
  const [[peer]] = await Promise.all([once(server, 'connection'), once(client, 'connect')])
`

both('server-unref server-unref-persistent persistent-ref-unref pipe:unref',
  'unref: what is left does not keep the process', async (t, env) => {
    const outcome = await run(env, `${PAIR}
      const path = '\\0unref-' + process.pid
      const unix = net.createServer().unref()
      if (process.platform === 'linux') {
        unix.listen(path)
        await once(unix, 'listening')
      }
      const idle = new net.Socket().unref().ref().unref()
      for (const one of [server, client, peer]) one.unref()
      console.log('end')`)
    t.match(outcome, { code: 0, out: 'end' })
  })

both('persistent-ref-unref', 'ref again: it does, until it is closed', async (t, env) => {
  const outcome = await run(env, `${PAIR}
    for (const one of [server, client, peer]) one.unref()
    server.ref()
    setTimeout(() => { console.log('closing'); server.close(); }, 50).unref()
    process.on('exit', () => console.log('exit'))`)
  t.match(outcome, { code: 0, out: 'closing\nexit' })
})

both('socket-timeout-unref connect-paused-connection', 'a timeout does not keep the process',
  async (t, env) => {
    const outcome = await run(env, `${PAIR}
      for (const one of [server, client, peer]) { one.unref(); }
      client.setTimeout(20_000)
      peer.setTimeout(20_000)
      client.pause()
      new net.Socket().setTimeout(20_000)`)
    t.match(outcome, { code: 0, out: '' })
    t.equal(outcome.errors.includes('Error'), false)
  })

both('server-close end-close', 'when all is closed the process ends', async (t, env) => {
  const outcome = await run(env, `${PAIR}
    client.end('x')
    peer.on('data', () => {})
    client.resume()
    server.close(() => console.log('closed'))`)
  t.match(outcome, { code: 0, out: 'closed' })
})

both('listen-after-destroying-stdin', 'listen after stdin was destroyed', async (t, env) => {
  const outcome = await run(env, `
    process.stdin.destroy()
    await once(process.stdin, 'close')
    const server = net.createServer((socket) => { socket.end('x'); server.close() })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    net.connect(server.address().port, '127.0.0.1').on('data', (data) => console.log(String(data)))`)
  t.match(outcome, { code: 0, out: 'x' })
})

both('connect-econnrefused connect-handle-econnrefused', 'an error that nobody listens to ends the process',
  async (t, env) => {
    const outcome = await run(env, 'net.connect(1, "127.0.0.1")')
    t.equal(outcome.code, 1)
    t.match(outcome.errors, /ECONNREFUSED 127\.0\.0\.1:1/)
  })

both('connect-memleak', 'sockets that connected are collected', async (t, env) => {
  const outcome = await run(env, `
    const server = net.createServer((socket) => socket.end())
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    let gone = 0
    const registry = new FinalizationRegistry(() => { gone++ })
    async function cycle() {
      const socket = net.connect(server.address().port, '127.0.0.1', () => undefined).resume()
      registry.register(socket, 0)
      await once(socket, 'close')
    }
    for (let i = 0; i < 20; i++) await cycle()
    for (let i = 0; i < 100 && gone < 18; i++) {
      gc()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    console.log(gone >= 18)
    server.close()`, ['--expose-gc'])
  t.match(outcome, { code: 0, out: 'true' })
})

both('autoselectfamily-commandline-option autoselectfamily-attempt-timeout-cli-option',
  'options of the command line', async (t, env) => {
    const code = `console.log(
      net.getDefaultAutoSelectFamily(), net.getDefaultAutoSelectFamilyAttemptTimeout())`
    t.match(await run(env, code, ['--no-network-family-autoselection']), { code: 0, out: /^false / })
    const timed = await run(env, code, ['--network-family-autoselection-attempt-timeout=123'])
    t.match(timed, { code: 0, out: /^true 1230?$/ })
  })

both('child-process-connect-reset', 'a process that dies resets nothing that it has ended',
  async (t, env) => {
    const gone = await run(env, `${PAIR}
      client.on('error', (error) => console.log(error.code))
      peer.resetAndDestroy()
      server.close()`)
    t.match(gone, { code: 0, out: 'ECONNRESET' })
  })

both('perf_hooks', 'performance entries of type net', async (t, env) => {
  const outcome = await run(env, `
    import { PerformanceObserver } from 'node:perf_hooks'
    const entries = []
    const observer = new PerformanceObserver((list) => { entries.push(...list.getEntries()) })
    observer.observe({ type: 'net' })
    ${PAIR}
    await new Promise((resolve) => setTimeout(resolve, 50))
    console.log(entries.map(({ name }) => name).join())
    for (const one of [client, peer, server]) one.unref()`)
  // The observers of a kind of entry are known only to Node itself.
  t.match(outcome, { code: 0, out: env.ours ? '' : 'connect' })
})

both('server-close', 'a server that closes lets beforeExit come once more', async (t, env) => {
  const outcome = await run(env, `
    process.once('beforeExit', () => {
      const server = net.createServer().listen(0, '127.0.0.1', () => {
        server.close()
        process.once('beforeExit', () => console.log('again'))
      })
    })`)
  t.match(outcome, { code: 0, out: 'again' })
})

both('connect-destroy', 'connects, ends and long writes are async resources', async (t, env) => {
  const outcome = await run(env, `
    import { createHook, executionAsyncId } from 'node:async_hooks'
    const alive = new Map()
    const ended = []
    createHook({
      init(id, type) { if (/^(TCPCONNECT|SHUTDOWN|WRITE)WRAP$/.test(type)) alive.set(id, type) },
      destroy(id) { if (alive.has(id)) ended.push(alive.get(id)) },
    }).enable()
    ${PAIR}
    peer.resume()
    client.write(Buffer.alloc(32 << 20), () => {
      const within = alive.get(executionAsyncId())
      client.end(() => {
        server.close()
        peer.end()
        peer.on('close', () => setTimeout(() => {
          console.log(within, ended.includes('TCPCONNECTWRAP'), ended.includes('SHUTDOWNWRAP'))
        }, 20))
      })
    })`)
  t.match(outcome, { code: 0, out: 'WRITEWRAP true true' })
})

both('server-out-of-descriptors', 'a server that is out of descriptors sends clients away, and goes on',
  async (t, { ours }) => {
    const code = `import * as net from ${JSON.stringify(ours ? OURS : 'node:net')}
      const server = net.createServer((socket) => { socket.on('error', () => undefined).pipe(socket) })
      server.listen(0, '127.0.0.1', () => { console.log(server.address().port) })
      process.stdin.on('end', () => { process.exit(0) }).resume()`
    const args = ['-c', 'ulimit -n 60 && exec "$@"', 'sh', process.execPath, '--input-type=module', '-e', code]
    const child = spawn('sh', args, { stdio: ['pipe', 'pipe', 'ignore'] })
    const ended = once(child, 'exit')
    const [text] = await once(child.stdout, 'data') as [Buffer]
    const port = Number(String(text))
    const sockets: Socket[] = []
    const ask = (): Promise<boolean> => new Promise((resolve) => {
      const socket = nodeNet.connect(port, '127.0.0.1')
      sockets.push(socket)
      socket.on('connect', () => { socket.write('x') }).on('error', () => undefined)
      socket.on('data', () => { resolve(true) }).on('close', () => { resolve(false) })
    })
    const served = (await Promise.all(Array.from({ length: 120 }, ask))).filter(Boolean).length
    t.ok(served > 5 && served < 60, `${served} of 120 are served, and the others told`)
    for (const socket of sockets) socket.destroy()
    while (!await ask()) await sleep(20)
    for (const socket of sockets) socket.destroy()
    child.stdin.end()
    t.strictSame(await ended, [0, null])
  })
