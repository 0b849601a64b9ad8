/** Programs that put fakes in the place of the global timers and the clock, as tests do: sockets go on. */
import { once } from 'node:events'
import { programs, type Environment, type Socket } from '../program.js'

const FAKED = [
  'setTimeout', 'setInterval', 'setImmediate', 'clearTimeout', 'clearInterval', 'clearImmediate',
  'queueMicrotask', 'performance', 'Date',
]

/** With timers that never come up, and a clock that stands. */
const withFakes = (body: (environment: Environment) => Promise<void>) => async (env: Environment): Promise<void> => {
  const kept = FAKED.map((name) => [name, Object.getOwnPropertyDescriptor(globalThis, name)!] as const)
  for (const [name] of kept) {
    const value = name === 'performance' ? { now: () => 0 } : name === 'Date' ? { now: () => 0 } : () => undefined
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true })
  }
  try {
    await body(env)
  } finally {
    for (const [name, property] of kept) Object.defineProperty(globalThis, name, property)
  }
}

export default programs({
  'a conversation': withFakes(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.pipe(socket) })
    const client = net.connect({ port, host: '127.0.0.1' })
    client.end(Buffer.alloc(500_000))
    let sum = 0
    client.on('data', (data: Buffer) => { sum += data.length })
    await once(client, 'close')
    print(sum)
    server.close()
    await once(server, 'close')
    print('closed')
  }),
  'data and the end at once': withFakes(async ({ net, print, serve }) => {
    const { server, port } = await serve(undefined, { pauseOnConnect: true })
    const client = net.connect(port, '127.0.0.1')
    const [peer] = await once(server, 'connection') as [Socket]
    client.end('x')
    await once(client, 'finish')
    peer.on('data', (data: Buffer) => { print(data) }).on('end', () => { print('end') }).resume()
    await once(peer, 'close')
    server.close()
    await once(server, 'close')
    print('closed')
  }),
  'it connects again after its end': withFakes(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.on('error', () => undefined).end('x') })
    const client = new net.Socket()
    for (let i = 0; i < 3; i++) {
      client.connect(port, '127.0.0.1')
      client.resume()
      await once(client, 'close')
      print('closed')
    }
    server.close()
    await once(server, 'close')
  }),
  'a socket that connects is destroyed': withFakes(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.on('error', () => undefined) })
    const client = net.connect(port, '127.0.0.1')
    client.destroy()
    await once(client, 'close')
    const refused = net.connect({ port: 1, host: '127.0.0.1' }).on('error', ({ message }) => { print(message) })
    await once(refused, 'close')
    server.close()
    await once(server, 'close')
    print('closed')
  }),
  'a time-out': withFakes(async ({ pair, print }) => {
    const { client, server } = await pair()
    client.setTimeout(20)
    await once(client, 'timeout')
    print('timeout')
    client.destroy()
    server.close()
    await once(server, 'close')
  }),
  'several addresses are tried': withFakes(async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => { socket.end('x') })
    const lookup = (_name: string, _options: object, done: (...args: unknown[]) => void): void => {
      done(null, [{ address: '127.0.0.2', family: 4 }, { address: '127.0.0.1', family: 4 }])
    }
    const client = net.connect({ port, host: 'name', lookup, autoSelectFamily: true } as object as { port: number })
    client.resume()
    await once(client, 'close')
    print('closed')
    server.close()
    await once(server, 'close')
  }),
})
