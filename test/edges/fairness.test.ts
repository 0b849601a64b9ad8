/**
 * One connection that sends as fast as it can starves neither the others nor Node's timers. What is
 * asserted does not depend on the machine's speed; `npm run test:fairness` measures latencies.
 */
import { spawn } from 'node:child_process'
import { onEveryTransport, portOf } from '../support/transports.js'
import { client, until } from '../support/util.js'
import type { TransportConnection } from '../../src/transport/seam/transport.js'
import { patient } from '../support/patience.js'

const FIREHOSE = `
const { connect } = require('node:net')
const socket = connect({ port: Number(process.argv[1]), host: '127.0.0.1' })
const bytes = Buffer.alloc(1 << 20, 'x')
const send = () => { while (socket.write(bytes)); }
socket.on('drain', send).on('error', () => process.exit()).on('close', () => process.exit())
send()
`
const PAIRS = 20
const ROUNDS = 50
/** Of one connection in one batch. A turn that reads on for as long as there is something has no limit. */
const BATCH_BYTES_MAX = 8 * 1024 * 1024

onEveryTransport('a firehose starves nobody', async (t, open) => {
  const station = open()
  const hose = { bytes: 0, inBatch: 0, most: 0, batch: -1 }
  let flood: TransportConnection | undefined
  const listener = await station.listen({
    data: (connection, data) => {
      if (data.length < 64) {
        connection.write(data)
        return
      }
      flood = connection
      const { batches } = station.transport.metrics
      if (batches !== hose.batch) hose.inBatch = 0
      hose.batch = batches
      hose.inBatch += data.length
      hose.bytes += data.length
      hose.most = Math.max(hose.most, hose.inBatch)
    },
  })
  const port = portOf(listener)
  const child = spawn(process.execPath, ['-e', FIREHOSE, String(port)], { stdio: 'inherit' })
  t.teardown(() => child.kill('SIGKILL'))
  await until(() => hose.bytes > BATCH_BYTES_MAX)
  let ticks = 0
  const timer = setInterval(() => { ticks += 1 }, 1)
  const before = hose.bytes
  await Promise.all(Array.from({ length: PAIRS }, async () => {
    const socket = await client(port)
    let rounds = 0
    socket.on('data', () => {
      rounds += 1
      if (rounds < ROUNDS) socket.write('ping')
    })
    socket.write('ping')
    await until(() => rounds === ROUNDS)
    socket.destroy()
  }))
  t.ok(hose.bytes > before, 'the firehose went on meanwhile')
  await until(() => ticks >= 20)
  clearInterval(timer)
  t.pass('timers fired')
  t.ok(hose.most <= BATCH_BYTES_MAX, `at most ${hose.most} bytes of one connection in a batch`)
  flood?.abort()
}, { timeout: patient(60_000) })
