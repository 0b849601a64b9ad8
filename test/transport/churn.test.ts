/**
 * Thousands of connects and disconnects: no descriptor leaks, memory stays flat. With `MARKETPLACE_SOAK=1`
 * (`npm run test:soak`) they are 10,000.
 */
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { collectGarbage, sleep, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const MEBIBYTE = 1024 * 1024
const WARM_UP = 2_000
const ROUNDS = 4
const PER_ROUND = process.env['MARKETPLACE_SOAK'] === '1' ? 2_500 : 750
const AT_ONCE = 64

/** Descriptors of this process; 0 where the system doesn't tell. */
function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return 0
  }
}

interface Measured {
  readonly fds: number
  readonly heapUsed: number
  readonly rss: number
}

/** Connects, says one line, hears it, and leaves: orderly, or with a reset every other time. */
function visit(port: number, reset: boolean): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write('hello\n'))
    socket.on('error', reject)
    socket.on('data', () => {
      if (reset) socket.resetAndDestroy()
      else socket.end()
    })
    socket.on('close', () => { resolve() })
  })
}

async function visits(port: number, count: number): Promise<void> {
  let left = count
  await Promise.all(Array.from({ length: AT_ONCE }, async () => {
    while (left > 0) {
      left -= 1
      await visit(port, left % 2 === 0)
    }
  }))
}

onEveryTransport('thousands of connects and disconnects', async (t, open) => {
  const station = open()
  let accepted = 0
  let closed = 0
  const strange: unknown[] = []
  const listener = await station.listen({
    ...ECHO,
    accepted: () => { accepted += 1 },
    closed: (_connection, error) => {
      closed += 1
      if (error !== undefined && error.code !== 'ECONNRESET') strange.push(error)
    },
  })
  const settle = async (count: number): Promise<Measured> => {
    await until(() => closed === count)
    for (let turn = 0; turn < 2; turn += 1) {
      await sleep(50)
      collectGarbage()
    }
    const { heapUsed, rss } = process.memoryUsage()
    return { fds: descriptors(), heapUsed, rss }
  }
  const port = portOf(listener)
  await visits(port, WARM_UP)
  const measured = [await settle(WARM_UP)]
  for (let round = 1; round <= ROUNDS; round += 1) {
    await visits(port, PER_ROUND)
    measured.push(await settle(WARM_UP + round * PER_ROUND))
  }
  t.equal(accepted, WARM_UP + ROUNDS * PER_ROUND, 'every visitor was accepted')
  t.equal(closed, accepted, 'every connection was reported as closed, once')
  t.strictSame(strange, [], 'no error but the resets')
  t.equal(measured[ROUNDS].fds, measured[0].fds, `${measured[0].fds} descriptors`)
  // A leak grows in every round. What the allocators hold back for later comes and goes.
  const least = (key: 'heapUsed' | 'rss'): number =>
    Math.min(...measured.slice(1).map((now, round) => now[key] - measured[round][key]))
  t.ok(least('heapUsed') < MEBIBYTE / 4, `the heap grew by at least ${least('heapUsed')} bytes a round`)
  t.ok(least('rss') < 4 * MEBIBYTE, `resident memory grew by at least ${least('rss')} bytes a round`)
  t.equal(station.transport.metrics.connections, 0)
}, { timeout: patient(90_000) })
