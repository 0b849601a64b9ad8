/** What flows: bytes, text and encodings, backpressure both ways, counts, corking, half-open connections. */
import { once } from 'node:events'
import { Agent, createServer as createHttpServer, get } from 'node:http'
import { text as readText } from 'node:stream/consumers'
import { pipeline } from 'node:stream/promises'
import { Readable } from 'node:stream'
import { pattern, until } from '../support/util.js'
import { both, closed, portOf, text, trace, type Socket } from './both.js'

both('pingpong', 'messages go back and forth', async (t, env) => {
  const server = await env.listen((socket) => {
    socket.setEncoding('utf8').setNoDelay()
    socket.on('data', (chunk: string) => { socket.write(chunk.replaceAll('PING', 'PONG')) })
    socket.on('end', () => socket.end())
  }, { allowHalfOpen: true })
  const client = env.connect(server)
  client.setEncoding('utf8')
  for (let round = 0; round < 300; round++) {
    client.write('PING')
    const [answer] = await once(client, 'data') as [string]
    if (answer !== 'PONG') t.fail(answer)
  }
  client.end()
  await closed(client)
  t.equal(client.bytesWritten, 1200)
  t.equal(client.bytesRead, 1200)
})

both('binary', 'every byte in every encoding', async (t, env) => {
  const server = await env.listen((socket) => { socket.pipe(socket) }, { allowHalfOpen: true })
  const all = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
  for (const encoding of ['latin1', 'binary', 'hex', 'base64', 'base64url'] as const) {
    const client = env.connect(server)
    client.setEncoding(encoding === 'binary' ? 'latin1' : 'hex')
    client.write(all.toString(encoding), encoding)
    client.end(Buffer.alloc(0))
    let got = ''
    client.on('data', (chunk: string) => { got += chunk })
    await once(client, 'end')
    t.equal(got, all.toString(encoding === 'binary' ? 'latin1' : 'hex'), encoding)
  }
})

both('binary write-fully-async-hex-string', 'text of every encoding', async (t, env) => {
  const { client, peer } = await env.pair()
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => { chunks.push(chunk) })
  const euro = '€ü𐍈'
  client.write(euro)
  client.write(euro, 'utf-8')
  client.write(euro, 'utf16le')
  client.write('ÿ', 'latin1')
  client.write('a', 'ascii')
  client.setDefaultEncoding('latin1')
  client.write('ÿ')
  client.write(euro, 'utf8')
  client.end('00ff', 'hex')
  await once(peer, 'end')
  t.equal(Buffer.concat(chunks).toString('hex'), [
    Buffer.from(euro), Buffer.from(euro), Buffer.from(euro, 'utf16le'), Buffer.from([255, 97, 255]),
    Buffer.from(euro), Buffer.from([0, 255]),
  ].map((part) => part.toString('hex')).join(''))
})

both('write-fully-async-buffer stream', 'Uint8Arrays and Buffers that share memory', async (t, env) => {
  const { client, peer } = await env.pair()
  const chunks: Buffer[] = []
  peer.on('data', (chunk: Buffer) => { chunks.push(Buffer.from(chunk)) })
  const bytes = pattern(1000)
  for (let at = 0; at < 1000; at += 100) {
    const part = new Uint8Array(bytes.buffer, bytes.byteOffset + at, 100)
    await new Promise((resolve) => client.write(part, resolve))
  }
  client.end()
  await once(peer, 'end')
  t.ok(Buffer.concat(chunks).equals(bytes))
  t.ok(chunks.every((chunk) => Buffer.isBuffer(chunk)))
})

both('large-string bytes-written-large', 'much text at once', async (t, env) => {
  const { client, peer } = await env.pair()
  const much = 'ü'.repeat(1 << 20)
  let length = 0
  peer.setEncoding('utf8').on('data', (chunk: string) => { length += chunk.length })
  client.end(much)
  await once(peer, 'end')
  t.equal(length, much.length)
  t.equal(client.bytesWritten, 2 * much.length)
  t.equal(peer.bytesRead, 2 * much.length)
})

both('socket-byteswritten bytes-stats', 'bytesWritten and bytesRead, also after close', async (t, env) => {
  const idle = new env.net.Socket()
  t.equal(idle.bytesWritten === 0 || idle.bytesWritten === undefined, true)
  t.equal(idle.bytesRead, 0)
  const { client, peer } = await env.pair()
  peer.resume()
  client.cork()
  client.write('ab')
  client.write(Buffer.from('cd'))
  client.write('00ff', 'hex')
  t.equal(client.bytesWritten, 6, 'what is corked counts')
  client.uncork()
  client.end('ü')
  await once(peer, 'end')
  t.equal(client.bytesWritten, 8)
  t.equal(peer.bytesRead, 8)
  peer.destroy()
  await closed(client.resume())
  t.equal(client.bytesWritten, 8, 'also after close')
  t.equal(peer.bytesRead, 8)
})

both('bytes-read', 'bytesRead of what is sent a byte at a time, and of nothing', async (t, env) => {
  const { client, peer } = await env.pair()
  t.equal(peer.bytesRead, 0)
  let length = 0
  peer.on('data', (chunk: Buffer) => {
    length += chunk.length
    t.equal(peer.bytesRead >= length, true, 'what is delivered has been counted')
  })
  for (let sent = 1; sent <= 50; sent++) {
    await new Promise((resolve) => client.write('x', resolve))
    t.equal(client.bytesWritten, sent)
  }
  client.end()
  await once(peer, 'end')
  t.equal(length, 50)
  t.equal(peer.bytesRead, 50)
  t.equal(client.bytesRead, 0)
})

both('access-byteswritten', 'members of the prototype can be looked at', (t, { net }) => {
  const prototype = net.Socket.prototype as unknown as Record<string, unknown>
  t.match(prototype, {
    bytesWritten: undefined, bytesRead: undefined, pending: true, bufferSize: undefined,
    remoteAddress: undefined, remoteFamily: undefined, remotePort: undefined,
    localAddress: undefined, localFamily: undefined, localPort: undefined,
  })
  const idle = new net.Socket()
  t.equal(idle.bytesRead, 0)
  t.notOk(idle.bytesWritten)
  idle.destroy()
  t.notOk(idle.bytesWritten)
})

/* eslint-disable @typescript-eslint/no-deprecated -- programs still use bufferSize */
both('buffersize', 'bufferSize is what is queued', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.pause()
  t.equal(client.bufferSize, 0)
  for (let i = 0; i < 64; i++) client.write(Buffer.alloc(1 << 17))
  t.equal(client.bufferSize, client.writableLength)
  t.ok(client.bufferSize > 0)
  t.equal(new env.net.Socket().bufferSize, undefined)
  peer.resume()
  await once(client, 'drain')
  t.equal(client.bufferSize, 0)
})

both('buffersize', 'while it connects, bufferSize is what waits', async (t, env) => {
  const server = await env.listen((socket) => socket.resume())
  const client = env.connect(server)
  for (const length of [1, 2, 3]) {
    client.write('a')
    t.equal(client.bufferSize, length)
  }
  t.ok(client.pending)
  const finished = new Promise<void>((resolve) => {
    client.once('finish', () => {
      t.equal(client.bufferSize, 0)
      resolve()
    })
  })
  client.end()
  await finished
})
/* eslint-enable @typescript-eslint/no-deprecated */

both('throttle', 'a handle that stops reading holds up the writer, until it starts', async (t, env) => {
  const { client, peer } = await env.pair()
  const { _handle } = client as unknown as { _handle: { readStop(): number, readStart(): number } }
  t.equal(_handle.readStop(), 0)
  let received = 0
  client.on('data', (data) => { received += data.length })
  let sent = 0
  const piece = pattern(1 << 20)
  while (sent < 64 << 20 && peer.write(piece)) sent += piece.length
  sent += piece.length
  const drained = once(peer, 'drain')
  const quiet = once(peer.setTimeout(200), 'timeout').then(() => ['held up'])
  const [waited] = await Promise.race([drained, quiet])
  t.equal(waited, 'held up')
  const stopped = received
  client.pause().resume()
  t.equal(received, stopped)
  t.equal(_handle.readStart(), 0)
  await drained
  peer.end()
  await once(client, 'end')
  t.equal(received, sent)
})

both('persistent-ref-unref', 'the handle knows whether it keeps the process alive', async (t, env) => {
  interface Handle { hasRef(): boolean, ref(): void, unref(): void }
  const { client } = await env.pair()
  const handle = (): Handle | null => (client as unknown as { _handle: Handle | null })._handle
  t.equal(handle()?.hasRef(), true)
  client.unref()
  t.equal(handle()?.hasRef(), false)
  handle()?.ref()
  t.equal(handle()?.hasRef(), true)
  client.destroy()
  t.equal(handle(), null)
})

both('persistent-keepalive', 'an http agent uses such a socket again', async (t, env) => {
  const server = createHttpServer((_request, response) => response.end('hello'))
  t.teardown(() => server.close())
  await once(server.listen(0, '127.0.0.1'), 'listening')
  const { port } = server.address() as { port: number }
  const agent = new Agent({ keepAlive: true })
  t.teardown(() => { agent.destroy() })
  let made = 0
  Object.assign(agent, { createConnection: () => {
    made++
    return env.own(env.net.connect(port, '127.0.0.1'))
  } })
  for (let i = 0; i < 3; i++) {
    const request = get({ port, host: '127.0.0.1', agent })
    const [response] = await once(request, 'response') as [NodeJS.ReadableStream]
    t.equal(await readText(response), 'hello')
    await new Promise(setImmediate)
  }
  t.equal(made, 1)
})

both('stream write-slow', 'write says false, and drain comes when all went', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.pause()
  let sent = 0
  while (client.write(Buffer.alloc(1 << 16))) sent++
  for (let i = 0; i < 200 && !client.write(Buffer.alloc(1 << 16)); i++) sent++
  t.equal(client.writableNeedDrain, true)
  let got = 0
  peer.on('data', (chunk: Buffer) => { got += chunk.length })
  peer.resume()
  await once(client, 'drain')
  t.equal(client.writableLength, 0)
  client.end()
  await once(peer, 'end')
  t.equal(got, client.bytesWritten)
  t.ok(got > sent)
})

both('throttle', 'who pauses is sent no more than what fits on the way', async (t, env) => {
  const { client, peer } = await env.pair()
  const bytes = pattern(6_000_000)
  client.end(bytes)
  const chunks: Buffer[] = []
  let pauses = 0
  peer.on('data', (chunk: Buffer) => {
    if (peer.isPaused()) t.fail('data while it is paused')
    chunks.push(chunk)
    if (pauses++ < 20) {
      peer.pause()
      setImmediate(() => peer.resume())
    }
  })
  await once(peer, 'end')
  t.ok(Buffer.concat(chunks).equals(bytes))
})

both('pause-resume-connecting', 'pause and resume before it is connected', async (t, env) => {
  const server = await env.listen((socket) => { socket.end('data') })
  for (const calls of [['pause'], ['resume'], ['pause', 'resume'], ['resume', 'pause']] as const) {
    const client = env.own(new env.net.Socket())
    let got = ''
    client.on('data', (chunk: Buffer) => { got += chunk.toString() })
    client.connect(portOf(server), '127.0.0.1')
    for (const call of calls) client[call]()
    await once(client, 'connect')
    if (calls.at(-1) === 'pause') {
      t.equal(client.isPaused(), true)
      for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
      t.equal(got, '', 'paused')
      client.resume()
    }
    await once(client, 'end')
    t.equal(got, 'data', calls.join(', '))
  }
})

both('server-pause-on-connect', 'pauseOnConnect', async (t, env) => {
  const server = await env.listen(undefined, { pauseOnConnect: true })
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = env.connect(server)
  client.end('waits')
  const [peer] = await accepted
  peer.on('data', () => t.ok(!peer.isPaused(), 'it was resumed'))
  t.equal(peer.isPaused(), true)
  await new Promise((resolve) => setTimeout(resolve, 20))
  t.equal(peer.bytesRead, 0, 'not even read')
  const all = text(peer)
  peer.resume()
  t.equal(await all, 'waits')
})

both('sync-cork', 'what is corked goes at once', async (t, env) => {
  const { client, peer } = await env.pair()
  let chunks = 0
  let got = ''
  peer.on('data', (chunk: Buffer) => {
    chunks++
    got += chunk.toString()
  })
  client.cork()
  for (let i = 0; i < 100; i++) client.write(String(i % 10))
  t.equal(client.writableCorked, 1)
  await new Promise((resolve) => setTimeout(resolve, 10))
  t.equal(got, '', 'corked')
  client.uncork()
  client.end()
  await once(peer, 'end')
  t.equal(chunks, 1)
  t.equal(got.length, 100)
})

both('pipe:writev', 'corked pieces of many kinds keep their order', async (t, env) => {
  const { client, peer } = await env.pair()
  client.cork()
  client.write('a')
  client.write(Buffer.from('b'))
  client.write('63', 'hex')
  client.write(new Uint8Array([100]))
  client.write('ZQ==', 'base64')
  client.end('f')
  t.equal(await text(peer), 'abcdef')
})

both('allow-half-open connect-options-allowhalfopen', 'half-open: one side ends, the other goes on',
  async (t, env) => {
    const { client, peer } = await env.pair({ allowHalfOpen: true }, { allowHalfOpen: true })
    t.equal(peer.allowHalfOpen && client.allowHalfOpen, true)
    const answer = text(client)
    client.end('question')
    t.equal(await text(peer), 'question')
    t.match(peer, { destroyed: false, writable: true, readyState: 'writeOnly' })
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve))
    peer.write('ans')
    await new Promise((resolve) => setImmediate(resolve))
    peer.end('wer')
    t.equal(await answer, 'answer')
    if (!peer.closed) await closed(peer)
  })

both('allow-half-open', 'not half-open: it ends by itself', async (t, env) => {
  const { client, peer } = await env.pair({}, { allowHalfOpen: true })
  const events = trace(peer, 'end', 'finish', 'close')
  peer.resume()
  client.resume()
  client.end()
  await closed(peer)
  t.strictSame(events, ['end', 'finish', 'close'])
})

both('access-byteswritten stream', 'a Duplex: async iteration, pipeline, readable', async (t, env) => {
  const server = await env.listen((socket) => {
    void (async () => {
      for await (const chunk of socket) socket.write(chunk as Buffer)
      socket.end()
    })()
  }, { allowHalfOpen: true })
  const bytes = pattern(500_000)
  const client = env.connect(server)
  const sent = pipeline(Readable.from([bytes.subarray(0, 300_000), bytes.subarray(300_000)]), client, {
    end: true,
  }).catch(() => undefined)
  const chunks: Buffer[] = []
  client.on('readable', () => {
    for (let chunk = client.read() as Buffer | null; chunk !== null; chunk = client.read() as Buffer | null) {
      chunks.push(chunk)
    }
  })
  await once(client, 'end')
  await sent
  t.ok(Buffer.concat(chunks).equals(bytes))
})

both('stream', 'what write says of a piece above the high-water mark that the kernel takes at once',
  async (t, env) => {
    const { client, peer } = await env.pair()
    peer.resume()
    const drains = trace(client, 'drain')
    t.equal(client.write(Buffer.alloc(20_000)), true)
    await until(() => peer.bytesRead === 20_000)
    t.strictSame(drains, [])
  })

both('write-slow', 'many small pieces in one turn: after a false there is a drain', async (t, env) => {
  const { client, peer } = await env.pair()
  peer.resume()
  const drains = trace(client, 'drain')
  for (let i = 0; i < 64; i++) client.write(Buffer.alloc(1000))
  // False only if the kernel has not taken them, which depends on the machine.
  const told = client.writableNeedDrain
  await until(() => client.writableLength === 0 && peer.bytesRead === 64_000)
  if (told) await until(() => drains.length === 1)
  t.equal(drains.length, told ? 1 : 0)
})

both('read-in-connect', 'read() in a listener of connect, with one of readable and without', async (t, env) => {
  const server = await env.listen((socket) => { socket.end('all of it') })
  for (const asksFirst of [true, false]) {
    const client = env.connect(server)
    let got = ''
    client.once('connect', () => {
      if (asksFirst) client.read()
      client.on('readable', () => {
        for (let piece = client.read() as Buffer | null; piece !== null; piece = client.read() as Buffer | null) {
          got += piece.toString()
        }
      })
    })
    await once(client, 'end')
    t.equal(got, 'all of it')
  }
})
