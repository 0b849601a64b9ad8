/** `onread`: what comes is put into the program's own buffer. */
import { both, closed, type Behaviour, type Socket } from './both.js'
import { pattern } from '../support/util.js'
import { once } from 'node:events'

async function sender(env: Behaviour, bytes: Buffer): ReturnType<Behaviour['listen']> {
  return env.listen((socket) => { socket.end(bytes) })
}

both('onread-static-buffer', 'one buffer, over and over', async (t, env) => {
  const bytes = pattern(100_000)
  const server = await sender(env, bytes)
  const buffer = Buffer.alloc(4096)
  const chunks: Buffer[] = []
  let same = true
  const client = env.connect(server, { onread: { buffer, callback(length: number, given: Uint8Array) {
    same &&= given === buffer
    chunks.push(Buffer.from(given.subarray(0, length)))
    return true
  } } })
  client.on('data', () => t.fail('data'))
  await once(client.resume(), 'end')
  t.ok(same)
  t.ok(Buffer.concat(chunks).equals(bytes))
  t.ok(chunks.every((chunk) => chunk.length <= 4096))
  t.equal(client.bytesRead, bytes.length)
})

both('onread-static-buffer', 'a function gives the buffers', async (t, env) => {
  const bytes = pattern(50_000)
  const server = await sender(env, bytes)
  const buffers: Uint8Array[] = []
  const chunks: Buffer[] = []
  const client = env.connect(server, { onread: {
    buffer() {
      const buffer = new Uint8Array(1024)
      buffers.push(buffer)
      return buffer
    },
    callback(length: number, given: Uint8Array) {
      if (!buffers.includes(given)) t.fail('an unknown buffer')
      chunks.push(Buffer.from(given.subarray(0, length)))
      return true
    },
  } })
  await once(client.resume(), 'end')
  t.ok(Buffer.concat(chunks).equals(bytes))
})

both('onread-static-buffer', 'in the callback, this is the socket, which it may pause', async (t, env) => {
  const server = await sender(env, pattern(5000))
  let received = 0
  let paused = false
  const client = env.connect(server, { onread: {
    buffer: Buffer.alloc(1000),
    callback(this: Socket, length: number) {
      t.equal(this, client)
      if (paused) t.fail('it was called while paused')
      received += length
      paused = true
      this.pause()
      setImmediate(() => {
        paused = false
        this.resume()
      })
      return true
    },
  } })
  await once(client.resume(), 'end')
  t.equal(received, 5000)
})

both('onread-static-buffer', 'false pauses until resume', async (t, env) => {
  const bytes = pattern(20_000)
  const server = await sender(env, bytes)
  let paused = false
  const chunks: Buffer[] = []
  const buffer = Buffer.alloc(1000)
  const client = env.connect(server, { onread: { buffer, callback(length: number, given: Buffer) {
    if (paused) t.fail('it was called while paused')
    chunks.push(Buffer.from(given.subarray(0, length)))
    if (chunks.length % 5 !== 0) return true
    paused = true
    setImmediate(() => {
      paused = false
      client.resume()
    })
    return false
  } } })
  await closed(client.resume())
  t.ok(Buffer.concat(chunks).equals(bytes))
})
