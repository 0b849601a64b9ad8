/** Many visitors of the echo example: no descriptor leaks, and what stop() gives back. */
import { onBoth, openDescriptors } from '../drivers/tcp-program.js'
import { once } from 'node:events'
import { connect } from 'node:net'
import { echoServer } from '../../examples/echo.js'
import { client, collectGarbage, until } from '../support/util.js'

/** Connects, is answered, and leaves in one of three ways. */
async function visit(port: number, way: number): Promise<void> {
  const socket = connect(port, '127.0.0.1').on('error', () => undefined)
  await once(socket, 'connect')
  const gone = once(socket, 'close')
  if (way === 0) {
    socket.resume().end('hello')
  } else {
    socket.write('hello')
    await once(socket, 'data')
    if (way === 1) socket.resetAndDestroy()
    else socket.destroy()
  }
  await gone
}

onBoth('2,000 visits leave no descriptor; after stop() the port is free', async (t, start) => {
  // Node keeps a descriptor in reserve from its first socket on.
  const first = start(() => echoServer(0))
  await visit(await first.port(), 0)
  await first.stop()
  const before = openDescriptors()
  const program = start(() => echoServer(0))
  const port = await program.port()
  const whileOpen = openDescriptors()
  let left = 2000
  const visitor = async (): Promise<void> => {
    while (left > 0) await visit(port, left-- % 3)
  }
  await Promise.all(Array.from({ length: 50 }, visitor))
  await until(() => program.connections === 0)
  collectGarbage()
  t.equal(program.transports[0].metrics.accepts, 2000)
  t.equal(openDescriptors(), whileOpen, 'as many descriptors as before the first visitor')
  program.vm.stop()
  await program.vm
  t.equal(openDescriptors(), before, 'as many as before the program')
  await t.rejects(client(port), { code: 'ECONNREFUSED' })
  const second = start(() => echoServer(port))
  t.equal(await second.port(), port, 'the port is free again')
})
