/** The balancer between real clients and real servers: who gets what, and what happens when one goes. */
import { onBoth, type Program, type Start } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { createServer as createHttpServer } from 'node:http'
import { createServer, type AddressInfo, type Socket } from 'node:net'
import { sendMessage, tcpAddress, timerDriver, type TcpAddress } from 'marketplace-native'
import type { Test } from 'tap'
import { balancer, driverOptions, type BalancerOptions } from '../../examples/balancer/balance.js'
import { addBackend, drainBackend } from '../../examples/balancer/records.js'
import { client, freePort, missing, pattern, readAll, runProgram, until } from '../support/util.js'

/** A server that counts whom it got, and can be done away with at once. */
class Backend {
  readonly sockets = new Set<Socket>()
  connections = 0
  readonly server

  constructor(serve: (socket: Socket) => void) {
    this.server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.sockets.add(socket)
      socket.on('error', () => undefined).on('close', () => this.sockets.delete(socket))
      // Checks of its health connect, and say nothing.
      socket.once('readable', () => { if (socket.readableLength > 0) this.connections++ })
      serve(socket)
    })
  }

  async listen(t: Test, port = 0): Promise<this> {
    this.server.listen(port, '127.0.0.1')
    await once(this.server, 'listening')
    t.teardown(() => { this.kill() })
    return this
  }

  get at(): TcpAddress {
    return tcpAddress('127.0.0.1', (this.server.address() as AddressInfo).port)
  }

  kill(): void {
    this.server.close()
    for (const socket of this.sockets) socket.resetAndDestroy()
  }
}

/** Sends back what it gets, after its name. */
const echo = (name: string) => new Backend((socket) => {
  socket.write(name)
  socket.pipe(socket)
})

interface Running {
  readonly program: Program
  readonly port: number
  readonly log: string[]
  readonly logged: (text: string | RegExp, times?: number) => Promise<void>
}

async function run(start: Start, options: Omit<BalancerOptions, 'log'>): Promise<Running> {
  const log: string[] = []
  const program = start(
    () => [timerDriver(), balancer(0, { interval: 50, ...options, log: (text) => log.push(text) })],
    { driver: 'tcp', ...driverOptions },
  )
  const logged = (text: string | RegExp, times = 1) =>
    until(() => log.filter((line) => line.search(text) >= 0).length >= times)
  const port = await program.port()
  await logged(/is up/, options.backends.length)
  return { program, port, log, logged }
}

/** Who answers. */
async function ask(port: number): Promise<string> {
  const socket = await client(port)
  socket.end('?')
  return (await readAll(socket)).toString()
}

onBoth('in turns; who has gone is left out, and comes back', async (t, start) => {
  const servers = await Promise.all(['a', 'b', 'c'].map((name) => echo(name).listen(t)))
  const { program, port, logged } = await run(start, { backends: servers.map(({ at }) => at) })
  const six = async () => {
    const answers: string[] = []
    for (let n = 0; n < 6; n++) answers.push(await ask(port))
    return answers.sort().join(' ')
  }
  t.equal(await six(), 'a? a? b? b? c? c?')
  const { at } = servers[1]
  servers[1].kill()
  await logged(`backend 127.0.0.1:${at.port} is down`)
  t.equal(await six(), 'a? a? a? c? c? c?')
  await echo('B').listen(t, at.port)
  await logged(`backend 127.0.0.1:${at.port} is up`, 2)
  t.match(await six(), 'B?')
  const late = await echo('d').listen(t)
  program.do(sendMessage(addBackend(late.at)))
  await logged(`backend 127.0.0.1:${late.at.port} is up`)
  t.match(await six(), 'd?')
})

onBoth('to the one with the fewest clients', async (t, start) => {
  const [a, b] = [await echo('a').listen(t), await echo('b').listen(t)]
  const { program, port } = await run(start, { backends: [a.at, b.at], strategy: 'least-connections' })
  const open: Socket[] = []
  const come = async () => {
    const socket = await client(port)
    open.push(socket)
    const [name] = await once(socket, 'data') as [Buffer]
    return name.toString()
  }
  const names = [await come(), await come(), await come(), await come()]
  t.equal(names.join('').replace(/b/g, '').length, 2)
  const leaving = open.filter((_socket, index) => names[index] === 'a')
  for (const socket of leaving) socket.end()
  await until(() => a.sockets.size === 0 && program.connections === 4)
  t.equal(await come() + await come(), 'aa', 'they were free')
  for (const socket of open) socket.destroy()
})

onBoth('a connect that fails: the next backend gets every byte', async (t, start) => {
  const servers = await Promise.all(['a', 'b', 'c'].map((name) => echo(name).listen(t)))
  // So rarely checked that clients are the first to notice.
  const { port, log } = await run(start, { backends: servers.map(({ at }) => at), interval: 60_000 })
  servers[0].kill()
  servers[1].kill()
  const said = pattern(300_000)
  const talks = await Promise.all(Array.from({ length: 10 }, async () => {
    const socket = await client(port)
    socket.end(said)
    return readAll(socket)
  }))
  for (const heard of talks) t.ok(heard.equals(Buffer.concat([Buffer.from('c'), said])))
  t.ok(log.some((line) => /^client 127.0.0.1:\d+ not to .*ECONNREFUSED/.test(line)), 'the log tells of it')
  servers[2].kill()
  t.equal(await ask(port).catch(() => ''), '', 'nobody is left')
  t.match(log, [/./, /./])
  t.ok(log.some((line) => line.includes('turned away: there is no backend')))
})

onBoth('one of three is killed under load: only what was in it is lost', async (t, start) => {
  const servers = ['a', 'b', 'c'].map((name) => createHttpServer((_request, response) => {
    setTimeout(() => response.end(name), 5)
  }))
  for (const server of servers) {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    t.teardown(() => { server.close().closeAllConnections() })
  }
  const ports = servers.map((server) => (server.address() as AddressInfo).port)
  const backends = ports.map((port) => tcpAddress('127.0.0.1', port))
  const { port, log, logged } = await run(start, { backends, interval: 200 })
  const lost: string[] = []
  let done = 0
  let over = false
  const worker = async () => {
    while (!over) {
      const socket = await client(port)
      const { port: mine } = socket.address() as AddressInfo
      socket.on('error', () => undefined).write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
      const answer = await readAll(socket).catch(() => Buffer.alloc(0))
      socket.destroy()
      if (/\r\n\r\n[abc]$/.test(answer.toString())) done++
      else lost.push(`client 127.0.0.1:${mine} to 127.0.0.1:${ports[1]}`)
    }
  }
  const workers = Array.from({ length: 20 }, worker)
  await until(() => done > 300)
  servers[1].close()
  servers[1].closeAllConnections()
  await logged(`backend 127.0.0.1:${ports[1]} is down`)
  const before = done
  await until(() => done > before + 300)
  over = true
  await Promise.all(workers)
  t.comment(`${done} requests answered, ${lost.length} lost`)
  t.strictSame(lost.filter((line) => !log.includes(line)), [], 'each that was lost was with the one killed')
  t.ok(lost.length <= 20, 'no more than there were at that moment')
})

onBoth('drain: who is there stays to the last byte, new ones go elsewhere', async (t, start) => {
  const said = pattern(4_000_000)
  const servers = await Promise.all(['a', 'b', 'c'].map((name) => echo(name).listen(t)))
  const { program, port, logged } = await run(start, { backends: servers.map(({ at }) => at) })
  const open = await Promise.all(Array.from({ length: 6 }, () => client(port)))
  const heard = open.map(readAll)
  for (const socket of open) socket.write(said.subarray(0, 2_000_000))
  await until(() => servers.every(({ connections }) => connections === 2))
  program.do(sendMessage(drainBackend(servers[0].at)))
  await logged(`127.0.0.1:${servers[0].at.port} gets no more clients`)
  for (let n = 0; n < 6; n++) t.match(await ask(port), /^[bc]\?$/)
  for (const socket of open) socket.end(said.subarray(2_000_000))
  const names = (await Promise.all(heard)).map((bytes) => {
    t.ok(bytes.subarray(1).equals(said), 'not a byte is lost')
    return String.fromCharCode(bytes[0])
  })
  t.equal(names.sort().join(''), 'aabbcc')
  await logged(`127.0.0.1:${servers[0].at.port} has no clients left`)
  t.equal(servers[0].connections, 2)
})

onBoth('a slow reader holds up who sends, and memory is bounded', async (t, start) => {
  const said = pattern(48 * 1024 * 1024)
  for (const slow of ['client', 'backend']) {
    const server = await new Backend((socket) => {
      if (slow === 'client') socket.once('data', () => socket.end(said))
      else socket.pause()
    }).listen(t)
    const { program, port } = await run(start, { backends: [server.at], interval: 60_000 })
    const socket = await client(port)
    if (slow === 'client') socket.pause().write('go')
    else socket.end(said)
    const [{ metrics }] = program.transports
    const waiting = (): number => metrics.bytesIn - metrics.bytesOut
    let before = -1
    // It comes to a standstill, with no more than what one turn can read: libuv takes up to 2 MiB at once.
    await until(() => {
      const still = metrics.bytesIn > 100_000 && metrics.bytesIn === before && waiting() < 4 * 1024 * 1024
      before = metrics.bytesIn
      return still
    }, 200)
    t.ok(metrics.bytesIn < said.length, `${slow}: not all of it was read, ${waiting()} bytes wait`)
    if (slow === 'client') t.ok((await readAll(socket)).equals(said), 'and all of it comes')
    else {
      const [far] = [...server.sockets].filter(({ bytesRead }) => bytesRead > 0 || server.sockets.size === 1)
      t.ok((await readAll(far)).equals(said), 'and all of it comes')
      far.end()
    }
    socket.destroy()
    await program.stop()
  }
})

onBoth('half-closing either side is passed on; the other direction stays open', async (t, start) => {
  let far: Socket | undefined
  const server = await new Backend((socket) => {
    socket.once('data', () => { far = socket.pause() })
  }).listen(t)
  const { program, port } = await run(start, { backends: [server.at], interval: 60_000 })
  const socket = await client(port)
  socket.end('all I say')
  await until(() => far !== undefined)
  t.equal((await readAll(far!)).length, 0, 'its end has come')
  far!.write('an answer, ')
  far!.end('to who has finished')
  t.equal((await readAll(socket)).toString(), 'an answer, to who has finished')
  await until(() => program.connections === 0)
})

onBoth('a reset on either side is passed on: nobody takes a part for the whole', async (t, start) => {
  const server = await echo('x').listen(t)
  const { program, port, logged } = await run(start, { backends: [server.at], interval: 60_000 })
  const socket = await client(port)
  const heard = readAll(socket)
  socket.write('half of it')
  // Nothing else is on its way then: libuv tells of a reset that comes together with data as an end.
  const all = 'x'.length + 'half of it'.length
  await until(() => socket.bytesRead === all)
  for (const far of server.sockets) far.resetAndDestroy()
  await t.rejects(heard, { code: 'ECONNRESET' })
  await logged(/cut off: backend .*ECONNRESET/)
  const other = await client(port)
  other.write('half of it')
  await once(other, 'readable')
  await until(() => other.bytesRead === all)
  const [far] = server.sockets
  const failed = once(far, 'error')
  other.resetAndDestroy()
  t.match(await failed.catch((error: unknown) => [error]), [{ code: 'ECONNRESET' }])
  await logged(/cut off: the client: .*ECONNRESET/)
  await until(() => program.connections === 0)
})

onBoth('curl, through it', async (t, start) => {
  const body = pattern(3_000_000)
  const server = createHttpServer((request, response) => { request.pipe(response) }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.teardown(() => { server.close().closeAllConnections() })
  const at = tcpAddress('127.0.0.1', (server.address() as AddressInfo).port)
  const { port } = await run(start, { backends: [at] })
  const args = ['-sS', '-m', '15', '--data-binary', '@-', `http://127.0.0.1:${port}/`]
  const { code, stdout, stderr } = await runProgram('curl', args, body)
  t.equal(code, 0, stderr)
  t.ok(stdout.equals(body))
}, missing('curl'))

onBoth('no backend at all, and then one', async (t, start) => {
  const port = await freePort()
  const { program, port: front, logged } = await run(start, { backends: [] })
  program.do(sendMessage(addBackend(tcpAddress('127.0.0.1', port))))
  await logged(`backend 127.0.0.1:${port} is down: connect ECONNREFUSED`)
  t.equal(await ask(front).catch(() => ''), '')
  await echo('x').listen(t, port)
  await logged(`backend 127.0.0.1:${port} is up`)
  t.equal(await ask(front), 'x?')
})
