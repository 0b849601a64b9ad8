/** The WebSocket driver: presence, absence, opening, accepting, sending and closing, over each carrier. */
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { WebSocket } from 'ws'
import {
  _, abort, deleteEndpoint, endpoint, groundVm, quit, sendMessage, spawn, webSocket, wsAddress, wsChannel, wsClose,
  wsClosed, wsConnected, wsHandle, wsListener, wsPeer, type WsChannel, type WsPeer,
} from 'marketplace-native'
import { freePort, pattern, sleep, until } from '../support/util.js'
import { onEachCarrier, RawClient, server, type WsProgram } from './web-socket-program.js'
import { anyWsAddress } from '../support/unchecked.js'

const echo = (program: WsProgram, who = 'session') => (them: WsPeer, us: unknown) =>
  endpoint.subscriber(wsChannel(them, us as never, _), {
    ...program.notes(who, ({ message }) => sendMessage(wsChannel(us as never, them, message))),
    onAbsence: (topic: WsChannel, _state: unknown, reason: unknown) => {
      program.heard.push({ who, what: 'absence', topic, reason })
      return quit()
    },
  })

async function client(url: string, protocols: string[] = [], options = {}): Promise<WebSocket> {
  const socket = new WebSocket(url, protocols, options)
  socket.on('error', () => undefined)
  await once(socket, 'open')
  return socket
}

async function roundTrip(socket: WebSocket, message: string | Buffer): Promise<string | Buffer> {
  const answer = once(socket, 'message') as Promise<[Buffer, boolean]>
  socket.send(message)
  const [data, isBinary] = await answer
  return isBinary ? data : data.toString()
}

onEachCarrier('echo: strings stay strings, bytes stay bytes, of all lengths', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const socket = await client(await program.url())
  for (const size of [0, 1, 125, 126, 127, 65_535, 65_536, 1 << 20]) {
    const bytes = pattern(size)
    t.ok(bytes.equals(await roundTrip(socket, bytes) as Buffer), `${size} bytes`)
    const text = 'é'.repeat(size / 2)
    t.ok(await roundTrip(socket, text) === text, `${size / 2} letters`)
  }
  t.equal(await roundTrip(socket, 'Grüße, 世界 🎈'), 'Grüße, 世界 🎈')
  socket.close(4001, 'enough')
  const reason = await program.reason('session')
  t.ok(wsClosed.is(reason))
  t.same([reason.code, reason.reason, reason.error], [4001, 'enough', undefined])
})

onEachCarrier('what came stays as it is, for as long as the program keeps it', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const socket = await client(await program.url())
  const sent = Array.from({ length: 50 }, (_value, i) => pattern(100 + i * 700, i + 1))
  for (const bytes of sent) await roundTrip(socket, bytes)
  const kept = program.messages('session') as Buffer[]
  t.equal(kept.length, sent.length)
  t.ok(kept.every((bytes, i) => bytes.equals(sent[i])), 'also after many more have come')
  socket.terminate()
})

onEachCarrier('the presence tells of the request', async (t, start, carrier) => {
  const program = start((program) => server(echo(program), '/room/7'), {
    headers: ['user-agent', 'cookie'], protocols: ['v2', 'v1'],
  })
  const url = new URL(await program.url())
  url.search = '?name=ann&x=%20'
  const socket = await client(url.href, ['v1', 'v2', 'v3'], {
    headers: { 'user-agent': 'test', 'x-other': 'secret', cookie: 'a=1' }, origin: 'https://example.org',
  })
  t.equal(socket.protocol, 'v2', 'the one that the server likes best')
  await until(() => program.all('session', 'presence').length === 1)
  const { source, destination } = program.all('session', 'presence')[0].topic
  t.ok(wsPeer.is(source))
  const { request } = source as WsPeer
  t.match(request, {
    address: '127.0.0.1', path: '/room/7', query: 'name=ann&x=%20', origin: 'https://example.org', host: url.host,
    secure: false, offered: ['v1', 'v2', 'v3'], protocol: 'v2', verified: undefined,
  })
  t.same(request.headers, { 'user-agent': 'test', cookie: 'a=1' }, 'the headers that were asked for')
  t.type(request.port, carrier === 'ws' ? 'number' : 'undefined')
  t.same([(destination as { port: number }).port, (destination as { path: string }).path], [0, '/room/7'])
  socket.terminate()
})

onEachCarrier('paths: one port for all, the longest that fits, 404 for others', async (t, start) => {
  const program = start((program) => [
    server(echo(program, 'one'), '/one'), server(echo(program, 'below'), '/below/*'),
    server(echo(program, 'deep'), '/below/deep/*'),
  ])
  await until(() => program.where.size === 3)
  const ports = new Set([...program.where].map((url) => new URL(url).port))
  t.equal(ports.size, 1)
  const base = `ws://127.0.0.1:${[...ports][0]}`
  const paths = [['/one', 'one'], ['/below/', 'below'], ['/below/x/y', 'below'], ['/below/deep/z', 'deep']]
  for (const [path, who] of paths) {
    const socket = await client(base + path)
    await until(() => program.all(who, 'presence').length > 0)
    program.heard.length = 0
    socket.terminate()
  }
  for (const path of ['/', '/two', '/one/', '/below', '/one*', '/below/*']) {
    t.equal((await RawClient.open(base + path)).status, 404, path)
  }
})

onEachCarrier('a listener goes: new ones are refused, who is connected stays; it can come back', async (t, start) => {
  const port = await freePort()
  const program = start((program) => [server(echo(program), '/a', port), server(echo(program), '/b', port)])
  await until(() => program.where.size === 2)
  const url = [...program.where].find((one) => one.endsWith('/a')) as string
  const socket = await client(url)
  await roundTrip(socket, 'there')
  program.do(deleteEndpoint('server of /a'))
  await until(() => program.where.size === 1)
  t.equal((await RawClient.open(url)).status, 404)
  t.equal(await roundTrip(socket, 'still'), 'still')
  program.do(deleteEndpoint('server of /b'))
  await until(() => program.where.size === 0)
  await t.rejects(RawClient.open(url), { code: 'ECONNREFUSED' })
  t.equal(await roundTrip(socket, 'here'), 'here')
  program.do(server(echo(program), '/a', port))
  await until(() => program.where.size === 1)
  t.equal(await roundTrip(await client(url), 'again'), 'again')
  socket.terminate()
})

onEachCarrier('a port in use is told, and nobody else is concerned', async (t, start) => {
  const first = start((program) => server(echo(program)))
  const port = await first.port()
  const second = start((program) => [server(echo(program), '/', port), server(echo(program), '/b')])
  await until(() => second.errors.length > 0 && second.where.size > 0)
  const [{ local, remote, error }] = second.errors
  t.equal((local as { port: number }).port, port)
  t.equal(remote, undefined)
  t.match(error, { code: 'EADDRINUSE', syscall: 'listen', port })
  t.equal(await roundTrip(await client(await second.url()), 'x'), 'x')
})

onEachCarrier('listening needs an answer to which origins may connect', async (t, start) => {
  const program = start((program) => server(echo(program)), { origins: undefined })
  await until(() => program.errors.length > 0)
  t.match(program.errors[0].error.message, /options\.origins must be said/)
})

onEachCarrier('the program closes: its code and reason; what was sent before goes first', async (t, start) => {
  const program = start(() => server((them, us) => [
    endpoint.subscriber(wsChannel(them, us, _), { onAbsence: () => quit() }),
    sendMessage(wsChannel(us, them, 'one')), sendMessage(wsChannel(us, them, 'two')),
    sendMessage(wsChannel(us, them, wsClose(4321, 'bye 世界'))), sendMessage(wsChannel(us, them, 'too late')),
  ]))
  const raw = await RawClient.open(await program.url())
  t.same(await raw.closed(), { code: 4321, reason: 'bye 世界' })
  t.same(raw.texts, ['one', 'two'])
  raw.close(4321)
  await until(() => raw.ended)
})

onEachCarrier('a session that quits is 1000, one that throws 1011; abort is no close at all', async (t, start) => {
  const program = start((program) => server((them, us) =>
    endpoint.subscriber(wsChannel(them, us, _), program.notes('session', ({ message }) => {
      if (message === 'quit') return quit()
      if (message === 'abort') return sendMessage(wsChannel(us, them, abort))
      if (message === 'wrong') return sendMessage(wsChannel(us, them, 5 as never))
      if (message === 'nothing') return sendMessage(wsChannel(us, them, undefined as never))
      throw new Error('secret')
    }))))
  const other = await RawClient.open(await program.url())
  for (const [word, code] of [['quit', 1000], ['throw', 1011], ['wrong', 1011]] as const) {
    const raw = await RawClient.open(await program.url())
    raw.text(word)
    t.same(await raw.closed(), { code, reason: '' }, word)
    raw.close(code)
  }
  const raw = await RawClient.open(await program.url())
  raw.text('nothing')
  await until(() => program.messages('session').includes('nothing'))
  t.notOk(raw.ended, 'a message that is nothing sends nothing')
  raw.text('abort')
  t.equal(await raw.closed(), undefined)
  t.notOk(other.ended, 'nobody else has noticed')
  other.destroy()
})

onEachCarrier('ends: a lost connection, a close without a code, one behind a message', async (t, start, carrier) => {
  const program = start((program) => server(echo(program)))
  const url = await program.url()
  const reasonOf = async (deed: (raw: RawClient) => void) => {
    program.heard.length = 0
    const raw = await RawClient.open(url)
    await until(() => program.all('session', 'presence').length === 1)
    deed(raw)
    const { code, reason, error } = await program.reason('session')
    raw.destroy()
    return [code, reason, error?.code]
  }
  t.same(await reasonOf((raw) => { raw.socket.resetAndDestroy() }), [1006, '', 'ECONNRESET'])
  t.same(await reasonOf((raw) => { raw.socket.end() }), [1006, '', 'ECONNRESET'])
  t.same(await reasonOf((raw) => { raw.send(8) }), [1005, '', undefined])
  t.same(await reasonOf((raw) => { raw.close(1001, 'leaving') }), [1001, 'leaving', undefined])
  t.same(await reasonOf((raw) => {
    raw.text('x')
    raw.close(4999)
  }), [4999, '', undefined])
  // uWebSockets.js knows codes up to 1011 and from 4000 on.
  const unknown = carrier === 'ws' ? [3000, '', undefined] : [1006, '', 'ECONNRESET']
  t.same(await reasonOf((raw) => { raw.close(3000) }), unknown)
})

onEachCarrier('a client of ours: presence, what was answered, echo, and the close of the server', async (t, start) => {
  const there = start((program) => server((them, us) => [
    endpoint.subscriber(wsChannel(them, us, _), program.notes('session', ({ message }) =>
      message === 'close' ? sendMessage(wsChannel(us, them, wsClose(4000, 'you said so')))
        : sendMessage(wsChannel(us, them, message)))),
  ], '/path'), { protocols: ['chat'], headers: ['authorization'] })
  const remote = wsAddress(await there.url())
  const local = wsHandle('out')
  let answer: unknown
  const here = start((program) => [
    endpoint.subscriber(wsConnected(local, _, _), { onPresence: (topic) => { answer = topic.answer } }),
    endpoint.subscriber(wsChannel(remote, local, _), program.notes('client')),
  ], { connect: { protocols: ['chat', 'other'], headers: { authorization: 'Bearer x' } } })
  await until(() => here.all('client', 'presence').length === 1)
  t.same(answer, { protocol: 'chat', compressed: false })
  const { request } = there.all('session', 'presence')[0].topic.source as WsPeer
  t.same(request.headers, { authorization: 'Bearer x' })
  t.equal(request.origin, undefined)
  const long = pattern(300_000)
  here.do(...['one', 'zwölf', long, 'close'].map((message) => sendMessage(wsChannel(local, remote, message))))
  const { code, reason, error } = await here.reason('client')
  t.same([code, reason, error], [4000, 'you said so', undefined])
  t.same(here.messages('client').slice(0, 2), ['one', 'zwölf'])
  t.ok(long.equals(here.messages('client')[2] as Buffer))
})

onEachCarrier('a connect that fails is told: nobody there, no WebSocket there, no URL', async (t, start) => {
  const there = start((program) => server(echo(program), '/right'))
  const url = (await there.url()).replace('right', 'wrong')
  const urls = ['ws://127.0.0.1:1/', url, 'http://127.0.0.1/', 'nonsense']
  const here = start(() => urls.map((one, i) => endpoint.subscriber(wsChannel(anyWsAddress(one), wsHandle(i), _))))
  await until(() => here.errors.length === urls.length)
  const errorOf = (one: string) =>
    here.errors.find(({ remote }) => remote?.url === one)?.error as Error & { code: string }
  t.equal(errorOf(urls[0]).code, 'ECONNREFUSED')
  t.match(errorOf(urls[1]).message, /404/)
  for (const one of urls.slice(2)) t.equal(errorOf(one).code, 'ERR_INVALID_ARG_TYPE')
})

onEachCarrier('a handle: given up while connecting, closed with its last endpoint, used again', async (t, start) => {
  const there = start((program) => server(echo(program)))
  const remote = wsAddress(await there.url())
  const local = wsHandle(1)
  const here = start(() => [])
  here.do(endpoint.subscriber(wsChannel(remote, local, _), here.notes('early')), deleteEndpoint('early'))
  for (const who of ['first', 'second']) {
    here.do(endpoint.subscriber(wsChannel(remote, local, _), here.notes(who)))
    await until(() => here.all(who, 'presence').length === 1)
    here.do(sendMessage(wsChannel(local, remote, who)))
    await until(() => here.messages(who).length === 1)
    here.do(deleteEndpoint(who))
    await until(() => there.all('session', 'absence').length === there.all('session', 'presence').length)
  }
  t.same(there.messages('session'), ['first', 'second'])
  t.same(there.all('session', 'absence').map(({ reason }) => (reason as { code: number }).code).slice(-2), [1000, 1000])
  t.same(here.errors, [])
})

onEachCarrier('the first messages wait for the process that is started for a connection', async (t, start, carrier) => {
  const program = start((program) => server(echo(program)))
  const raw = await RawClient.connect(await program.url())
  raw.ask('/')
  // uWebSockets.js leaves out what comes before it has answered, which no client may send.
  if (carrier === 'uws') await until(() => raw.response !== '')
  for (let i = 0; i < 20; i++) raw.text(String(i))
  await until(() => raw.texts.length === 20)
  t.same(program.messages('session'), Array.from({ length: 20 }, (_value, i) => String(i)))
  raw.destroy()
})

onEachCarrier('many sockets at once: each gets its own, in order', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const url = await program.url()
  const clients = await Promise.all(Array.from({ length: 100 }, () => RawClient.open(url)))
  for (let round = 0; round < 20; round++) {
    clients.forEach((raw, i) => { raw.text(`${i}:${round}`) })
    if (round % 5 === 0) await sleep(1)
  }
  await until(() => clients.every(({ texts }) => texts.length === 20))
  t.ok(clients.every(({ texts }, i) => texts.every((text, round) => text === `${i}:${round}`)))
  for (const raw of clients) raw.destroy()
  await until(() => program.all('session', 'absence').length === 100)
})

onEachCarrier('shutdown: 1001 for all, no new ones, and the report counts them', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const url = await program.url()
  const clients = await Promise.all(Array.from({ length: 20 }, () => client(url)))
  const silent = await RawClient.open(url)
  await until(() => program.all('session', 'presence').length === 21)
  const closed = clients.map((socket) => once(socket, 'close') as Promise<[number]>)
  const report = program.vm.shutdown({ drainMs: 300 })
  for (const one of closed) t.equal((await one)[0], 1001)
  await t.rejects(RawClient.open(url), { code: 'ECONNREFUSED' })
  const { ended, aborted } = await report
  t.equal(ended + aborted, 21)
  t.same(await silent.closed(), { code: 1001, reason: '' })
  await until(() => silent.ended)
})

onEachCarrier('stop: who is connected hears 1001, and the program ends', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const socket = await client(await program.url())
  const closed = once(socket, 'close') as Promise<[number]>
  await program.vm.stop()
  t.equal((await closed)[0], 1001)
})

onEachCarrier('the ground VM ends when nobody listens, and nobody is connected', async (t, start) => {
  const program = start((program) => server(echo(program)))
  const socket = await client(await program.url())
  await roundTrip(socket, 'there')
  program.do(deleteEndpoint('server of /'))
  program.letGo()
  await sleep(50)
  t.notOk(program.ended, 'somebody is connected yet')
  socket.close()
  await program.vm
})

void t.test('a second driver in one VM ends with an error', async (t) => {
  const reasons: unknown[] = []
  await groundVm(() => [
    webSocket(), spawn(() => endpoint.subscriber('x', { onMessage: () => undefined })),
    webSocket(), spawn(() => [sendMessage('x'), quit()]),
  ]).stop()
  t.same(reasons, [])
})

void t.test('auto: where uWebSockets.js is not installed, the log says so, and ws carries', async (t) => {
  const hook = `export const resolve = (name, context, next) => {
    if (name !== 'uWebSockets.js') return next(name, context)
    throw Object.assign(new Error('nowhere'), { code: 'ERR_MODULE_NOT_FOUND' })
  }`
  const program = (carrier: string): string => `
    import { register } from 'node:module'
    register('data:text/javascript,' + encodeURIComponent(${JSON.stringify(hook)}))
    const { _, endpoint, groundVm, quit, spawn, webSocket, wsChannel, wsError, wsListener, wsListening } =
      await import('marketplace-native')
    await groundVm(() => [webSocket({ host: '127.0.0.1', origins: '*', carrier: '${carrier}' }), spawn(() => [
      endpoint.subscriber(wsChannel(_, wsListener(0, '/'), _)),
      endpoint.subscriber(wsListening(_, _), { onPresence: () => { console.log('listening'); return quit() } }),
      endpoint.subscriber(wsError(_, _, _), {
        onMessage: ({ error }) => { console.log(error.message); return quit() },
      }),
    ])])`
  const run = (carrier: string) => spawnSync(process.execPath, ['--input-type=module', '-e', program(carrier)], {
    encoding: 'utf8', env: { ...process.env, MARKETPLACE_LOG: 'info', NODE_OPTIONS: '' },
    cwd: fileURLToPath(new URL('../../..', import.meta.url)),
  })
  const auto = run('auto')
  t.equal(auto.stdout, 'listening\n')
  t.match(auto.stderr, /WebSockets are carried by ws reason=.*it is not installed/)
  t.match(run('uws').stdout, /uWebSockets\.js can't be used: it is not installed/)
})

void t.test('in a thread uWebSockets.js is left alone: the process would end with the thread', (t) => {
  const thread = `
    import { parentPort, workerData } from 'node:worker_threads'
    import { _, endpoint, groundVm, spawn, webSocket, wsChannel, wsError, wsListener, wsListening }
      from 'marketplace-native'
    const say = (text) => { parentPort.postMessage(text) }
    groundVm(() => [webSocket({ host: '127.0.0.1', origins: '*', carrier: workerData }), spawn(() => [
      endpoint.subscriber(wsChannel(_, wsListener(0, '/'), _)),
      endpoint.subscriber(wsListening(_, _), { onPresence: () => { say('listening') } }),
      endpoint.subscriber(wsError(_, _, _), { onMessage: ({ error }) => { say(error.message) } }),
    ])])`
  const file = join(t.testdir(), 'thread.mjs')
  const library = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)
  writeFileSync(file, thread.replace("'marketplace-native'", library))
  const main = `
    import { Worker } from 'node:worker_threads'
    for (const workerData of ['auto', 'uws']) {
      const worker = new Worker(${JSON.stringify(file)}, { workerData, execArgv: [] })
      console.log(await new Promise((resolve) => worker.once('message', resolve)))
      console.log(await worker.terminate())
    }`
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', main], {
    encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '' },
  })
  // The second one has nothing to do any more: it may end by itself before it is told to.
  t.match(stdout, /^listening\n1\nuWebSockets\.js can't be used: this is a thread,.*\n[01]\n$/)
  t.notMatch(stderr, /open handles|Assertion/)
  t.equal(status, 0)
  t.end()
})

void t.test('wrong records and options say what is wrong', async (t) => {
  const wrong = (call: () => unknown, text: RegExp): void => {
    t.throws(call, { message: text })
  }
  wrong(() => wsListener(70_000, '/'), /port must be an integer/)
  wrong(() => wsListener(80, 'chat'), /path must be a path/)
  wrong(() => wsListener(80, '/a b'), /path must be/)
  wrong(() => wsListener(80, '/a?b'), /path must be/)
  wrong(() => wsListener(80, '/a*'), /path must be/)
  wrong(() => wsListener(80, '/*/b'), /path must be/)
  const codes = [0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 1000.5, NaN]
  for (const code of codes) wrong(() => wsClose(code, ''), /code must be/)
  wrong(() => wsClose('1000' as never, ''), /code must be/)
  wrong(() => wsClose(1000, 'é'.repeat(62)), /reason must be/)
  t.doesNotThrow(() => wsClose(1000, 'é'.repeat(61)))
  wrong(() => webSocket({ orgins: '*' } as never), /did you mean 'origins'/)
  wrong(() => webSocket({ origins: ['example.org'] }), /options\.origins must be/)
  wrong(() => webSocket({ origins: ['https://example.org/'] }), /options\.origins must be/)
  wrong(() => webSocket({ key: 'x' }), /both of key and cert/)
  wrong(() => webSocket({ pingInterval: 10, idleTimeout: 10 }), /pingInterval must be less than idleTimeout/)
  wrong(() => webSocket({ port: 80 } as never), /ports and paths are no options/)
  wrong(() => webSocket({ compression: { level: 3 } as never }), /unknown option 'level'/)
  wrong(() => webSocket({ headers: ['User-Agent'] }), /lower case/)
  wrong(() => webSocket({ carrier: 'http' as never }), /'auto', 'uws' or 'ws'/)
})
