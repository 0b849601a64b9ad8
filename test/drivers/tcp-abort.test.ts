/** The subpacket `abort`: a reset, at once, whatever is still to be sent. */
import { onBoth, server } from './tcp-program.js'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import {
  _, abort, endpoint, eof, quit, sendFeedback, sendMessage, tcpChannel, tcpCredit,
} from 'marketplace-native'
import { client, cutOff, until } from '../support/util.js'

for (const driver of ['bare', 'tcp'] as const) {
  onBoth(`${driver}: the peer sees a reset, the program why; others live on`, async (t, start) => {
    const reasons: unknown[] = []
    const program = start(() => server((them, us) => [
      endpoint.subscriber(tcpChannel(them, us, _), {
        onMessage: () => [
          // What is still to be sent is thrown away.
          sendMessage(tcpChannel(us, them, Buffer.alloc(20_000_000))),
          sendMessage(tcpChannel(us, them, abort)),
          sendMessage(tcpChannel(us, them, eof)),
        ],
        onAbsence: (_topic, _state, reason) => {
          reasons.push(reason)
          return quit()
        },
      }),
      sendMessage(tcpChannel(us, them, Buffer.from('a part'))),
      sendFeedback(tcpChannel(them, us, tcpCredit(1000))),
    ]), { driver })
    const port = await program.port()
    const [bad, good] = [await client(port), await client(port)]
    for (const socket of [bad, good]) await once(socket, 'readable')
    const { port: badPort } = bad.address() as AddressInfo
    const failed = cutOff(bad)
    bad.write('cut')
    t.match(await failed, { code: 'ECONNRESET' })
    await until(() => reasons.length === 1)
    t.match(reasons[0], { code: 'ECONNABORTED', syscall: 'write', address: '127.0.0.1', port: badPort })
    t.equal(program.connections, 1, 'the other one is there')
    t.equal(String(good.read()), 'a part')
    good.destroy()
    await until(() => program.connections === 0)
  })
}
