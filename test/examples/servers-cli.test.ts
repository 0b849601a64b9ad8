/** The servers of the examples as their users run them. */
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { cleanEnvironment } from '../support/cli.js'
import { client, freePort, readAll, until } from '../support/util.js'
import { get, last, say } from './http-program.js'

/** A program of the examples that runs. */
class Running {
  out = ''
  errors = ''
  code: number | string | undefined
  readonly child: ChildProcessWithoutNullStreams

  constructor(t: Test, name: string, ...args: string[]) {
    const path = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
    this.child = spawn(process.execPath, [path, ...args], { env: cleanEnvironment() })
    this.child.stdout.setEncoding('utf8').on('data', (text: string) => { this.out += text })
    this.child.stderr.setEncoding('utf8').on('data', (text: string) => { this.errors += text })
    this.child.on('close', (code, signal) => { this.code = code ?? signal ?? 'unknown' })
    t.teardown(() => this.child.kill('SIGKILL'))
  }

  async port(): Promise<number> {
    const line = /^listening on .*:(\d+)$/m
    await until(() => line.test(this.out) || this.code !== undefined)
    return Number(line.exec(this.out)?.[1])
  }

  async end(): Promise<number | string> {
    await until(() => this.code !== undefined)
    return this.code ?? ''
  }
}

async function occupied(t: Test): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => server.close())
  return (server.address() as AddressInfo).port
}

const timeout = 30_000

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

for (const name of ['http', 'balancer', 'redis', 'mqtt', 'net-echo']) {
  t.test(`${name}: what can't be`, { timeout }, async (t) => {
    const port = await occupied(t)
    const busy = new Running(t, name, '--port', String(port))
    t.equal(await busy.end(), 1)
    const inUse = name === 'net-echo' ? 'listen EADDRINUSE: address already in use 127.0.0.1:' : 'port '
    t.match(busy.errors, new RegExp(`^error: ${inUse}${port}[^\\n]*\\n$`))
    const cases: [string[], RegExp][] = [
      [['--port', '70000'], name === 'net-echo' ? /^error: options.port should be >= 0 and < 65536/
        : /^error: --port takes a whole number from 0 to 65535, not "70000"\n$/],
      [['--prot', '1'], /^error: Unknown option '--prot'/],
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
    const help = new Running(t, name, '--help')
    t.equal(await help.end(), 0)
    t.match(help.out, /^usage: /)
  })
}
