/** Classes of ES5 over sockets and servers, and clients that connect again. */
import { EventEmitter, once } from 'node:events'
import { inherits } from 'node:util'
import { programs, type Environment, type Server, type Socket } from '../program.js'

async function closed(server: Server): Promise<void> {
  server.close()
  await once(server, 'close')
}

/** A constructor of ES5, and its prototype's methods. */
type Old = (new (...args: never[]) => Socket & { greet(text: string): void }) & { prototype: object }

/** A class as programs of ten years ago have it. */
function oldSocket({ net }: Environment, inherit: (constructor: Old) => void): Old {
  const Client = function (this: Socket & { greeting?: string }): void {
    (net.Socket as unknown as (this: object) => void).call(this)
    this.greeting = 'hello'
  } as unknown as Old
  inherit(Client)
  ;(Client.prototype as { greet: unknown }).greet = function (
    this: Socket & { greeting: string }, who: string,
  ) {
    this.end(`${this.greeting}, ${who}`)
  }
  return Client
}

async function greets(environment: Environment, inherit: (constructor: Old) => void): Promise<void> {
  const { net, print, serve } = environment
  const { server, port } = await serve((socket) => { socket.pipe(socket) })
  const Client = oldSocket(environment, inherit)
  const client = new Client()
  client.connect(port, '127.0.0.1')
  client.greet('you')
  let text = ''
  for await (const data of client) text += String(data)
  print(text, client instanceof net.Socket, client instanceof Client, client.constructor === Client)
  await closed(server)
}

/** What arrives of two writes on a socket that somebody has taken a method of into their own hands. */
async function overridden(
  { net, print, serve }: Environment, when: 'before' | 'after', take: (socket: Socket) => void,
  make = (): Socket => new net.Socket(),
): Promise<void> {
  const { server, port } = await serve((socket) => {
    let text = ''
    socket.on('data', (data) => { text += String(data) })
    socket.on('end', () => { print('arrived', text); socket.end('answer') })
  })
  const socket = make()
  if (when === 'before') take(socket)
  socket.connect(port, '127.0.0.1')
  await once(socket, 'connect')
  if (when === 'after') take(socket)
  socket.on('data', (data) => { print('data', data) })
  socket.write('qui')
  await new Promise(setImmediate)
  socket.write(Buffer.from('et'))
  socket.end()
  await once(socket, 'close')
  await closed(server)
}

type Written = (chunk: unknown, ...rest: unknown[]) => unknown

/** Who calls the method in its place, and writes in capitals. */
const loudly = (print: Environment['print'], name: string) => (socket: Socket): void => {
  const methods = socket as unknown as Record<string, Written>
  const { [name]: captured } = methods
  methods[name] = function (this: Socket, chunk, ...rest) {
    print('captured', name)
    if (typeof chunk === 'string') return captured.call(this, chunk.toUpperCase(), ...rest)
    if (!(chunk instanceof Uint8Array)) return captured.call(this, chunk, ...rest)
    return captured.call(this, Buffer.from(String(chunk).toUpperCase()), ...rest)
  }
}

/** Programs for each method that bytes go through. */
const overrides = Object.fromEntries(['write', '_write', 'push', 'end'].flatMap((name) => [
  [`an instance with a ${name} of its own, before connect`, (environment: Environment) => (
    overridden(environment, 'before', loudly(environment.print, name)))],
  [`an instance with a ${name} of its own, after connect`, (environment: Environment) => (
    overridden(environment, 'after', loudly(environment.print, name)))],
  [`a subclass with a ${name} of its own`, (environment: Environment) => {
    const { net, print } = environment
    class Loud extends net.Socket {}
    loudly(print, name)(Loud.prototype)
    return overridden(environment, 'before', () => undefined, () => new Loud())
  }],
  [`accepted sockets with a ${name} of their own`, async (environment: Environment) => {
    const { net, print, serve } = environment
    const { server, port } = await serve((socket) => {
      loudly(print, name)(socket)
      socket.on('data', (data) => { print('data', data); socket.write(data) })
      socket.on('end', () => { socket.end() })
    })
    const client = net.connect(port, '127.0.0.1')
    client.end('quiet')
    let text = ''
    for await (const data of client) text += String(data)
    print(text)
    await closed(server)
  }],
]))

/** A client that keeps its connection up, as those of databases do. */
class Keeper extends EventEmitter {
  attempts = 0
  constructor(readonly make: () => Socket) {
    super()
  }

  connect(): void {
    this.attempts++
    const socket = this.make()
    socket.on('connect', () => this.emit('up', socket))
    socket.on('data', (data) => this.emit('data', data))
    socket.on('error', (error: NodeJS.ErrnoException) => this.emit('failed', error.code))
    socket.on('close', () => {
      if (this.attempts < 4) setImmediate(() => { this.connect() })
      else this.emit('over')
    })
  }
}

export default programs({
  'util.inherits of a Socket': (environment) =>
    greets(environment, (constructor) => { inherits(constructor, environment.net.Socket) }),
  'Object.create of a Socket\'s prototype': (environment) => greets(environment, (constructor) => {
    constructor.prototype = Object.create(environment.net.Socket.prototype, {
      constructor: { value: constructor, writable: true, configurable: true },
    }) as object
  }),
  'setPrototypeOf': (environment) => greets(environment, (constructor) => {
    Object.setPrototypeOf(constructor.prototype, environment.net.Socket.prototype)
  }),
  'util.inherits of a Server': async ({ net, print }) => {
    const heard: string[] = []
    const Echo = function (this: Server): void {
      (net.Server as unknown as (this: object, listener: (socket: Socket) => void) => void)
        .call(this, (socket) => socket.pipe(socket))
      this.on('connection', () => { heard.push('connection') })
    } as unknown as new () => Server
    inherits(Echo, net.Server)
    const server = new Echo()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = net.connect((server.address() as { port: number }).port, '127.0.0.1')
    client.end('again')
    let text = ''
    for await (const data of client) text += String(data)
    print(text, heard, server instanceof net.Server, server instanceof Echo)
    await closed(server)
  },
  ...overrides,
  'a client that comes back when its server hangs up': async ({ net, print, serve }) => {
    let n = 0
    const { server, port } = await serve((socket) => { socket.end(`visit ${++n}`) })
    const keeper = new Keeper(() => net.connect(port, '127.0.0.1'))
    keeper.on('data', (data) => { print(data) }).on('failed', (code) => { print(code) })
    keeper.connect()
    await once(keeper, 'over')
    print(keeper.attempts)
    await closed(server)
  },
  'a client that comes back after resets': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.on('error', () => undefined).once('data', () => socket.resetAndDestroy())
    })
    const keeper = new Keeper(() => net.connect(port, '127.0.0.1'))
    keeper.on('up', (socket: Socket) => { socket.write('hello') }).on('failed', (code) => { print(code) })
    keeper.connect()
    await once(keeper, 'over')
    await closed(server)
  },
  'a client that finds its server later': async ({ net, print, serve }) => {
    const { server: first, port } = await serve()
    await closed(first)
    const server = net.createServer((socket) => { socket.end('at last') })
    const keeper = new Keeper(() => net.connect(port, '127.0.0.1'))
    keeper.on('failed', (code) => {
      print(code)
      if (keeper.attempts === 2) server.listen(port, '127.0.0.1')
    })
    keeper.on('data', (data) => { print(data) })
    keeper.connect()
    await once(keeper, 'over')
    await closed(server)
  },
  'one socket, connected again and again': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.pipe(socket) })
    const socket = new net.Socket()
    for (let i = 0; i < 3; i++) {
      socket.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.end(`round ${i}`)
      const [data] = await once(socket, 'data') as [Buffer]
      await once(socket, 'close')
      print(data, socket.destroyed, socket.bytesRead, socket.bytesWritten)
    }
    await closed(server)
  },
})
