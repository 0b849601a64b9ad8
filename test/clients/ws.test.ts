/** `ws`, server and client, over the connections of a net module. */
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { Test } from 'tap'
import { WebSocketServer, type RawData, type ServerOptions, type WebSocket } from 'ws'
import { pattern, until } from '../support/util.js'
import { serving, webSocket } from './lib/adapters.js'
import { listen, onEachNet, type Net } from './lib/nets.js'

/** A server of WebSockets. @returns its URL */
async function webSocketServer(
  t: Test, net: Net, onSocket: (socket: WebSocket) => void, options: ServerOptions = {},
): Promise<string> {
  const server = createServer()
  const webSockets = new WebSocketServer({ ...options, server })
  webSockets.on('connection', (socket) => {
    socket.on('error', () => undefined)
    onSocket(socket)
  })
  t.teardown(() => { server.close() })
  const { port } = await listen(t, net, serving(server))
  return `ws://127.0.0.1:${port}`
}

const echo = (socket: WebSocket): void => {
  socket.on('message', (data: RawData, isBinary: boolean) => { socket.send(data, { binary: isBinary }) })
}

async function roundTrip(socket: WebSocket, message: Buffer | string): Promise<[Buffer, boolean]> {
  const answer = once(socket, 'message') as Promise<[Buffer, boolean]>
  socket.send(message)
  return await answer
}

onEachNet('echo: text and binary, from nothing to 16 MiB, plain and compressed', async (t, net) => {
  for (const perMessageDeflate of [false, true]) {
    const url = await webSocketServer(t, net, echo, { perMessageDeflate })
    const socket = webSocket(net, url, { perMessageDeflate })
    await once(socket, 'open')
    t.equal(socket.extensions, perMessageDeflate ? 'permessage-deflate' : '')
    const sizes = [0, 1, 125, 126, 65535, 65536, 1 << 20, ...perMessageDeflate ? [] : [16 << 20]]
    for (const size of sizes) {
      const message = pattern(size)
      const [data, isBinary] = await roundTrip(socket, message)
      t.ok(isBinary && data.equals(message), `${size} bytes`)
    }
    const [data, isBinary] = await roundTrip(socket, 'Grüße, 世界')
    t.same([data.toString(), isBinary], ['Grüße, 世界', false])
    socket.close()
    await once(socket, 'close')
  }
})

onEachNet('ping and pong, with their payload', async (t, net) => {
  const pings: string[] = []
  const url = await webSocketServer(t, net, (socket) => {
    socket.on('ping', (data) => { pings.push(data.toString()) })
  })
  const socket = webSocket(net, url)
  await once(socket, 'open')
  const pong = once(socket, 'pong') as Promise<[Buffer]>
  socket.ping('are you there')
  t.equal((await pong)[0].toString(), 'are you there')
  t.same(pings, ['are you there'])
  socket.close()
  await once(socket, 'close')
})

onEachNet('closing: the code and reason of either side; without a word it is 1006', async (t, net) => {
  const ends: unknown[][] = []
  const url = await webSocketServer(t, net, (socket) => {
    socket.on('close', (code, reason) => ends.push([code, reason.toString()]))
    socket.on('message', (data: Buffer) => {
      if (data.toString() === 'leave') socket.close(4002, 'told to')
      else socket.terminate()
    })
  })
  const mine = webSocket(net, url)
  await once(mine, 'open')
  mine.close(4001, 'had enough')
  t.same((await once(mine, 'close')).map(String), ['4001', 'had enough'])
  for (const [order, code, reason] of [['leave', 4002, 'told to'], ['die', 1006, '']] as const) {
    const socket = webSocket(net, url)
    await once(socket, 'open')
    socket.send(order)
    t.same((await once(socket, 'close')).map(String), [String(code), reason])
  }
  await until(() => ends.length === 3)
  t.same(ends, [[4001, 'had enough'], [4002, 'told to'], [1006, '']])
})

onEachNet('backpressure: what a paused client does not read waits at the sender', async (t, net) => {
  const COUNT = 256
  const part = pattern(1 << 18)
  let sender: WebSocket | undefined
  let written = 0
  const url = await webSocketServer(t, net, (socket) => {
    sender = socket
    for (let i = 0; i < COUNT; i += 1) {
      part.writeUInt32BE(i)
      socket.send(Buffer.from(part), () => (written += 1))
    }
  })
  const socket = webSocket(net, url)
  const numbers: number[] = []
  let total = 0
  socket.on('message', (data: Buffer) => {
    numbers.push(data.readUInt32BE())
    total += data.length
  })
  await once(socket, 'message')
  socket.pause()
  await until(() => sender !== undefined && written > 0)
  t.ok(sender!.bufferedAmount > 0, 'some waits')
  t.ok(written < COUNT)
  socket.resume()
  await until(() => numbers.length === COUNT)
  t.same(numbers, Array.from({ length: COUNT }, (_, i) => i))
  t.equal(total, COUNT * part.length)
  await until(() => sender?.bufferedAmount === 0)
  socket.close()
  await once(socket, 'close')
})

onEachNet('broadcast: 30 clients get 100 messages each, in order', async (t, net) => {
  const members = new Set<WebSocket>()
  const url = await webSocketServer(t, net, (socket) => { members.add(socket) })
  const got = Array.from({ length: 30 }, () => [] as string[])
  const clients = got.map((texts) => {
    const socket = webSocket(net, url)
    socket.on('message', (data: Buffer) => { texts.push(data.toString()) })
    return socket
  })
  await until(() => members.size === clients.length)
  const sent = Array.from({ length: 100 }, (_, i) => `message ${i}`)
  for (const text of sent) for (const member of members) member.send(text)
  await until(() => got.every((texts) => texts.length === sent.length))
  t.ok(got.every((texts) => texts.join() === sent.join()))
  for (const socket of clients) socket.close()
  await Promise.all(clients.map((socket) => once(socket, 'close')))
})
