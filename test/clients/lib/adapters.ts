/**
 * How each library is put on a net module: the code of docs/net-clients.md, with the module as a parameter.
 * Owns no test.
 */
import { Agent, type AgentOptions, type ClientRequestArgs, type Server as HttpServer } from 'node:http'
import type { NetConnectOpts, Socket } from 'node:net'
import * as tls from 'node:tls'
import { AbstractConnector } from 'ioredis'
import type { buildConnector } from 'undici'
import WebSocket, { type ClientOptions } from 'ws'
import type { Net, OnConnection } from './net-modules.js'

/**
 * What a server of net does with its connections, for one of `http`, `https` or `tls` to serve them. It is
 * told that it listens: from then on it looks after its timeouts.
 */
export function serving(server: HttpServer | tls.Server): OnConnection {
  server.emit('listening')
  return (socket) => server.emit('connection', socket)
}

/** An agent of `http` whose connections are those of `net`. */
export function httpAgent(net: Net, options: AgentOptions = {}): Agent {
  return new class extends Agent {
    override createConnection(options: ClientRequestArgs): Socket {
      return net.connect(options as NetConnectOpts)
    }
  }(options)
}

/** A client of `ws`. */
export function webSocket(net: Net, url: string, options: ClientOptions = {}): WebSocket {
  return new WebSocket(url, { ...options, agent: httpAgent(net) })
}

/** The `connect` option of undici's dispatchers, with TLS by node:tls. */
export function undiciConnect(net: Net, options: tls.ConnectionOptions = {}): buildConnector.connector {
  return ({ hostname, port, protocol, servername }, callback) => {
    const secure = protocol === 'https:'
    const plain = net.connect({ host: hostname, port: Number(port || (secure ? 443 : 80)), noDelay: true })
    const socket = secure
      ? tls.connect({ ...options, socket: plain, servername: servername ?? hostname })
      : plain
    const failed = (error: Error) => { callback(error, null) }
    socket.once('error', failed)
    socket.once(secure ? 'secureConnect' : 'connect', () => {
      socket.off('error', failed)
      callback(null, socket)
    })
  }
}

/** The `Connector` option of ioredis. */
export function redisConnector(net: Net): new (options: unknown) => AbstractConnector {
  return class extends AbstractConnector {
    readonly #options: NetConnectOpts

    constructor(options: unknown) {
      const { host, port, disconnectTimeout } = options as
        { host: string, port: number, disconnectTimeout: number }
      super(disconnectTimeout)
      this.#options = { host, port, noDelay: true }
    }

    override connect(): Promise<Socket> {
      this.connecting = true
      const socket = net.connect(this.#options)
      this.stream = socket
      return Promise.resolve(socket)
    }
  }
}
