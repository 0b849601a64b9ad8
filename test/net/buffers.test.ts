/** Whose memory sockets receive in, and what can be asked for. */
import { once } from 'node:events'
import * as nodeNet from 'node:net'
import t from 'tap'
import * as ourNet from '../../src/net/index.js'
import { until } from '../support/util.js'
import { patient } from '../support/patience.js'

for (const [name, net] of [['node:net', nodeNet], ['marketplace-native/net', ourNet]] as const) {
  void t.test(`${name}: each piece is in memory of its own`, { timeout: patient(30_000) }, async (t) => {
    // Node's sockets have it so already.
    if (net === ourNet) ourNet.setBuffers('isolated')
    t.teardown(() => { ourNet.setBuffers('owned') })
    const pieces: Buffer[] = []
    const server = net.createServer((socket) => {
      socket.on('data', (data: Buffer) => { pieces.push(data) })
      socket.pipe(socket)
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    const client = net.connect({ port: (server.address() as nodeNet.AddressInfo).port, host: '127.0.0.1' })
    let returned = 0
    client.on('data', (data: Buffer) => {
      returned += data.length
      pieces.push(data)
    })
    let sent = 0
    for (const size of [1, 64, 65, 3000, 200_000]) {
      client.write(Buffer.alloc(size, size))
      sent += size
      await until(() => returned === sent)
    }
    client.destroy()
    server.close()
    await once(server, 'close')
    t.strictSame(pieces.filter(({ buffer, length }) => buffer.byteLength !== length), [])
    for (const piece of pieces) structuredClone(piece, { transfer: [piece.buffer as ArrayBuffer] })
    t.ok(pieces.every(({ length }) => length === 0))
  })
}

void t.test('setBuffers checks what it is told', (t) => {
  t.throws(() => { ourNet.setBuffers('borrowed' as never) }, {
    code: 'ERR_INVALID_ARG_TYPE', message: /setBuffers: buffers must be 'owned' or 'isolated'/,
  })
  t.match(ourNet.getBuffers(), /^(owned|isolated)$/)
  t.end()
})
