/** Numbers of connections come back: what has had one before has nothing to do with it. */
import t, { type Test } from 'tap'
import type { TransportConnection } from '../../src/transport/seam/transport.js'
import { patient } from '../support/patience.js'
import { ECHO, Station, VARIANTS, portOf, type Variant } from '../support/transports.js'
import { until } from '../support/util.js'

/** More than a slot's numbers, in all slots that are in use here. */
const ROUNDS = 30_000

const idOf = (connection: TransportConnection): number => (connection as unknown as { id: number }).id

/** What may be done with something that is gone. */
function useAll(stale: readonly TransportConnection[]): void {
  for (const connection of stale) {
    connection.write('of the one before')
    connection.pause()
    connection.reportWrites = true
    connection.setNoDelay(false)
    connection.setKeepAlive(true, 10)
    connection.shutdown()
    connection.close()
    connection.abort()
  }
}

async function connections(t: Test, station: Station): Promise<void> {
  const port = portOf(await station.listen(ECHO))
  const before = new Map<number, TransportConnection[]>()
  for (let round = 0; round < ROUNDS; round++) {
    let closed = false
    let heard = ''
    const connection = await new Promise<TransportConnection>((resolve) => {
      station.connect({ host: '127.0.0.1', port }, {
        connected: resolve,
        data: (_connection, data) => { heard += String(data) },
        closed: () => { closed = true },
      })
    })
    const id = idOf(connection)
    const stale = before.get(id)
    if (stale !== undefined) {
      useAll([...before.values()].flat())
      connection.write('hello')
      await until(() => heard === 'hello')
      t.equal(closed, false)
      t.equal(connection.settings?.keepAlive, false)
      t.equal(connection.settings?.noDelay, true)
      connection.abort()
      t.ok(round > 1_000, `a number came back after ${round} connections`)
      return
    }
    before.set(id, [connection])
    connection.abort()
    while (!closed) await new Promise(setImmediate)
  }
  t.fail('no number has come back')
}

function onNative(name: string, body: (t: Test, station: Station) => Promise<void>): void {
  const run = async (t: Test, { name, make }: Variant): Promise<void> => {
    const station = new Station(make(), name)
    await body(t, station)
    t.strictSame(station.violations, [])
    await station.transport.close()
  }
  for (const variant of VARIANTS.filter(({ name }) => name.startsWith('native '))) {
    const how = { skip: variant.skip, timeout: patient(60_000) }
    void t.test(`${variant.name}: ${name}`, how, (t) => run(t, variant))
  }
}

onNative('a connection with the number of one before', connections)
