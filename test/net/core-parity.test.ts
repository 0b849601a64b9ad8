/** Each scenario does the same, in the same order, on node:net and on marketplace-native/net. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo, Server, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { both, collect, type Net, type Scenario, type Trace } from './parity.js'

const ALL = ['lookup', 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'ready', 'end', 'finish',
  'error', 'close', 'timeout', 'drain']

async function listening(net: Net, trace: Trace, options: object = {}): Promise<[Server, number]> {
  const server = net.createServer(options)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  trace.name(port, 'port')
  return [server, port]
}

const closed = async (socket: NodeJS.EventEmitter): Promise<void> => {
  await new Promise<void>((resolve) => { socket.once('close', () => { resolve() }) })
}

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
    const quiet: Trace['watch'] = (label, emitter) => { emitter.on('error', () => undefined); void label }
    quiet('peer', peer)
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
    const client = net.connect({ port, host: 'name.invalid', lookup: lookup as never, autoSelectFamily: true })
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
  'wrong arguments of connect': (net, trace) => {
    const wrong: readonly (readonly unknown[])[] = [
      [], [{}], [{ port: -1 }], [{ port: 65536 }], [{ port: 'x' }], [{ port: null }], [{ port: true }],
      [{ port: 1, localAddress: 'x' }], [{ port: 1, localPort: 'x' }], [{ port: 1, lookup: 5 }],
      [{ port: 1, autoSelectFamily: 5 }], [{ port: 1, autoSelectFamilyAttemptTimeout: 0 }],
      [{ port: 1, autoSelectFamilyAttemptTimeout: 'x' }], [{ path: 5 }], [{ port: 1, timeout: 'x' }],
      [{ port: 1, timeout: -1 }], [{ port: 1, objectMode: true }], [{ port: 1, keepAliveInitialDelay: 'x' }],
      [{ port: '' }], [{ port: ' 1x' }], [{ port: 1.5 }], [{ port: [] }], [{ port: {} }], [65536],
    ]
    for (const args of wrong) {
      try {
        const socket = net.connect(...args as [never])
        socket.on('error', () => undefined)
        socket.destroy()
        trace.note('no error', args)
      } catch (error) {
        trace.note(args, error)
      }
    }
    return Promise.resolve()
  },
  'wrong arguments of listen': (net, trace) => {
    const wrong: readonly (readonly unknown[])[] = [
      [{}], [{ port: -1 }], [{ port: 65536 }], [{ port: true }], [{ path: 5 }], [{ host: 'x' }], [false],
      [{ port: 0, signal: 'x' }], [{ port: 'x' }], [-1], [[]],
    ]
    for (const args of wrong) {
      const server = net.createServer()
      try {
        server.listen(...args as [never])
        trace.note('no error', args)
      } catch (error) {
        trace.note(args, error)
      }
      server.close()
    }
    return Promise.resolve()
  },
  'wrong arguments of others': (net, trace) => {
    const calls: readonly (() => unknown)[] = [
      () => net.createServer('x' as never), () => net.createServer({ highWaterMark: 'x' as never }),
      () => net.createServer({ keepAliveInitialDelay: 'x' as never }),
      () => new net.Socket({ readableObjectMode: true } as never),
      () => new net.Socket({ signal: 'x' as never }),
      () => new net.Socket().setTimeout('x' as never), () => new net.Socket().setTimeout(-1),
      () => new net.Socket().setTimeout(Infinity), () => new net.Socket().setTimeout(5, 'x' as never),
    ]
    for (const call of calls) {
      try {
        call()
        trace.note('no error')
      } catch (error) {
        trace.note(error)
      }
    }
    return Promise.resolve()
  },
  'a server that is closed, or not open': async (net, trace) => {
    const server = net.createServer()
    trace.watch('server', server, 'close', 'listening', 'error')
    server.close((error) => { trace.note('callback', error) })
    await once(server, 'close')
    server.listen(0)
    trace.note(server.listening, typeof (server.address() as AddressInfo).port)
    try {
      server.listen(0)
    } catch (error) {
      trace.note(error)
    }
    await once(server, 'listening')
    server.close((error) => { trace.note('callback', error) })
    trace.note(server.listening, server.address())
    await once(server, 'close')
  },
  'destroyed without having connected': async (net, trace) => {
    for (const error of [undefined, new Error('mine')]) {
      const socket = new net.Socket()
      trace.watch('socket', socket, 'error', 'close')
      socket.destroy(error)
      await closed(socket)
    }
  },
  'an address in use': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    const second = net.createServer()
    trace.watch('second', second, 'error', 'listening', 'close')
    second.listen(port, '127.0.0.1')
    trace.note(second.listening, second.address())
    await once(second, 'error')
    server.close()
    await once(server, 'close')
  },
  'maxConnections': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    server.maxConnections = 1
    server.on('drop', (data) => {
      trace.name((data as { remotePort: number }).remotePort, 'remote')
      trace.note('drop', data)
    })
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const first = net.connect(port, '127.0.0.1').resume()
    const [peer] = await accepted
    const second = net.connect(port, '127.0.0.1').resume()
    second.on('error', () => undefined)
    await closed(second)
    await new Promise<void>((resolve) => {
      server.getConnections((error, count) => {
        trace.note('connections', error, count)
        resolve()
      })
    })
    first.destroy()
    peer.resume()
    await closed(peer)
    server.close()
    await once(server, 'close')
  },
  'a server that closes with connections open': async (net, trace) => {
    const [server, port] = await listening(net, trace)
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = net.connect(port, '127.0.0.1').resume()
    const [peer] = await accepted
    trace.watch('server', server, 'close')
    trace.watch('peer', peer, 'close')
    server.close()
    peer.end()
    await Promise.all([closed(server), closed(client)])
  },
  'a Unix socket': async (net, trace) => {
    const directory = mkdtempSync(join(tmpdir(), 'net-'))
    const path = join(directory, 'socket')
    trace.name(path, 'path')
    const server = net.createServer((peer) => { peer.end('hello') })
    server.listen(path)
    await once(server, 'listening')
    trace.note(server.address())
    const client = net.connect(path)
    const text = collect(client)
    await once(client, 'connect')
    trace.note(client.remoteAddress, client.address(), client.remotePort)
    await closed(client)
    trace.note(text())
    server.close()
    await once(server, 'close')
    const again = net.connect(path)
    trace.watch('again', again, 'error', 'close')
    await closed(again)
    rmSync(directory, { recursive: true })
  },
  'pauseOnConnect': async (net, trace) => {
    const [server, port] = await listening(net, trace, { pauseOnConnect: true })
    const accepted = once(server, 'connection') as Promise<[Socket]>
    const client = net.connect(port, '127.0.0.1')
    client.resume().end('waiting')
    const [peer] = await accepted
    const text = collect(peer)
    trace.note(peer.readableFlowing, peer.isPaused())
    peer.resume()
    await once(peer, 'end')
    trace.note(text())
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

for (const [name, scenario] of Object.entries(scenarios)) {
  void t.test(name, async (t) => {
    const { node, ours } = await both(scenario)
    t.ok(node.length > 0)
    t.same(ours, node)
  })
}
