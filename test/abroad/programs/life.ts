/** Life and death of sockets: connects, reconnects, half-open ends, destroys, errors, time-outs. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { once } from 'node:events'
import { programs, type Environment, type Pair, type Server, type Socket } from '../program.js'

async function closed(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

const EVENTS = ['connect', 'ready', 'data', 'end', 'finish', 'error', 'close', 'timeout', 'drain'] as const

/** Prints the events of a socket, in their order. */
function watch(print: Environment['print'], socket: Socket): void {
  for (const event of EVENTS) socket.on(event, (...args: unknown[]) => { print(event, ...args) })
}

/** What a client sees when something is done to a connection. */
const seen = (body: (pair: Pair) => unknown, options = {}, clientOptions = {}) =>
  async ({ pair, print }: Environment): Promise<void> => {
    const both = await pair(options, clientOptions)
    const { client, peer, server } = both
    watch(print, client)
    peer.on('error', () => undefined).resume()
    const end = once(client, 'close').catch(() => once(client, 'close'))
    await body(both)
    await end
    peer.destroy()
    await closed(server)
    print(client.destroyed, client.readyState, client.bytesRead, client.bytesWritten)
  }

export default programs({
  'the peer ends': seen(({ peer }) => peer.end('bye')),
  'the client ends': seen(({ client }) => client.end('bye')),
  'the peer resets after data': seen(async ({ client, peer }) => {
    client.write('x')
    await once(peer, 'data')
    peer.write('last words')
    await once(client, 'data')
    peer.resetAndDestroy()
  }),
  'destroyed by an error of its own': seen(({ client }) => client.destroy(new Error('mine'))),
  'destroyed in a data handler': seen(({ client, peer }) => {
    client.once('data', () => { client.destroy() })
    peer.write(Buffer.alloc(100, 'x'))
  }),
  'half-open: answers after the end': seen(({ client, peer }) => {
    client.on('end', () => { client.end('answer') })
    peer.end('question')
  }, { allowHalfOpen: true }, { allowHalfOpen: true }),
  'destroySoon': seen(({ client }) => {
    client.write('x')
    ;(client as unknown as { destroySoon(): void }).destroySoon()
  }),
  'end, then write': seen(({ client }) => {
    client.end()
    client.write('late')
  }),
  'end twice': seen(({ client }) => client.end('a').end()),
  'a signal': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const controller = new AbortController()
    const socket = net.connect({ port, host: '127.0.0.1', signal: controller.signal } as never)
    watch(print, socket)
    await once(socket, 'connect')
    controller.abort()
    await once(socket, 'close').catch(() => once(socket, 'close'))
    await closed(server)
  },
  'an error listener that was added after an await': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.write('greeting')
      socket.once('data', () => { socket.resetAndDestroy() })
    })
    const socket = net.connect(port, '127.0.0.1')
    await once(socket, 'connect')
    socket.write('x')
    const [data] = await once(socket, 'data') as [Buffer]
    print(data)
    const [error] = await once(socket, 'error') as [Error]
    print(error)
    await closed(server)
  },
  'refused': async ({ net, print }) => {
    const socket = net.connect(1, '127.0.0.1')
    watch(print, socket)
    await once(socket, 'close').catch(() => once(socket, 'close'))
    print(socket.destroyed, socket.readyState)
  },
  'refused, caught by once': async ({ net, print }) => {
    try {
      await once(net.connect(1, '127.0.0.1'), 'connect')
    } catch (error) {
      print(error)
    }
  },
  'a Unix path that is not there': async ({ net, print }) => {
    const socket = net.connect('/tmp/there-is-no-such-socket')
    const [error] = await once(socket, 'error') as [Error]
    print(error)
  },
  'a port that is taken': async ({ net, print, serve }) => {
    const { server, port } = await serve()
    const second = net.createServer().listen(port, '127.0.0.1')
    const [error] = await once(second, 'error') as [Error]
    print(error)
    await closed(server)
  },
  'reconnects when it has closed': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('hello'))
    const socket = new net.Socket()
    socket.setEncoding('utf8')
    for (let i = 0; i < 3; i++) {
      socket.connect(port, '127.0.0.1')
      const [text] = await once(socket, 'data') as [string]
      print(text)
      await once(socket, 'close')
    }
    await closed(server)
  },
  'a client that tries until a server is there': async ({ net, print, serve }) => {
    const first = await serve()
    await closed(first.server)
    let tries = 0
    const server = net.createServer((socket) => socket.end('at last'))
    for (;;) {
      const socket = net.connect(first.port, '127.0.0.1')
      tries += 1
      try {
        const [data] = await once(socket, 'data') as [Buffer]
        print(data, tries)
        break
      } catch (error) {
        print(error)
        server.listen(first.port, '127.0.0.1')
        await once(server, 'listening')
      }
    }
    await closed(server)
  },
  'a pool of connections': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.pipe(socket) })
    const idle: Socket[] = []
    const ask = async (question: string): Promise<string> => {
      const socket = idle.pop() ?? net.connect(port, '127.0.0.1')
      socket.write(question)
      const [answer] = await once(socket, 'data') as [Buffer]
      idle.push(socket)
      return String(answer)
    }
    for (let i = 0; i < 10; i++) {
      print((await Promise.all(Array.from({ length: 5 }, (_, k) => ask(`${i}.${k}`)))).join())
    }
    print(idle.length)
    for (const socket of idle) socket.end()
    await closed(server)
  },
  'a hundred clients at once': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.on('data', (data) => { socket.end(data) }) })
    const ask = async (i: number): Promise<number> => {
      const socket = net.connect(port, '127.0.0.1').setEncoding('utf8')
      await once(socket, 'connect')
      socket.write(String(i))
      const [answer] = await once(socket, 'data') as [string]
      await once(socket, 'end')
      return Number(answer)
    }
    const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => ask(i)))
    print(answers.reduce((sum, answer) => sum + answer))
    await closed(server)
  },
  'question and answer, with once': async ({ net, print, serve }) => {
    const handle = async (socket: Socket): Promise<void> => {
      socket.write('name?')
      const [name] = await once(socket, 'data') as [Buffer]
      socket.write('age?')
      const [age] = await once(socket, 'data') as [Buffer]
      socket.end(`${String(name)} is ${String(age)}`)
    }
    const { server, port } = await serve((socket) => { void handle(socket) })
    const socket = net.connect(port, '127.0.0.1')
    for (const answer of ['Ada', '36']) {
      const [question] = await once(socket, 'data') as [Buffer]
      print(question)
      socket.write(answer)
    }
    const [result] = await once(socket, 'data') as [Buffer]
    print(result)
    await closed(server)
  },
  'ticks and promises between events': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    let between = 0
    let pieces = 0
    let ready = true
    client.on('data', (data) => {
      if (!ready) between += 1
      ready = false
      pieces += data.length
      const promise = Promise.resolve().then(() => Promise.resolve())
      process.nextTick(() => { void promise.then(() => { ready = true }) })
    })
    for (let i = 0; i < 50; i++) peer.write(Buffer.alloc(30_000))
    peer.end()
    await once(client, 'end')
    print(pieces, between)
    await closed(server)
  },
  'an exception in a handler, and what comes after it': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    let length = 0
    let thrown = false
    client.on('data', (data) => {
      length += data.length
      if (thrown) return
      thrown = true
      throw new Error('mine')
    })
    peer.end(Buffer.alloc(500_000))
    await once(client, 'end')
    print(length)
    await closed(server)
  },
  'two sockets, awaited one after the other': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('x'))
    const a = net.connect(port, '127.0.0.1')
    const b = net.connect(port, '127.0.0.1')
    for (const socket of [a, b]) {
      const [data] = await once(socket, 'data') as [Buffer]
      print(data)
    }
    await closed(server)
  },
  'setTimeout of a silent connection': seen(({ client }) => {
    client.setTimeout(30, () => { client.destroy() })
  }),
  'setTimeout that is taken back': async ({ pair, print }) => {
    const { server, client } = await pair()
    client.on('timeout', () => { print('timeout') })
    client.setTimeout(20)
    client.setTimeout(0)
    await new Promise((resolve) => { setTimeout(resolve, 60) })
    print(client.timeout)
    client.destroy()
    await closed(server)
  },
  'AsyncLocalStorage in handlers': async ({ net, print, serve }) => {
    const storage = new AsyncLocalStorage<string>()
    const { server, port } = await serve((socket) => { socket.pipe(socket) })
    const told: Promise<void>[] = []
    for (const name of ['a', 'b', 'c']) {
      storage.run(name, () => {
        const socket = net.connect(port, '127.0.0.1', () => { socket.write('x') })
        told.push(new Promise((resolve) => {
          socket.on('data', () => { socket.end() })
            .on('close', () => { print(name, storage.getStore()); resolve() })
        }))
      })
      await told.at(-1)
    }
    await closed(server)
  },
  'captured rejections': async ({ net, print }) => {
    const server = net.createServer({ captureRejections: true } as never)
    const handle = async (): Promise<void> => {
      await Promise.resolve()
      throw new Error('mine')
    }
    // The promise is what it is about.
    server.on('connection', (socket: Socket) => {
      socket.destroy()
      return handle() as never
    })
    const failed = new Promise<void>((resolve) => {
      server.on('error', (error) => { print(error); resolve() })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as { port: number }
    await once(net.connect(port, '127.0.0.1').resume(), 'close')
    await failed
    await closed(server)
  },
  'onread into one buffer': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('abcdefghij'.repeat(10)))
    let text = ''
    let ready = true
    let early = 0
    const socket = net.connect({
      port, host: '127.0.0.1',
      onread: {
        buffer: Buffer.alloc(8),
        callback: (length: number, buffer: Uint8Array) => {
          if (!ready) early += 1
          ready = false
          void Promise.resolve().then(() => { ready = true })
          text += Buffer.from(buffer.subarray(0, length)).toString()
          return true
        },
      },
    })
    await once(socket, 'end')
    print(text, early)
    await closed(server)
  },
  'onread that says enough': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.end('abcdefghij'.repeat(10)))
    let text = ''
    const socket = net.connect({
      port, host: '127.0.0.1',
      onread: {
        buffer: Buffer.alloc(7),
        callback: (length: number, buffer: Uint8Array) => {
          text += Buffer.from(buffer.subarray(0, length)).toString()
          setImmediate(() => { socket.resume() })
          return false
        },
      },
    })
    await once(socket, 'end')
    print(text, socket.bytesRead)
    await closed(server)
  },
  'maxConnections and drop': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.resume())
    server.maxConnections = 1
    const first = net.connect(port, '127.0.0.1')
    await once(server, 'connection')
    const second = net.connect(port, '127.0.0.1').on('error', () => undefined)
    await once(server, 'drop')
    print('drop')
    await once(second.resume(), 'close')
    first.end()
    await closed(server)
  },
  'getConnections': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => socket.resume())
    const clients = Array.from({ length: 3 }, () => net.connect(port, '127.0.0.1'))
    for (let i = 0; i < 3; i++) await once(server, 'connection')
    server.getConnections((error, count) => { print(error, count) })
    for (const client of clients) client.end()
    await closed(server)
  },
  'close waits for connections': async ({ pair, print }) => {
    const { server, client, peer } = await pair()
    server.close(() => { print('closed') })
    print(server.listening)
    peer.resume()
    client.end(() => { print('ended') }).resume()
    await once(server, 'close')
  },
  'addresses': async ({ pair, print, hide }) => {
    const { server, client, peer } = await pair()
    hide(client.localPort, 'client')
    print(client.remoteAddress, client.remotePort, client.remoteFamily, client.localAddress, client.localPort)
    print(peer.address(), peer.remotePort, server.address())
    client.destroy()
    await once(peer.resume(), 'close')
    print(client.remoteAddress ?? 'none', peer.address())
    await closed(server)
  },
  'an ES6 subclass': async ({ net, print, serve }) => {
    class Lines extends net.Socket {
      count = 0

      override push(data: Buffer | null): boolean {
        this.count += data?.length ?? 0
        return super.push(data)
      }
    }
    const { server, port } = await serve((socket) => socket.end('hello'))
    const socket = new Lines()
    socket.connect(port, '127.0.0.1')
    socket.resume()
    await once(socket, 'end')
    print(socket instanceof net.Socket, socket.bytesRead)
    await closed(server)
  },
  'http over it': async ({ print, serve }) => {
    const http = await import('node:http')
    const web = http.createServer((request, response) => {
      let body = ''
      request.setEncoding('utf8').on('data', (text: string) => { body += text })
      request.on('end', () => { response.end(`${request.method} ${body}`) })
    })
    const accept = (socket: Socket): void => { web.emit('connection', socket) }
    const { server, port } = await serve(accept, { allowHalfOpen: true })
    const agent = new http.Agent({ keepAlive: true })
    const ask = async (body: string): Promise<string> => {
      const request = http.request({ port, host: '127.0.0.1', method: 'POST', agent })
      request.end(body)
      const [response] = await once(request, 'response') as [AsyncIterable<Buffer>]
      let text = ''
      for await (const data of response) text += String(data)
      return text
    }
    for (const body of ['a', 'b'.repeat(1000)]) print(await ask(body))
    agent.destroy()
    await closed(server)
  },
})
