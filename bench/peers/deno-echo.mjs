/**
 * Deno's own sockets: `Deno.listen`, a loop of read and write per connection, into one buffer that
 * it keeps; a write is waited for before the next read.
 *
 * usage: deno run --allow-net deno-echo.mjs [--host ADDRESS] [--port PORT];
 * prints `listening on HOST:PORT`.
 */
import { parseArgs } from 'node:util'

const { Deno } = globalThis
const BUFFER_BYTES = 65536

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

async function writeAll(connection, bytes) {
  let done = 0
  while (done < bytes.length) done += await connection.write(bytes.subarray(done))
}

async function echo(connection) {
  try {
    connection.setNoDelay(true)
    const buffer = new Uint8Array(BUFFER_BYTES)
    for (;;) {
      const length = await connection.read(buffer)
      if (length === null) break
      await writeAll(connection, buffer.subarray(0, length))
    }
  } catch {
    // the peer is gone
  } finally {
    connection.close()
  }
}

const listener = Deno.listen({ hostname: values.host, port: Number(values.port) })
console.log(`version: Deno ${Deno.version.deno}`)
console.log(`listening on ${listener.addr.hostname}:${listener.addr.port}`)
for await (const connection of listener) void echo(connection)
