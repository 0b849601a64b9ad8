/**
 * One process of a measurement, forked by measure.ts with a kind and the name of a net module. Owns the
 * programs that are measured, and the load on WebSockets.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Redis } from 'ioredis'
import { WebSocketServer, type RawData } from 'ws'
import { redisConnector, serving, webSocket } from './adapters.js'
import { NETS_BY_NAME, type Net, type OnConnection } from './net-modules.js'

const WEB_SOCKETS = 50
/** How many GETs wait for their answers at any time. */
const GETS_AT_ONCE = 50

/** What an arm is asked to do; each order is answered by one message. */
export type Order =
  | { readonly do: 'usage' }
  | { readonly do: 'load', readonly port: number, readonly ms: number }

/** CPU time in microseconds since the process began, and requests answered in this order. */
export interface Report {
  readonly cpu: number
  readonly requests: number
}

function cpu(): number {
  const { user, system } = process.cpuUsage()
  return user + system
}

const servers: Readonly<Record<string, () => OnConnection>> = {
  http: () => serving(createServer((_asked, answer) => { answer.end('hello') })),
  ws: () => {
    const server = createServer()
    new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket) => {
      socket.on('message', (data: RawData, isBinary: boolean) => { socket.send(data, { binary: isBinary }) })
    })
    return serving(server)
  },
}

type Load = (net: Net, port: number, ms: number) => Promise<number>

/** Messages of 64 bytes, one on each connection at a time. @returns how many came back */
const pingPong: Load = async (net, port, ms) => {
  let count = 0
  const until = performance.now() + ms
  await Promise.all(Array.from({ length: WEB_SOCKETS }, () => new Promise<void>((resolve, reject) => {
    const socket = webSocket(net, `ws://127.0.0.1:${port}`, { perMessageDeflate: false })
    const message = Buffer.alloc(64, 'x')
    socket.on('open', () => { socket.send(message) })
    socket.on('message', () => {
      count += 1
      if (performance.now() < until) socket.send(message)
      else socket.close()
    })
    socket.on('error', reject).on('close', () => { resolve() })
  })))
  return count
}

/** GETs of a short value over one connection, `GETS_AT_ONCE` at a time. @returns how many were answered */
const gets: Load = async (net, port, ms) => {
  const redis = new Redis({ host: '127.0.0.1', port, Connector: redisConnector(net) })
  await redis.set('key', 'value')
  let count = 0
  const until = performance.now() + ms
  await Promise.all(Array.from({ length: GETS_AT_ONCE }, async () => {
    while (performance.now() < until) {
      if (await redis.get('key') !== 'value') throw new Error('redis answered something else')
      count += 1
    }
  }))
  await redis.quit()
  return count
}

const loads: Readonly<Record<string, Load>> = { 'ws-load': pingPong, redis: gets }

const [kind, name] = process.argv.slice(2)
const net = NETS_BY_NAME.get(name)
if (net === undefined) throw new TypeError(`arm: net must be one of its names; got '${name}'`)

process.on('message', (order: Order) => {
  void (async () => {
    const before = cpu()
    const requests = order.do === 'load' ? await loads[kind](net, order.port, order.ms) : 0
    const report: Report = { cpu: order.do === 'load' ? cpu() - before : cpu(), requests }
    process.send?.(report)
  })()
})
process.on('disconnect', () => process.exit())

if (kind in servers) {
  const server = net.createServer({ noDelay: true, allowHalfOpen: true }, servers[kind]())
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
} else {
  process.send?.(0)
}
