/**
 * A program of its own, run where the network is as it needs it: connects to what can't be reached, on the
 * transport named by its argument, and prints the errors as JSON.
 */
import { performance } from 'node:perf_hooks'
import { Station, VARIANTS } from '../support/transports.js'
import { until } from '../support/util.js'
import type { SocketError } from '../../src/transport/seam/transport.js'
import { Peer } from './peers.js'

const make = VARIANTS.find(({ name }) => name === process.argv[2])?.make
if (make === undefined) throw new Error(`there is no transport '${process.argv[2]}'`)
const station = new Station(make())
const errors: Record<string, Partial<SocketError> & { turns: number }> = {}

async function tell(name: string, host: string, port: number): Promise<void> {
  const turns = performance.nodeTiming.uvMetricsInfo.loopCount
  const { code, errno, syscall, address, port: to } = await station.failure({ host, port }) ?? {}
  errors[name] = {
    ...(code !== undefined && { code }),
    ...(errno !== undefined && { errno }),
    ...(syscall !== undefined && { syscall }),
    ...(address !== undefined && { address }),
    ...(to !== undefined && { port: to }),
    turns: performance.nodeTiming.uvMetricsInfo.loopCount - turns,
  }
}

await tell('network', '203.0.113.1', 80)
await tell('host', '192.0.2.1', 80)
await tell('prohibited', '198.51.100.1', 80)
// A listener that accepts nobody and whose queue is full does not answer.
const deaf = new Peer(`
listener = socket.socket()
listener.bind(('127.0.0.1', 0))
listener.listen(0)
say(listener.getsockname()[1])
wait()
`)
const port = Number(await deaf.line())
let connected = 0
for (let i = 0; i < 2; i += 1) {
  station.connect({ host: '127.0.0.1', port }, { connected: () => { connected += 1 } })
}
await until(() => connected > 0)
await tell('late', '127.0.0.1', port)
deaf.kill()
await station.transport.close()
process.stdout.write(JSON.stringify(errors))
