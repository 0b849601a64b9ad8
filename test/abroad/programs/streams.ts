/** Sockets as streams: pipelines, iterators, back-pressure, encodings, corks. */
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { PassThrough, Readable, Transform, finished, pipeline } from 'node:stream'
import { pipeline as piped, finished as over } from 'node:stream/promises'
import { promisify } from 'node:util'
import { createGunzip, createGzip } from 'node:zlib'
import { programs, type Server, type Socket } from '../program.js'

async function closed(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

async function text(socket: Socket): Promise<string> {
  let all = ''
  for await (const piece of socket) all += String(piece)
  return all
}

export default programs({
  'for await of a socket': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(300_000, 'x')))
    let length = 0
    for await (const data of net.connect(port, '127.0.0.1')) length += (data as Buffer).length
    print(length)
    await closed(server)
  },
  'for await, left early': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.on('error', () => undefined)
      socket.write(Buffer.alloc(300_000, 'x'))
    })
    const socket = net.connect(port, '127.0.0.1')
    for await (const data of socket) {
      print((data as Buffer).length > 0)
      break
    }
    print(socket.destroyed)
    await closed(server)
  },
  'for await that is slow': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(200_000, 'x')))
    let length = 0
    for await (const data of net.connect(port, '127.0.0.1')) {
      await new Promise(setImmediate)
      length += (data as Buffer).length
    }
    print(length)
    await closed(server)
  },
  'for await over a reset': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.once('data', () => { socket.resetAndDestroy() })
    })
    const socket = net.connect(port, '127.0.0.1')
    socket.write('x')
    try {
      for await (const data of socket) print(data)
    } catch (error) {
      print(error)
    }
    await closed(server)
  },
  'an iterator beside writes': async ({ net, print, serve }) => {
    const talk = async (socket: Socket): Promise<void> => {
      for await (const line of createInterface({ input: socket })) socket.write(`<${line}>\n`)
      socket.end('bye\n')
    }
    const { server, port } = await serve((socket) => { void talk(socket) }, { allowHalfOpen: true })
    const socket = net.connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    socket.write('one\ntwo\n')
    socket.end('three\n')
    print(await text(socket))
    await closed(server)
  },
  'readline, line by line': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.end(Array.from({ length: 5000 }, (_, i) => `line ${i}`).join('\n'))
    })
    let count = 0
    let last = ''
    for await (const line of createInterface({ input: net.connect(port, '127.0.0.1') })) {
      count += 1
      last = line
    }
    print(count, last)
    await closed(server)
  },
  'pipeline through gzip and back': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      pipeline(socket, createGunzip(), createGzip(), socket, () => undefined)
    }, { allowHalfOpen: true })
    const socket = net.connect(port, '127.0.0.1')
    const sent = Buffer.alloc(500_000, 'hello ')
    const received: Buffer[] = []
    await Promise.all([
      piped(Readable.from([sent]), createGzip(), socket),
      piped(socket, createGunzip(), async (source: AsyncIterable<Buffer>) => {
        for await (const data of source) received.push(data)
      }),
    ])
    print(Buffer.concat(received).equals(sent))
    await closed(server)
  },
  'pipe to itself': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.pipe(socket) })
    const socket = net.connect(port, '127.0.0.1')
    socket.end(Buffer.alloc(400_000, 'y'))
    print((await text(socket)).length)
    await closed(server)
  },
  'pipe into what is slow': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(400_000, 'y')))
    const slow = new Transform({
      highWaterMark: 1000,
      transform: (data, _encoding, done) => { setImmediate(done, null, data) },
    })
    let length = 0
    for await (const data of net.connect(port, '127.0.0.1').pipe(slow)) length += (data as Buffer).length
    print(length)
    await closed(server)
  },
  'a proxy': async ({ net, print, serve }) => {
    const target = await serve((socket) => { socket.pipe(socket) })
    const proxy = await serve((socket) => {
      const on = net.connect(target.port, '127.0.0.1')
      pipeline(socket, on, socket, () => undefined)
    }, { allowHalfOpen: true })
    const socket = net.connect({ port: proxy.port, host: '127.0.0.1', allowHalfOpen: true })
    socket.end(Buffer.alloc(300_000, 'z'))
    print((await text(socket)).length)
    await closed(proxy.server)
    await closed(target.server)
  },
  'unpipe and pipe again': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(200_000, 'z')))
    const socket = net.connect(port, '127.0.0.1')
    const first = new PassThrough().resume()
    let length = 0
    first.on('data', (data: Buffer) => { length += data.length })
    socket.pipe(first)
    await once(socket, 'data')
    socket.unpipe(first)
    const second = new PassThrough()
    second.on('data', (data: Buffer) => { length += data.length })
    socket.pipe(second)
    await once(second, 'end')
    print(length)
    await closed(server)
  },
  'readable and read': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(100_000, 'q')))
    const socket = net.connect(port, '127.0.0.1')
    let length = 0
    socket.on('readable', () => {
      for (let data = socket.read() as Buffer | null; data !== null; data = socket.read() as Buffer | null) {
        length += data.length
      }
    })
    await once(socket, 'end')
    print(length)
    await closed(server)
  },
  'read by length': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('\0\0\0\x05hello\0\0\0\x02hi'))
    const socket = net.connect(port, '127.0.0.1')
    const next = async (length: number): Promise<Buffer> => {
      for (;;) {
        const data = socket.read(length) as Buffer | null
        if (data !== null) return data
        await once(socket, 'readable')
      }
    }
    for (let i = 0; i < 2; i++) print(await next((await next(4)).readUInt32BE()))
    socket.destroy()
    await closed(server)
  },
  'unshift': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('header\nbody'))
    const socket = net.connect(port, '127.0.0.1')
    const [data] = await once(socket, 'data') as [Buffer]
    socket.pause()
    socket.unshift(data.subarray(7))
    print(data.subarray(0, 6))
    print(await text(socket))
    await closed(server)
  },
  'setEncoding with a character in two pieces': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    client.setEncoding('utf8')
    peer.setNoDelay(true)
    peer.write(Buffer.from([0xe2, 0x82]))
    setTimeout(() => { peer.end(Buffer.from([0xac])) }, 20)
    print(await text(client))
    await closed(server)
  },
  'encodings of writes': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    peer.write('68656c6c6f', 'hex')
    peer.write('IHdvcmxk', 'base64')
    peer.write('é', 'latin1')
    peer.write('ab', 'utf16le')
    peer.end('€')
    let all = Buffer.alloc(0)
    for await (const data of client) all = Buffer.concat([all, data as Buffer])
    print(all.toString('hex'))
    await closed(server)
  },
  'cork and uncork': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    peer.cork()
    for (let i = 0; i < 100; i++) peer.write(`${i},`)
    print(peer.writableLength)
    peer.uncork()
    peer.end()
    print(await text(client))
    await closed(server)
  },
  'write, promisified, in a row': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    type Write = (data: Buffer, done: (error?: Error | null) => void) => void
    const write = promisify(peer.write.bind(peer) as Write)
    const all = text(client)
    for (let i = 0; i < 20; i++) await write(Buffer.alloc(50_000, 'w'))
    peer.end()
    print((await all).length, peer.bytesWritten)
    await closed(server)
  },
  'drain after a full buffer': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    client.pause()
    let drains = 0
    peer.on('drain', () => { drains += 1 })
    let sent = 0
    while (peer.write(Buffer.alloc(65_536))) sent += 1
    print(sent < 1000, peer.writableNeedDrain, peer.writableLength > 0)
    client.resume()
    await once(peer, 'drain')
    print(drains, peer.writableNeedDrain, peer.writableLength)
    peer.destroy()
    client.destroy()
    await closed(server)
  },
  'a sender that waits for drain': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    const received = text(client)
    for (let i = 0; i < 200; i++) {
      if (!peer.write(Buffer.alloc(20_000, 'd'))) await once(peer, 'drain')
    }
    peer.end()
    print((await received).length)
    await closed(server)
  },
  'finished of both ends': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    const ends = Promise.all([over(client), over(peer)])
    client.resume().end('x')
    peer.resume().end('y')
    await ends
    print(client.bytesRead, client.bytesWritten, peer.bytesRead, peer.bytesWritten)
    await closed(server)
  },
  'finished tells a premature close': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    peer.on('error', () => undefined)
    const told = new Promise<void>((resolve) => {
      finished(client, (error) => { print(error ?? 'nothing'); resolve() })
    })
    client.destroy()
    await told
    await closed(server)
  },
  'pipeline aborted by a signal': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    peer.on('error', () => undefined)
    const controller = new AbortController()
    const end = piped(client, new PassThrough().resume(), { signal: controller.signal })
    controller.abort()
    await end.catch((error: unknown) => { print(error) })
    print(client.destroyed)
    await closed(server)
  },
  'pause and resume, many times': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(500_000, 'p')))
    const socket = net.connect(port, '127.0.0.1')
    let length = 0
    socket.on('data', (data) => {
      length += data.length
      socket.pause()
      setImmediate(() => { socket.resume() })
    })
    await once(socket, 'end')
    print(length)
    await closed(server)
  },
  'bytes that came before a listener': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('greeting'))
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    await new Promise((resolve) => { setTimeout(resolve, 20) })
    print(socket.bytesRead, socket.readableLength)
    print(await text(socket))
    await closed(server)
  },
  'a web stream of a socket': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end(Buffer.alloc(100_000, 'v')))
    const socket = net.connect(port, '127.0.0.1')
    let length = 0
    for await (const data of Readable.toWeb(socket)) length += (data as Uint8Array).length
    print(length)
    await closed(server)
  },
})
