/** TLS and https over sockets of the module: a secure layer on both ends, and STARTTLS. */
import { once } from 'node:events'
import { Agent, get } from 'node:https'
import { createServer as createHttp, type IncomingMessage } from 'node:http'
import tls, { type TLSSocket } from 'node:tls'
import { makeCertificates } from '../../clients/lib/certificates.js'
import { programs, type Environment, type Socket } from '../program.js'

const { key, cert, ca } = makeCertificates()

interface Secure {
  readonly client: TLSSocket
  readonly peer: TLSSocket
  readonly end: () => Promise<void>
}

/** TLS over both ends of a connection. */
async function secured({ pair }: Environment, options: tls.ConnectionOptions = {}): Promise<Secure> {
  const { client: raw, peer: rawPeer, server } = await pair()
  const peer = new tls.TLSSocket(rawPeer, { isServer: true, key, cert })
  const client = tls.connect({ socket: raw, ca, servername: 'localhost', ...options })
  client.on('error', () => undefined)
  peer.on('error', () => undefined)
  const end = async (): Promise<void> => {
    client.destroy()
    peer.destroy()
    for (const socket of [raw, rawPeer]) {
      socket.destroy()
      if (!socket.closed) await once(socket, 'close')
    }
    server.close()
    await once(server, 'close')
  }
  return { client, peer, end }
}

async function text(socket: AsyncIterable<unknown>): Promise<string> {
  let all = ''
  for await (const piece of socket) all += String(piece)
  return all
}

export default programs({
  'an echo over TLS': async (environment) => {
    const { client, peer, end } = await secured(environment)
    peer.pipe(peer)
    await once(client, 'secureConnect')
    environment.print(client.authorized, client.getPeerCertificate().subject.CN)
    client.write('hello')
    const [data] = await once(client, 'data') as [Buffer]
    environment.print(data)
    await end()
  },
  'a megabyte, and the end': async (environment) => {
    const { client, peer, end } = await secured(environment)
    await once(client, 'secureConnect')
    const heard = text(client)
    peer.end(Buffer.alloc(1024 * 1024, 'x'))
    environment.print((await heard).length)
    await end()
  },
  'a certificate of nobody': async (environment) => {
    const { client, peer, end } = await secured(environment, { ca: [] })
    peer.resume()
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => { client.once('error', resolve) })
    environment.print(error.code)
    await end()
  },
  'a server that speaks no TLS': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.on('error', () => undefined)
      socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')
    })
    const raw = net.connect(port, '127.0.0.1')
    const socket = tls.connect({ socket: raw })
    const error = await new Promise<NodeJS.ErrnoException>((resolve) => { socket.once('error', resolve) })
    print(error.code)
    raw.destroy()
    server.close()
    await once(server, 'close')
  },
  'STARTTLS': async ({ net, print, serve }) => {
    const { server, port } = await serve((socket) => {
      socket.once('data', (data) => {
        print('server hears', data)
        socket.write('GO')
        const secure = new tls.TLSSocket(socket, { isServer: true, key, cert })
        secure.on('error', () => undefined)
        secure.once('data', (secret) => {
          print('secret', secret)
          secure.end('bye')
        })
      })
    })
    const socket = net.connect(port, '127.0.0.1')
    socket.write('STARTTLS')
    const [answer] = await once(socket, 'data') as [Buffer]
    print('client hears', answer)
    const secure = tls.connect({ socket, ca, servername: 'localhost' })
    await once(secure, 'secureConnect')
    secure.write('password')
    print(await text(secure))
    secure.destroy()
    server.close()
    await once(server, 'close')
  },
  'https over sockets that an agent makes': async ({ net, print, serve }) => {
    const web = createHttp((request, response) => { response.end(`${request.method} ${request.url}`) })
    const { server, port } = await serve((socket: Socket) => {
      const secure = new tls.TLSSocket(socket, { isServer: true, key, cert })
      secure.on('error', () => undefined)
      web.emit('connection', secure)
    })
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const createConnection = (): TLSSocket =>
      tls.connect({ socket: net.connect(port, '127.0.0.1'), ca, servername: 'localhost' })
    ;(agent as unknown as { createConnection: unknown }).createConnection = createConnection
    for (const path of ['/one', '/two', '/three']) {
      const [response] = await once(get({ agent, path, host: 'localhost' }), 'response') as [IncomingMessage]
      print(response.statusCode, await text(response))
    }
    agent.destroy()
    web.closeAllConnections()
    server.close()
    await once(server, 'close')
  },
})
