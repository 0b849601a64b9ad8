/** Bytes through marketplace-native/net: all of them, in order, and not more in memory than was asked for. */
import { once } from 'node:events'
import type { AddressInfo, Server, Socket } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { Duplex, Readable } from 'node:stream'
import t, { type Test } from 'tap'
import net from 'marketplace-native/net'
import { pattern, randomSource, sleep, until } from '../support/util.js'

async function pair(
  t: Test, serverOptions: object = {}, clientOptions: object = {},
): Promise<[client: Socket, peer: Socket, server: Server]> {
  const server = net.createServer(serverOptions)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const { port } = server.address() as AddressInfo
  const client = net.connect({ port, host: '127.0.0.1', ...clientOptions })
  const [peer] = await accepted
  if (client.connecting) await once(client, 'connect')
  t.teardown(() => {
    client.destroy()
    peer.destroy()
    server.close()
  })
  return [client, peer, server]
}

async function all(socket: Socket): Promise<Buffer> {
  const pieces: Buffer[] = []
  for await (const piece of socket) pieces.push(piece as Buffer)
  return Buffer.concat(pieces)
}

void t.test('a socket is a Duplex', async (t) => {
  const [client] = await pair(t)
  t.ok(client instanceof Duplex)
  t.ok(client instanceof net.Socket)
})

void t.test('writes of every kind arrive in order', async (t) => {
  const random = randomSource(20261122)
  const [client, peer] = await pair(t)
  const received = all(peer)
  const sent: Buffer[] = []
  const waits: Promise<unknown>[] = []
  for (let i = 0; i < 600; i++) {
    const bytes = pattern(random(10) === 0 ? random(200_000) : random(200), i)
    const kind = random(8)
    if (kind === 0) client.cork()
    if (kind === 1) client.uncork()
    if (kind === 2) {
      waits.push(new Promise((resolve) => client.write(bytes, resolve)))
      sent.push(bytes)
    } else if (kind === 3) {
      const text = bytes.toString('latin1')
      client.write(text)
      sent.push(Buffer.from(text))
    } else if (kind === 4) {
      client.write(bytes.toString('hex'), 'hex')
      sent.push(bytes)
    } else {
      client.write(bytes)
      sent.push(bytes)
    }
    if (kind === 5) await sleep(0)
    if (kind === 6 && client.writableNeedDrain) {
      while (client.writableCorked > 0) client.uncork()
      await once(client, 'drain')
    }
  }
  while (client.writableCorked > 0) client.uncork()
  const expected = Buffer.concat(sent)
  t.equal(client.bytesWritten, expected.length)
  client.end()
  t.ok((await received).equals(expected))
  await Promise.all(waits)
  t.equal(peer.bytesRead, expected.length)
})

void t.test('a peer that does not read holds up the writer, and gets all in the end', async (t) => {
  const [client, peer] = await pair(t)
  peer.pause()
  const piece = pattern(16_000)
  let written = 0
  const limit = 200_000_000
  while (written < limit) {
    written += piece.length
    // What the kernel takes is offered to it between turns.
    if (!client.write(piece)) {
      const drain = once(client, 'drain').then(() => true)
      const drained = await Promise.race([drain, sleep(300).then(() => false)])
      if (!drained) break
    }
  }
  t.ok(written < limit)
  t.ok(client.writableNeedDrain)
  t.ok(client.writableLength <= client.writableHighWaterMark + piece.length)
  let received = 0
  peer.on('data', (data: Buffer) => { received += data.length })
  peer.resume()
  client.end()
  await once(peer, 'end')
  t.equal(received, written)
})

void t.test('a reader that does not read holds up the peer', async (t) => {
  const [client, peer] = await pair(t)
  const endless = Readable.from((function * () {
    for (let i = 0; i < 4000; i++) yield pattern(16_384)
  })())
  const done = pipeline(endless, peer).catch(() => undefined)
  client.pause()
  client.read(0)
  await until(() => client.readableLength > 0)
  await sleep(300)
  // One turn's reading may come on top.
  t.ok(client.readableLength < 4_000_000, `${client.readableLength} bytes`)
  let received = client.bytesRead - client.readableLength
  client.on('data', (data: Buffer) => { received += data.length })
  client.resume()
  await once(client, 'end')
  t.equal(received, 4000 * 16_384)
  await done
})

void t.test('data that came is kept when the program pauses in the middle of a turn', async (t) => {
  const [client, peer] = await pair(t)
  let text = ''
  peer.on('data', (data: Buffer) => {
    text += data.toString()
    peer.pause()
    setImmediate(() => { peer.resume() })
  })
  for (let i = 0; i < 200; i++) {
    client.write(`${i};`)
    if (i % 7 === 0) await sleep(0)
  }
  client.end()
  await once(peer, 'end')
  t.equal(text, Array.from({ length: 200 }, (_, i) => `${i};`).join(''))
})

void t.test("'readable' and read() after flowing", async (t) => {
  const [client, peer] = await pair(t)
  client.write('abc')
  const [first] = await once(peer, 'data') as [Buffer]
  t.equal(first.toString(), 'abc')
  peer.removeAllListeners('data')
  peer.pause()
  let text = ''
  peer.on('readable', () => {
    for (let piece = peer.read(2) as Buffer | null; piece !== null; piece = peer.read(2) as Buffer | null) {
      text += piece.toString()
    }
  })
  client.end('defg')
  await once(peer, 'end')
  t.equal(text, 'defg')
})

void t.test('a buffer may be used again when write has returned true', async (t) => {
  const [client, peer] = await pair(t, {}, { highWaterMark: 1 << 20 })
  const received = all(peer)
  const buffer = Buffer.alloc(12_000)
  const letters = ['a', 'b', 'c', 'd', 'e', 'f']
  for (const letter of letters) {
    buffer.fill(letter)
    t.ok(client.write(buffer))
  }
  client.end()
  const text = (await received).toString()
  t.equal(text, letters.map((letter) => letter.repeat(12_000)).join(''))
})

void t.test('destroy does not wait for a peer that does not read', async (t) => {
  const [client, peer] = await pair(t)
  peer.pause()
  peer.on('error', () => undefined)
  client.write(Buffer.alloc(50_000_000))
  await sleep(20)
  client.destroy()
  await once(client, 'close')
  t.ok(client.destroyed)
})
