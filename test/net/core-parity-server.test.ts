/** As core-parity.test.ts: servers, Unix sockets, and arguments that are wrong. */
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import type { AddressInfo, Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { closed, collect, compare, listening, type Scenario } from './parity.js'

const scenarios: Readonly<Record<string, Scenario>> = {
  'wrong arguments of connect': (net, trace) => {
    const wrong: readonly (readonly unknown[])[] = [
      [], [{}], [{ port: -1 }], [{ port: 65536 }], [{ port: 'x' }], [{ port: null }], [{ port: true }],
      [{ port: 1, localAddress: 'x' }], [{ port: 1, localPort: 'x' }], [{ port: 1, lookup: 5 }],
      [{ port: 1, autoSelectFamily: 5 }], [{ port: 1, autoSelectFamilyAttemptTimeout: 0 }],
      [{ port: 1, autoSelectFamilyAttemptTimeout: 'x' }], [{ path: 5 }], [{ port: 1, timeout: 'x' }],
      [{ port: 1, timeout: -1 }], [{ port: 1, objectMode: true }],
      [{ port: 1, keepAliveInitialDelay: 'x' }], [{ port: '' }],
      [{ port: ' 1x' }], [{ port: 1.5 }], [{ port: [] }], [{ port: {} }], [65536],
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
    await Promise.all([closed(server), closed(client), closed(peer)])
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
}

compare(scenarios)
