/** A sink that throws: the program hears of it, the sink is called again, and nothing of what follows is lost. */
import t from 'tap'
import type { TransportEvent } from '../../src/transport/seam/transport.js'
import { TIMEOUT, VARIANTS } from '../support/transports.js'
import { client, until } from '../support/util.js'

for (const { name, make, skip } of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
  void t.test(`${name}: a sink that throws is called again, with no events`, { skip, timeout: TIMEOUT }, async (t) => {
    const thrown: string[] = []
    const onError = (error: Error): void => { thrown.push(error.message) }
    process.on('uncaughtException', onError)
    const transport = make()
    t.teardown(async () => {
      process.off('uncaughtException', onError)
      await transport.close()
    })
    const calls: (readonly TransportEvent[])[] = []
    transport.open((events) => {
      calls.push(events)
      if (events.length > 0) throw new Error(String(events.length))
    })
    const listener = transport.listen({ host: '127.0.0.1', port: 0 })
    await until(() => listener.address !== undefined)
    const { port } = listener.address as { port: number }
    const sockets = await Promise.all(Array.from({ length: 5 }, async () => client(port)))
    const kinds = (kind: string): number => calls.flat().filter((event) => event.kind === kind).length
    await until(() => kinds('accepted') === 5)
    for (const socket of sockets) socket.end('x')
    await until(() => kinds('data') === 5 && kinds('end') === 5)
    await until(() => calls.filter((events) => events.length === 0).length >= thrown.length)
    t.ok(thrown.length > 0)
    t.same(thrown, calls.filter((events) => events.length > 0).map((events) => String(events.length)))
    for (const socket of sockets) socket.destroy()
  })
}
