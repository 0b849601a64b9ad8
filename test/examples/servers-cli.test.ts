/** The servers of the examples as their users run them. */
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import t, { type Test } from 'tap'
import { patient } from '../support/patience.js'
import { unlessQuick } from '../support/quick.js'
import { client, freePort, readAll, until } from '../support/util.js'
import { skip as noWorkers } from '../workers/start.js'
import { get, last, say } from './http-program.js'
import { Running } from './running.js'

async function occupied(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const timeout = patient(30_000)
t.setTimeout(patient(120_000))

t.test('http and balancer together, ended by signals', { timeout }, async (t) => {
  const http = new Running(t, 'http', '--port', '0')
  const port = await http.port()
  const front = new Running(t, 'balancer', '--port', '0', '--backend', `127.0.0.1:${port}`)
  const frontPort = await front.port()
  await until(() => front.out.includes('is up'))
  t.match(await say(frontPort, get('/hello/all', last)), /hello, all\n$/)
  await until(() => http.out.includes('GET /hello/all\n'))
  front.child.stdin.write(`drain 127.0.0.1:${port}\nnonsense\nadd nowhere\n`)
  await until(() => front.out.includes('gets no more clients') && front.out.includes('not "nowhere"'))
  t.match(front.out, 'type: add HOST:PORT, drain HOST:PORT')
  front.child.stdin.write(`add 127.0.0.1:${port}\n`)
  await until(() => (front.out.match(/is up/g) ?? []).length === 2)
  const kept = await client(frontPort)
  kept.write(get('/'))
  await once(kept, 'readable')
  http.child.kill('SIGINT')
  t.match((await readAll(kept)).toString(), 'hello, world')
  kept.end()
  t.equal(await http.end(), 0)
  front.child.kill('SIGTERM')
  t.equal(await front.end(), 0)
  t.equal(http.errors, '')
})

t.test('http on workers', { timeout, skip: noWorkers }, async (t) => {
  const http = new Running(t, 'http', '--port', '0', '--workers', '2')
  const port = await http.port()
  t.match(http.out, '2 workers')
  // One stays, so the next one is another worker's.
  const kept = await client(port)
  kept.write(get('/'))
  await once(kept, 'readable')
  const answers = await Promise.all(Array.from({ length: 20 }, (_none, i) => say(port, get(`/hello/${i}`, last))))
  t.strictSame(answers.map((answer) => /hello, (\d+)\n$/.exec(answer)?.[1]), answers.map((_answer, i) => String(i)))
  t.match(await say(port, get('/crash', last)), ' 503 ')
  t.match(await say(port, get('/countdown/3', last)), /3\n.*2\n.*1\n/s)
  await until(() => http.out.includes('GET /hello/19\n') && http.out.includes('GET /hello/0\n'))
  // Whoever is being served is, to the end; who only waits is let go.
  http.child.kill('SIGTERM')
  t.match((await readAll(kept)).toString(), 'hello, world')
  kept.end()
  t.equal(await http.end(), 0)
  t.match(http.errors, /^error: process \d+ \(GET \/crash\) failed/)
})

t.test('a backend that is down is told of once, whoever finds it so', { timeout }, async (t) => {
  const lost = await freePort()
  const front = new Running(t, 'balancer', '--port', '0', '--backend', `127.0.0.1:${lost}`)
  const port = await front.port()
  await until(() => front.out.includes('is down'))
  t.equal((await readAll(await client(port)).catch(() => Buffer.alloc(0))).length, 0)
  await until(() => front.out.includes('there is no backend'))
  // As often as the one that is checked meanwhile, it was found down, too.
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  let checks = 0
  server.on('connection', (socket) => {
    checks++
    socket.destroy()
  })
  front.child.stdin.write(`add 127.0.0.1:${(server.address() as AddressInfo).port}\n`)
  await until(() => checks >= 3)
  front.child.kill('SIGTERM')
  t.equal(await front.end(), 0)
  t.equal(front.out.split('is down').length, 2)
  t.equal(front.errors, '')
})

for (const name of ['http', 'balancer', 'redis', 'mqtt', 'game', 'net-echo']) {
  const skip = ['http', 'net-echo'].includes(name) ? false : unlessQuick
  t.test(`${name}: what can't be`, { skip, timeout }, async (t) => {
    const port = await occupied(t)
    const busy = new Running(t, name, '--port', String(port))
    t.equal(await busy.end(), 1)
    const inUse = name === 'net-echo' ? 'listen EADDRINUSE: address already in use 127.0.0.1:' : 'port '
    t.match(busy.errors, new RegExp(`^error: ${inUse}${port}[^\\n]*\\n$`))
    const cases: [string[], RegExp][] = [
      [['--port', '70000'], name === 'net-echo' ? /^error: options.port should be >= 0 and < 65536/
        : /^error: --port takes a whole number from 0 to 65535, not "70000"\n$/],
      [['--prot', '1'], /^error: Unknown option '--prot'/],
      ...name !== 'game' ? [] : [
        [['--areas', '1'], /^error: --areas takes a whole number from 2 to 16, not "1"\n$/],
        [['--carrier', 'pigeon'], /^error: --carrier takes uws, ws or auto, not "pigeon"\n$/],
      ] as [string[], RegExp][],
      ...name !== 'redis' ? [] : [
        [['--workers', '2'], /^error: redis does not run on several workers: its keys are in the memory of one thread/],
      ] as [string[], RegExp][],
      ...name !== 'mqtt' ? [] : [
        [['--nats', 'http://x'], /^error: natsRelay: servers must be/], [['--node', 'a'], /^error: --node goes with/],
        [['--nats', 'x', '--node', 'a.b'], /^error: natsRelay: node must be/],
        [['--workers', '0'], /^error: --workers takes a whole number from 1 to 1024, or "auto", not "0"\n$/],
        [['--workers', 'two'], /^error: --workers takes .*, not "two"\n$/],
      ] as [string[], RegExp][],
      ...name !== 'balancer' ? [] : [
        [['--backend', 'x'], /^error: a backend is HOST:PORT, not "x"\n$/],
        [['--trust', '1.2.3'], /^error: --trust takes an address or a network such as 10.0.0.0\/8/],
        [['--send-proxy', 'v3'], /^error: --send-proxy takes v1 or v2, not "v3"\n$/],
        [['--strategy', 'luck'], /^error: --strategy takes round-robin or least-connections/],
      ] as [string[], RegExp][],
    ]
    for (const [args, message] of cases) {
      const program = new Running(t, name, ...args)
      t.equal(await program.end(), 2)
      t.match(program.errors, message)
    }
    if (name === 'balancer') t.match(busy.out, /^no backend yet: .*--backend/)
    const help = new Running(t, name, '--help')
    t.equal(await help.end(), 0)
    t.match(help.out, /^usage: /)
    if (name !== 'mqtt') return
    const workers = new Running(t, name, '--port', String(port), '--workers', '2')
    t.equal(await workers.end(), 1)
    t.match(workers.errors, new RegExp(`^error: port ${port} is in use \\(EADDRINUSE\\)\\n$`))
  })
}
