/** `fromChannel`: a conversation of a driver, used as a stream. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { createServer as httpServer } from 'node:http'
import { connect, createServer, type AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { finished } from 'node:stream'
import { createGzip, gunzipSync } from 'node:zlib'
import t from 'tap'
import {
  _, atMetaLevel, endpoint, fromChannel, groundVm, nestedVm, quit, sendMessage, spawn, streamEnd, tcpAddress,
  tcpChannel, tcpHandle, tcpListener, type Action, type ActionTree, type ChannelStream, type ChannelStreamOptions,
  type TcpEnd,
} from 'marketplace-native'
import { client, deferred, freePort, pattern, readAll, until } from '../support/util.js'
import { host, onBoth, server, type ProgramOptions, type Start } from '../drivers/tcp-program.js'
import { patient } from '../support/patience.js'

const DRIVERS = ['tcp', 'bare'] as const

/** A program that makes a stream of each connection. @returns its port, and the streams so far */
async function streams(
  start: Start, use: (stream: ChannelStream, them: TcpEnd, us: TcpEnd) => void, options: ProgramOptions,
  ofStreams: ChannelStreamOptions = {},
) {
  const made: ChannelStream[] = []
  const program = start(() => server((them, us) => {
    const { stream, actions } = fromChannel(them, us, ofStreams)
    made.push(stream)
    use(stream, them, us)
    return actions
  }), options)
  return { program, made, port: await program.port() }
}

/** What becomes of a stream. */
function endOf(stream: ChannelStream): Promise<Error | undefined> {
  return new Promise((resolve) => { finished(stream, (error) => { resolve(error ?? undefined) }) })
}

for (const driver of DRIVERS) {
  onBoth(`${driver}: what comes goes back, and no byte is lost before the end`, async (t, start) => {
    const { port, made, program } = await streams(start, (stream) => { stream.pipe(stream) }, { driver })
    const data = pattern(3_000_000)
    const socket = await client(port)
    const back = readAll(socket)
    socket.end(data)
    t.ok((await back).equals(data))
    await until(() => made[0].closed && program.connections === 0)
    t.equal(made[0].errored, null)
    t.equal(made[0].remoteAddress, host)
  })

  onBoth(`${driver}: gzip, whose output comes after the input has ended`, async (t, start) => {
    const { port } = await streams(start, (stream) => {
      void pipeline(stream, createGzip(), stream)
    }, { driver })
    const data = Buffer.from('compressible '.repeat(100_000))
    const socket = await client(port)
    socket.end(data)
    t.ok(gunzipSync(await readAll(socket)).equals(data))
  })

  onBoth(`${driver}: a reset of the peer is the error of the stream`, async (t, start) => {
    const ends: Promise<Error | undefined>[] = []
    const { port, program } = await streams(start, (stream) => {
      ends.push(endOf(stream))
      stream.write('welcome')
    }, { driver })
    const socket = await client(port)
    await once(socket, 'readable')
    socket.resetAndDestroy()
    t.match(await ends[0], { code: 'ECONNRESET' })
    await until(() => program.connections === 0)
  })

  onBoth(`${driver}: the error that the stream is destroyed with is the reason of the absence`,
    async (t, start) => {
      const failure = new Error('no good')
      const program = start((program) => [
        server((them, us) => {
          const { stream, actions } = fromChannel(them, us)
          stream.on('error', () => undefined)
          stream.on('data', () => stream.destroy(failure))
          return [actions, endpoint.subscriber(tcpChannel(them, us, _), {
            interest: 'observer', ...program.notes('session'),
          })]
        }),
        endpoint.publisher(tcpChannel(_, tcpListener(0), _), {
          interest: 'observer', ...program.notes('subscribers'),
        }),
      ], { driver })
      const socket = await client(await program.port())
      socket.on('error', () => undefined).write('x')
      const reason = program.reason('subscribers')
      t.equal(await reason, failure)
      await until(() => socket.resume().readableEnded)
      socket.destroy()
    })

  onBoth(`${driver}: a process that crashes destroys its stream with the error`, async (t, start) => {
    const failure = new Error('crashed')
    const end = deferred<Error | undefined>()
    let sessions = 0
    const program = start(() => server((them, us) => {
      const { stream, actions } = fromChannel(them, us)
      void endOf(stream).then(end.resolve)
      sessions++
      return [actions, endpoint.subscriber('crash', { onMessage: () => { throw failure } })]
    }), { driver })
    const socket = await client(await program.port())
    await until(() => sessions === 1)
    program.do(sendMessage('crash'))
    t.equal(await end.promise, failure)
    await until(() => socket.resume().readableEnded)
    socket.destroy()
  })

  onBoth(`${driver}: a process that quits, a VM that stops`, async (t, start) => {
    const ends: Promise<Error | undefined>[] = []
    const { port, program } = await streams(start, (stream) => { ends.push(endOf(stream)) }, { driver })
    await client(port)
    await until(() => ends.length === 1)
    void program.vm.stop(new Error('that is all'))
    t.match(await ends[0], { message: 'that is all' })
    await program.vm
  })

  onBoth(`${driver}: an outbound connection`, async (t, start) => {
    const peer = createServer((socket) => socket.pipe(socket)).listen(0, host)
    await once(peer, 'listening')
    const { port } = peer.address() as AddressInfo
    const { stream, actions } = fromChannel(tcpAddress(host, port), tcpHandle('out'))
    const program = start(() => spawn(() => actions), { driver })
    const data = pattern(500_000)
    stream.end(data) // before it is connected
    const chunks: Buffer[] = []
    for await (const chunk of stream) chunks.push(chunk as Buffer)
    t.ok(Buffer.concat(chunks).equals(data))
    await until(() => program.connections === 0)
    peer.close()
  })

  onBoth(`${driver}: an outbound connection that fails`, async (t, start) => {
    const port = await freePort()
    const { stream, actions } = fromChannel(tcpAddress(host, port), tcpHandle('out'))
    stream.write('for nobody')
    start(() => spawn(() => actions), { driver })
    t.match(await endOf(stream), { code: 'ECONNREFUSED', address: host, port })
  })

  onBoth(`${driver}: destroyed before it is connected`, async (t, start) => {
    const { stream, actions } = fromChannel(tcpAddress('192.0.2.1', 9), tcpHandle('out'))
    const program = start(() => spawn(() => actions), { driver })
    stream.destroy()
    await once(stream, 'close')
    program.letGo()
    await program.vm
    t.pass('the ground VM ends')
  })

  onBoth(`${driver}: in a nested VM, with the driver outside`, async (t, start) => {
    const program = start(() => nestedVm(() => atMetaLevel(
      endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
        interest: 'observer',
        onPresence: ({ source, destination }) => spawn(() => {
          const { stream, actions } = fromChannel(source, destination, { metaLevels: 1 })
          stream.pipe(stream)
          return actions
        }),
      }),
    )), { driver })
    const data = pattern(1_000_000)
    const socket = await client(await program.port())
    const back = readAll(socket)
    socket.end(data)
    t.ok((await back).equals(data))
  })

  onBoth(`${driver}: in a nested VM, with the driver beside it; and the VM is stopped`, async (t, start) => {
    const ends: Promise<Error | undefined>[] = []
    const { port, program, made } = await streams(start, (stream) => {
      ends.push(endOf(stream))
      stream.pipe(stream)
    }, { driver, depth: 1 })
    const socket = await client(port)
    socket.write('hello')
    const [data] = await once(socket, 'data') as [Buffer]
    t.equal(data.toString(), 'hello')
    await until(() => made[0].writableLength === 0)
    await program.stop()
    t.match(await ends[0], { code: 'ERR_STREAM_PREMATURE_CLOSE' })
    socket.destroy()
  })

  onBoth(`${driver}: node:http over it`, async (t, start) => {
    const web = httpServer((request, response) => {
      response.end(`${request.method} ${request.url} from ${request.socket.remoteAddress}`)
    })
    const { port } = await streams(start, (stream) => { web.emit('connection', stream) }, { driver })
    for (const path of ['/a', '/b']) {
      const response = await fetch(`http://${host}:${port}${path}`)
      t.equal(await response.text(), `GET ${path} from ${host}`)
    }
    web.closeAllConnections()
  })
}

onBoth('tcp: a slow reader is sent 64 MiB, and a slow stream too, in bounded memory', async (t, start) => {
  const size = 64 * 1024 * 1024
  let queuedMost = 0
  let waitedMost = 0
  const data = pattern(size)
  const { port, made, program } = await streams(start, (stream) => {
    let sent = 0
    const more = (): void => {
      while (sent < size) {
        const piece = data.subarray(sent, sent += 100_000)
        if (!stream.write(piece)) {
          stream.once('drain', more)
          return
        }
      }
      stream.end()
    }
    more()
    let got = 0
    stream.on('readable', () => {
      waitedMost = Math.max(waitedMost, stream.readableLength)
      // One piece a turn.
      setImmediate(() => { got += (stream.read(1000) as Buffer | null)?.length ?? 0 })
    })
    t.teardown(() => t.comment(`${got} bytes read slowly`))
  }, { driver: 'tcp' })
  const socket = await client(port)
  socket.write(Buffer.alloc(8 * 1024 * 1024))
  let received = 0
  const timer = setInterval(() => {
    const [metrics] = program.transports.map((transport) => transport.metrics)
    queuedMost = Math.max(queuedMost, metrics.queuedBytes)
  }, 1)
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    const piece = chunk as Buffer
    if (!piece.equals(data.subarray(received, received + piece.length))) t.fail('wrong bytes')
    received += piece.length
    if (received % 16 === 0) await new Promise((resolve) => { setImmediate(resolve) })
  }
  clearInterval(timer)
  t.equal(received, size)
  t.ok(queuedMost <= 1024 * 1024, `${queuedMost} bytes were queued at most`)
  t.ok(waitedMost <= 2 * 65_536 + 65_536, `${waitedMost} bytes waited to be read at most`)
  socket.destroy()
  made[0].destroy()
  await until(() => program.connections === 0)
}, false, 60_000)

onBoth('bare: what is not read is bounded', async (t, start) => {
  const ends: Promise<Error | undefined>[] = []
  const { port } = await streams(start, (stream) => { ends.push(endOf(stream)) }, { driver: 'bare' }, {
    maxBufferedBytes: 1_000_000,
  })
  const socket = await client(port)
  socket.on('error', () => undefined).write(Buffer.alloc(8_000_000))
  await until(() => ends.length > 0)
  t.match(await ends[0], { code: 'ENOBUFS', message: /maxBufferedBytes is 1000000/ })
  socket.destroy()
})

onBoth('borrowed memory is copied for the stream', async (t, start) => {
  const chunks: Buffer[] = []
  const { port } = await streams(start, (stream) => {
    stream.on('data', (chunk: Buffer) => chunks.push(chunk)).on('end', () => stream.end())
  }, { driver: 'tcp', buffers: 'borrowed', poison: true })
  const data = pattern(200_000)
  const socket = await client(port)
  socket.end(data)
  await readAll(socket)
  t.ok(Buffer.concat(chunks).equals(data))
})

onBoth('listeners are called in the async context in which the stream was made', async (t, start) => {
  const storage = new AsyncLocalStorage<number>()
  const seen: (number | undefined)[] = []
  let count = 0
  const program = start(() => server((them, us) => storage.run(++count, () => {
    const { stream, actions } = fromChannel(them, us)
    stream.on('data', () => {
      seen.push(storage.getStore())
      stream.write('x', () => seen.push(storage.getStore()))
    })
    stream.on('error', () => undefined).on('close', () => seen.push(storage.getStore()))
    return actions
  })), { driver: 'tcp' })
  const port = await program.port()
  for (let i = 1; i <= 3; i++) {
    const socket: ReturnType<typeof connect> = connect(port, host)
    socket.write('hello')
    await once(socket, 'data')
    socket.resetAndDestroy()
    await until(() => seen.length === i * 3)
  }
  t.strictSame(seen, [1, 1, 1, 2, 2, 2, 3, 3, 3])
})

void t.test('a conversation that is not there', { timeout: patient(20_000) }, async (t) => {
  const { groundVm, tcpBare } = await import('marketplace-native')
  const { stream, actions } = fromChannel(tcpAddress(host, 1), tcpListener(2))
  const vm = groundVm(() => [tcpBare(), spawn(() => actions)])
  t.match(await endOf(stream), { code: 'ENOTCONN', message: /there is no such conversation/ })
  await vm
})

onBoth('two streams never share a conversation', async (t, start) => {
  for (const driver of DRIVERS) {
    const both: ChannelStream[] = []
    const ends: Promise<Error | undefined>[] = []
    const read: string[] = ['', '']
    const program = start(() => server((them, us) => [0, 1].map((i) => {
      const { stream, actions } = fromChannel(them, us)
      both[i] = stream
      ends[i] = endOf(stream)
      stream.on('data', (data) => { read[i] += String(data) })
      return spawn(() => actions)
    })), { driver })
    const socket = await client(await program.port())
    socket.write('hello')
    await until(() => ends.length === 2)
    t.match(await ends[1], { code: 'EISCONN', message: /another stream takes part in this conversation/ })
    await until(() => read[0] === 'hello')
    const [first] = both
    first.write('answer')
    const [answer] = await once(socket, 'data') as [Buffer]
    t.equal(answer.toString(), 'answer')
    socket.end(' again')
    await until(() => read[0] === 'hello again')
    t.equal(read[1], '')
    first.end()
    t.equal(await ends[0], undefined)
  }
})

onBoth('two streams never share a conversation of a VM further out', async (t, start) => {
  for (const driver of DRIVERS) {
    for (const metaLevels of [1, 2]) {
      const both: ChannelStream[] = []
      const ends: Promise<Error | undefined>[] = []
      const read: string[] = ['', '']
      const outside = (action: Action): Action => (
        metaLevels === 1 ? atMetaLevel(action) : atMetaLevel(atMetaLevel(action)))
      const inside = (boot: () => ActionTree): Action => (
        metaLevels === 1 ? nestedVm(boot) : nestedVm(() => nestedVm(boot)))
      const program = start(() => inside(() => outside(
        endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
          interest: 'observer',
          onPresence: ({ source: them, destination: us }) => [0, 1].map((i) => {
            const { stream, actions } = fromChannel(them, us, { metaLevels })
            both[i] = stream
            ends[i] = endOf(stream)
            stream.on('data', (data) => { read[i] += String(data) })
            return spawn(() => actions)
          }),
        }),
      )), { driver })
      const socket = await client(await program.port())
      socket.write('hello')
      await until(() => ends.length === 2)
      t.match(await ends[1], { code: 'EISCONN' })
      await until(() => read[0] === 'hello')
      both[0].write('answer')
      const [answer] = await once(socket, 'data') as [Buffer]
      t.equal(answer.toString(), 'answer')
      socket.end(' again')
      await until(() => read[0] === 'hello again')
      t.equal(read[1], '')
      both[0].end()
      t.equal(await ends[0], undefined)
    }
  }
})

void t.test('a stream whose conversation another VM has, too, takes part in its own', async (t) => {
  // The same ends in two VMs: which of the streams may have it is known when their claims are made.
  const them = streamEnd('them')
  const us = streamEnd('us')
  const partner = (onPresence: () => ActionTree = () => undefined): Action => spawn(() => [
    endpoint.publisher(tcpChannel(them, us, _), { onPresence, onAbsence: () => quit() }),
    endpoint.subscriber(tcpChannel(us, them, _), {}),
  ])
  const elsewhere = fromChannel(them, us)
  const other = groundVm(() => [partner(), spawn(() => elsewhere.actions)])
  for (const metaLevels of [0, 1, 2]) {
    const heard: string[] = []
    const { stream, actions } = fromChannel(them, us, { metaLevels })
    stream.on('data', (data) => { heard.push(String(data)) })
    let inner: () => ActionTree = () => spawn(() => actions)
    for (let i = 0; i < metaLevels; i++) {
      const within = inner
      inner = () => nestedVm(within)
    }
    const vm = groundVm(() => [
      partner(() => sendMessage(tcpChannel(them, us, Buffer.from('hello')))),
      inner(),
    ])
    await until(() => heard.length > 0)
    t.same(heard, ['hello'])
    stream.destroy()
    await vm
  }
  t.equal(elsewhere.stream.destroyed, false)
  elsewhere.stream.destroy()
  await other
})

void t.test('wrong arguments', async (t) => {
  const [them, us] = [tcpAddress(host, 1), tcpListener(2)]
  t.throws(() => fromChannel(_ as never, us), {
    code: 'ERR_INVALID_ARG_TYPE', message: /^fromChannel: source must be one end of one conversation; got/,
  })
  t.throws(() => fromChannel(them, undefined as never), { message: /^fromChannel: destination must be/ })
  t.throws(() => fromChannel(them, us, { highWaterMark: 1 } as never), { message: /unknown option/ })
  t.throws(() => fromChannel(them, us, { readableHighWaterMark: 0 }), { code: 'ERR_OUT_OF_RANGE' })
})
