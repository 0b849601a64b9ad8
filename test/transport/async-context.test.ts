/** Async context: what a program's AsyncLocalStorage holds when sockets call it. */
import { AsyncLocalStorage, executionAsyncId } from 'node:async_hooks'
import { setImmediate as immediate } from 'node:timers/promises'
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, until } from '../support/util.js'

onEveryTransport('the program is called in the context that the transport was opened in', async (t, open) => {
  const storage = new AsyncLocalStorage<string>()
  const seen: (string | undefined)[] = []
  const later: (string | undefined)[] = []
  const note = (): void => {
    seen.push(storage.getStore())
    t.ok(executionAsyncId() > 0, 'inside a callback that async_hooks know')
  }
  const station = storage.run('opened', () => open())
  const listener = await storage.run('listening', () => station.listen({
    accepted: note,
    end: (connection) => { connection.shutdown() },
    data: (_connection, data) => {
      note()
      storage.run(data.toString(), () => {
        void Promise.resolve().then(() => later.push(storage.getStore()))
        void immediate().then(() => later.push(storage.getStore()))
      })
    },
    closed: note,
  }))
  const sockets = await storage.run('client', () => Promise.all([1, 2].map(() => client(portOf(listener)))))
  await storage.run('client', async () => {
    for (let round = 1; round <= 3; round++) {
      sockets.forEach((socket, i) => socket.write(`${i}`))
      await until(() => later.length === round * 4)
    }
    for (const socket of sockets) socket.destroy()
  })
  await until(() => station.transport.metrics.connections === 0)
  await immediate()
  t.strictSame(seen, Array.from({ length: 2 + 6 + 2 }, () => 'opened'))
  t.strictSame(later.sort(), Array.from({ length: 12 }, (_, i) => (i < 6 ? '0' : '1')), 'and keeps its own')
})
