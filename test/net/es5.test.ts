/** Classes in the style of ES5: constructors that call Node's on an object of theirs. */
import { once } from 'node:events'
import { createServer, type Socket as NodeSocket, type Server as NodeServer } from 'node:net'
import { inherits } from 'node:util'
import t from 'tap'
import { both, portOf } from './both.js'

type How = 'inherits' | 'create' | 'setPrototypeOf' | 'proto'
type Callable = (this: object, ...args: unknown[]) => void

/** A function that calls `Parent` on its `this`, and inherits from it, in one of the usual ways. */
function es5(Parent: unknown, how: How): new (...args: unknown[]) => never {
  const Child = function (this: { mine: boolean }, ...args: unknown[]): void {
    (Parent as Callable).apply(this, args)
    this.mine = true
  } as unknown as new (...args: unknown[]) => never
  const { prototype } = Parent as { prototype: object }
  if (how === 'inherits') inherits(Child, Parent)
  else if (how === 'setPrototypeOf') Object.setPrototypeOf(Child.prototype, prototype)
  else if (how === 'proto') (Child.prototype as { __proto__: object }).__proto__ = prototype
  else Child.prototype = Object.create(prototype, { constructor: { value: Child } }) as never
  Object.assign(Child.prototype, {
    shout(this: NodeSocket, text: string) { this.write(text.toUpperCase()) },
  })
  return Child
}

for (const how of ['inherits', 'create', 'setPrototypeOf', 'proto'] as const) {
  both('socket-constructor', `classes of ES5, by ${how}`, async (t, { net, own, ours }) => {
    const Server = es5(net.Server, how)
    const Socket = es5(net.Socket, how)
    const server = own(new Server((peer: NodeSocket) => { peer.pipe(peer) }) as NodeServer)
    t.ok(server instanceof net.Server)
    t.ok(server instanceof Server)
    t.equal((server as unknown as { mine: boolean }).mine, true)
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const made = new Socket({ allowHalfOpen: true, highWaterMark: 1000 })
    const socket = own(made as NodeSocket & { shout(text: string): void })
    t.ok(socket instanceof net.Socket)
    t.ok(socket instanceof Socket)
    t.equal(socket.allowHalfOpen, true)
    t.equal(socket.readableHighWaterMark, 1000)
    socket.setNoDelay(true).setTimeout(10_000)
    socket.connect(portOf(server), '127.0.0.1')
    await once(socket, 'connect')
    socket.shout('hello')
    const [data] = await once(socket, 'data') as [Buffer]
    t.equal(String(data), 'HELLO')
    t.equal(socket.bytesRead, 5)
    socket.end()
    await once(socket, 'close')
    if (ours) t.equal(Object.prototype.toString.call(socket), '[object Object]')
  })
}

both('socket-constructor', 'a class of ES6 below one of ES5', (t, { net, own }) => {
  const Old = es5(net.Socket, 'inherits') as unknown as new (...args: unknown[]) => NodeSocket
  class New extends Old {
    readonly fresh = true
  }
  class Middle extends net.Socket {
    readonly middle = true
  }
  const socket = own(new New({ highWaterMark: 7 }))
  t.ok(socket.fresh)
  t.ok(socket instanceof New && socket instanceof Old && socket instanceof net.Socket)
  t.equal(socket.writableHighWaterMark, 7)
  t.ok(own(new Middle()).middle)
  const bare = own(Reflect.construct(net.Socket as new () => NodeSocket, [], Middle))
  t.ok(bare instanceof Middle)
})

both('socket-constructor', 'without new', (t, { net, own }) => {
  const { Socket, Server } = net as unknown as { Socket: () => NodeSocket, Server: () => NodeServer }
  t.ok(own(Socket()) instanceof net.Socket)
  t.ok(Server() instanceof net.Server)
  const namespace = net as unknown as { Socket(): NodeSocket, Server(): NodeServer }
  t.ok(own(namespace.Socket()) instanceof net.Socket)
  t.ok(namespace.Server() instanceof net.Server)
})

both('socket-constructor', 'bad options of a class of ES5', (t, { net }) => {
  const Socket = es5(net.Socket, 'inherits')
  t.throws(() => new Socket({ objectMode: true }), { code: 'ERR_INVALID_ARG_VALUE' })
  t.throws(() => new Socket({ signal: {} }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.doesNotThrow(() => { (new Socket() as NodeSocket).destroy() })
})

void t.test('an object that is there already can not become a socket of node:net', async (t) => {
  const { Socket: Ours } = await import('../../src/net/index.js')
  const Socket = es5(Ours, 'inherits')
  t.throws(() => new Socket({ fd: 0 }), { code: 'ERR_INVALID_ARG_VALUE', message: /new net\.Socket/ })
  t.throws(() => new Socket({ handle: createServer() }), { code: 'ERR_INVALID_ARG_VALUE' })
})
