/** Each scenario does the same, in the same order, on node:net and on marketplace-native/net. */
import { once } from 'node:events'
import type { Socket } from 'node:net'
import { closed, collect, compare, listening, type Scenario, type Trace } from './parity.js'

const ALL = ['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'ready', 'end', 'finish',
  'error', 'close', 'timeout', 'drain']

/** A server and a connection to it; `run` has both ends. */
function pair(
  run: (client: Socket, peer: Socket, trace: Trace) => Promise<void> | void, options: object = {},
  clientOptions: object = {},
): Scenario {
  return async (net, trace) => {
    const [server, port] = await listening(net, trace, options)
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = net.connect({ port, host: '127.0.0.1', ...clientOptions })
    trace.watch('client', client, ...ALL)
    const [peer] = await accepted
    const ends = Promise.all([closed(client), closed(peer)])
    peer.on('error', () => undefined)
    if (client.connecting) await once(client, 'connect')
    await run(client, peer, trace)
    await ends
    server.close()
    await once(server, 'close')
    trace.note('state', client.readyState, client.destroyed, client.pending, client.connecting,
      client.bytesRead, client.bytesWritten)
  }
}

const state = ({ readyState, pending, connecting, destroyed }: Socket): object => (
  { readyState, pending, connecting, destroyed }
)

const scenarios: Readonly<Record<string, Scenario>> = {
  'the client ends': pair((client, peer) => {
    peer.resume()
    client.resume().end('hello')
  }),
  'the peer ends': pair((client, peer, trace) => {
    const text = collect(client)
    client.on('end', () => { trace.note(text()) })
    peer.resume().end('bye')
  }),
  'destroyed': pair((client, peer) => {
    peer.resume()
    client.destroy()
    client.destroy()
  }),
  'destroyed with an error': pair((client, peer) => {
    peer.resume()
    client.destroy(new Error('mine'))
  }),
  'reset by the peer': pair((client, peer) => {
    client.resume()
    peer.resetAndDestroy()
  }),
  'resets the peer': pair((client, peer, trace) => {
    peer.on('error', (error) => { trace.note('peer', error) })
    peer.resume()
    client.resetAndDestroy()
  }),
  'destroySoon': pair((client, peer, trace) => {
    const text = collect(peer)
    peer.on('end', () => { trace.note('peer has', text()) })
    client.write('last words')
    client.destroySoon()
  }),
  'writes with callbacks': pair(async (client, peer, trace) => {
    const text = collect(peer)
    client.resume()
    client.write('a', () => { trace.note('written a', client.bytesWritten) })
    client.write('é', 'latin1', () => { trace.note('written é') })
    client.write(new Uint8Array([98]), () => { trace.note('written b') })
    await new Promise<void>((resolve) => { client.end('c', () => { trace.note('ended'); resolve() }) })
    await once(peer, 'end')
    trace.note(text())
  }),
  'write after end': pair((client, peer, trace) => {
    peer.resume()
    client.resume().end()
    trace.note(client.write('late', (error) => { trace.note('callback', error) }))
  }),
  'write after destroy': pair((client, peer, trace) => {
    peer.resume()
    client.destroy()
    trace.note(client.write('late', (error) => { trace.note('callback', error) }))
  }),
  'write after the other side ended': pair((client, peer, trace) => {
    peer.resume()
    client.resume()
    client.on('end', () => {
      trace.note(client.write('late', (error) => { trace.note('callback', error) }))
    })
    peer.end()
  }, { allowHalfOpen: true }),
  'half-open': pair((client, peer, trace) => {
    const text = collect(peer)
    client.resume().on('end', () => {
      trace.note(state(client))
      client.end('after')
    })
    peer.on('end', () => { trace.note(text()) })
    peer.end()
  }, { allowHalfOpen: true }, { allowHalfOpen: true }),
  'wrong chunks': pair((client, peer, trace) => {
    peer.resume()
    for (const chunk of [null, undefined, 5, {}, [], true]) {
      try {
        trace.note(client.write(chunk as never))
      } catch (error) {
        trace.note(error)
      }
    }
    client.destroy()
  }),
  'wrong encodings': pair((client, peer, trace) => {
    peer.resume()
    try {
      trace.note(client.write('x', 'nonsense' as never))
    } catch (error) {
      trace.note(error)
    }
    client.destroy()
  }),
  'cork': pair(async (client, peer, trace) => {
    const text = collect(peer)
    client.cork()
    for (const part of ['a', 'b', 'c']) client.write(part)
    trace.note(client.writableLength, client.writableCorked)
    client.uncork()
    client.end('d')
    client.resume()
    await once(peer, 'end')
    trace.note(text())
  }),
  'strings come in the encoding that was set': pair((client, peer, trace) => {
    client.setEncoding('hex')
    client.on('data', (text) => { trace.note(typeof text, text) })
    peer.resume().end('ab')
  }),
  'a time-out': pair(async (client, peer, trace) => {
    peer.resume()
    client.resume()
    client.setTimeout(30, () => { trace.note('callback', client.timeout) })
    await once(client, 'timeout')
    client.setTimeout(0)
    client.destroy()
  }),
  'an aborted signal': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    const controller = new AbortController()
    const client = net.connect({ port, host: '127.0.0.1', signal: controller.signal })
    trace.watch('client', client, 'error', 'close', 'connect')
    controller.abort()
    await closed(client)
    server.close()
    await once(server, 'close')
  },
  'refused': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.close()
    await once(server, 'close')
    const client = net.connect(port, '127.0.0.1')
    trace.note(state(client))
    trace.watch('client', client, ...ALL)
    client.write('x', (error) => { trace.note('callback', error) })
    await closed(client)
    trace.note(state(client), client.bytesWritten)
  },
  'refused at every address': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.close()
    await once(server, 'close')
    const lookup = (_host: string, _options: object, callback: (...args: unknown[]) => void): void => {
      callback(null, [{ address: '127.0.0.1', family: 4 }, { address: '127.0.0.2', family: 4 }])
    }
    const client = net.connect({
      port, host: 'name.invalid', lookup: lookup as never, autoSelectFamily: true,
    })
    trace.watch('client', client, ...ALL)
    await closed(client)
    trace.note(client.autoSelectFamilyAttemptedAddresses)
  },
  'a lookup that fails': async (net, trace) => {
    const lookup = (_host: string, _options: object, callback: (error: Error) => void): void => {
      process.nextTick(callback, Object.assign(new Error('no such name'), { code: 'ENOTFOUND' }))
    }
    const client = net.connect({ port: 1, host: 'name.invalid', lookup: lookup as never })
    trace.watch('client', client, ...ALL)
    await closed(client)
  },
  'a lookup that gives nonsense': async (net, trace) => {
    for (const found of [['nonsense', 4], ['127.0.0.1', 7]] as const) {
      const lookup = (_host: string, _options: object, callback: (...args: unknown[]) => void): void => {
        process.nextTick(callback, null, ...found)
      }
      const client = net.connect({
        port: 1, host: 'name.invalid', lookup: lookup as never, autoSelectFamily: false,
      })
      trace.watch('client', client, ...ALL)
      await closed(client)
    }
  },
  'destroyed while it connects': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    const client = net.connect(port, '127.0.0.1')
    trace.watch('client', client, ...ALL)
    client.write('x', (error) => { trace.note('callback', error) })
    client.destroy()
    await closed(client)
    trace.note(state(client))
    server.close()
    await once(server, 'close')
  },
  'a local address': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = net.connect({ port, host: '127.0.0.1', localAddress: '127.0.0.3' })
    const [peer] = await accepted
    trace.note(peer.remoteAddress, peer.remoteFamily, peer.localAddress, peer.localPort, peer.address())
    peer.end()
    client.resume()
    await closed(client)
    server.close()
    await once(server, 'close')
  },
  'connects again': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.on('connection', (peer: Socket) => { peer.end('hello') })
    const client = new net.Socket()
    trace.watch('client', client, 'connect', 'end', 'close')
    client.on('data', (data) => { trace.note(data) })
    for (let i = 0; i < 2; i++) {
      client.connect(port, '127.0.0.1')
      await closed(client)
    }
    server.close()
    await once(server, 'close')
  },
  'onread': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.on('connection', (peer: Socket) => { peer.end('abcdefgh') })
    let text = ''
    const client = net.connect({
      port,
      host: '127.0.0.1',
      onread: {
        buffer: Buffer.alloc(3),
        callback: (length: number, buffer: Uint8Array) => {
          text += Buffer.from(buffer.subarray(0, length)).toString()
          return true
        },
      },
    } as never)
    trace.watch('client', client, 'end', 'close', 'data')
    await closed(client)
    trace.note(text, client.bytesRead)
    server.close()
    await once(server, 'close')
  },
  'async iteration': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.on('connection', (peer: Socket) => { peer.end('abc') })
    const client = net.connect(port, '127.0.0.1')
    let text = ''
    for await (const data of client) text += String(data)
    trace.note(text, client.destroyed)
    server.close()
    await once(server, 'close')
  },
}

compare(scenarios)
