/** The order of 'finish', 'data', 'end' and 'close' on a quiet connection. */
import { once } from 'node:events'
import { programs, type Environment, type Pair, type Socket } from '../program.js'

const EVENTS = ['data', 'end', 'finish', 'close'] as const

/** What a client tells after something is done to its connection, in a phase of the loop. */
const told = (body: (pair: Pair) => unknown) => async ({ pair, print }: Environment): Promise<void> => {
  const both = await pair()
  const { client, peer, server } = both
  for (const event of EVENTS) client.on(event, (...args: unknown[]) => { print(event, ...args) })
  const end = Promise.all([once(client, 'close'), once(peer.resume(), 'close')])
  await body(both)
  await end
  server.close()
  await once(server, 'close')
}

/** A paused connection has data and its end by the time it is resumed; whether immediates run between them. */
const both = (bytes: number) => async ({ net, print, serve }: Environment): Promise<void> => {
  const { server, port } = await serve(undefined, { pauseOnConnect: true })
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const client = net.connect(port, '127.0.0.1')
  client.on('error', () => undefined)
  const [[peer]] = await Promise.all([accepted, once(client, 'connect')])
  let heard = 0
  let handled = 0
  const compare = (what: string): void => { print(what, heard > 0, handled === heard) }
  peer.on('data', (data: Buffer) => {
    heard += data.length
    setImmediate(() => { handled += data.length })
  })
  peer.on('end', () => { compare('end') })
  peer.on('close', () => { compare('close') })
  client.end(Buffer.alloc(bytes))
  await once(client, 'finish')
  const over = once(peer, 'close')
  peer.resume()
  await over
  print(heard)
  server.close()
  await once(server, 'close')
}

/**
 * In a handler of one end the other one is destroyed: 'close' comes after the immediates that waited by then, however
 * soon the two writes before and after follow each other.
 */
const destroyed = (turns: number) => async ({ pair, print }: Environment): Promise<void> => {
  for (let i = 0; i < 20; i++) {
    const { client, peer, server } = await pair()
    let immediates = 0
    let toRun = 0
    peer.once('data', () => {
      for (let n = 0; n < 3; n++) {
        toRun++
        setImmediate(() => { immediates++ })
      }
      client.destroy()
    })
    peer.on('error', () => undefined)
    const closed = once(client, 'close')
    const over = once(peer, 'close').catch(() => undefined)
    client.write('a')
    for (let n = 0; n < turns; n++) await new Promise((resolve) => { setTimeout(resolve, 0) })
    client.write('b')
    client.write('c')
    await closed
    print('close', toRun, immediates)
    peer.destroy()
    await over
    server.close()
    await once(server, 'close')
  }
}

export default programs({
  'immediates run between a byte and the end': both(1),
  'immediates run between the last data and the end': both(40_000),
  'immediates run between a lot and the end': both(100_000),
  ...Object.fromEntries([0, 1, 2, 3].map((turns) => [
    `immediates run before the close of a destroyed socket, after ${turns} turns`, destroyed(turns),
  ])),
  'end': told(({ client }) => client.end()),
  'end in an immediate': told(({ client }) => { setImmediate(() => client.end()) }),
  'end in a timer': told(({ client }) => { setTimeout(() => client.end(), 1) }),
  'end in a tick of an immediate': told(({ client }) => {
    setImmediate(() => { process.nextTick(() => client.end()) })
  }),
  'end in a promise of an immediate': told(async ({ client }) => {
    await new Promise(setImmediate)
    client.end()
  }),
  'end in a data handler': told(({ client, peer }) => {
    client.once('data', () => client.end())
    peer.write('x')
  }),
  'end of both in one turn': told(({ client, peer }) => {
    client.end()
    peer.end()
  }),
  'end, and the peer answers with data': told(({ client, peer }) => {
    peer.removeAllListeners('end')
    peer.on('end', () => peer.end('answer'))
    setImmediate(() => client.end())
  }),
  'end with bytes': told(({ client }) => { setImmediate(() => client.end('bytes')) }),
  'many end in one turn': async ({ pair, print }) => {
    const pairs = await Promise.all(Array.from({ length: 20 }, async () => pair()))
    const lines = pairs.map(() => [] as string[])
    const over = pairs.map(async ({ client, peer, server }, i) => {
      for (const event of EVENTS) client.on(event, () => { lines[i].push(event) })
      peer.resume()
      await once(client, 'close')
      server.close()
      await once(server, 'close')
    })
    setImmediate(() => { for (const { client } of pairs) client.end() })
    await Promise.all(over)
    print(new Set(lines.map((line) => line.join())).size, lines[0])
  },
})
