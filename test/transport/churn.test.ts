/** 10,000 connects and disconnects: no descriptor leaks, memory stays flat. */
import { readdirSync } from 'node:fs'
import { connect } from 'node:net'
import { ECHO, onEveryTransport, portOf } from '../support/transports.js'
import { collectGarbage, sleep, until } from '../support/util.js'

const MEBIBYTE = 1024 * 1024
const WARM_UP = 3_000
const MEASURED = 10_000
const AT_ONCE = 64

/** Descriptors of this process; 0 where the system doesn't tell. */
function descriptors(): number {
  try {
    return readdirSync('/proc/self/fd').length
  } catch {
    return 0
  }
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

onEveryTransport('10,000 connects and disconnects', async (t, open) => {
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
  const settle = async (count: number): Promise<[number, number, number]> => {
    await until(() => closed === count)
    await sleep(50)
    collectGarbage()
    const { heapUsed, rss } = process.memoryUsage()
    return [descriptors(), heapUsed, rss]
  }
  const port = portOf(listener)
  await visits(port, WARM_UP)
  const [fdsBefore, heapBefore, rssBefore] = await settle(WARM_UP)
  await visits(port, MEASURED)
  const [fdsAfter, heapAfter, rssAfter] = await settle(WARM_UP + MEASURED)
  t.equal(accepted, WARM_UP + MEASURED, 'every visitor was accepted')
  t.equal(closed, accepted, 'every connection was reported as closed, once')
  t.strictSame(strange, [], 'no error but the resets')
  t.equal(fdsAfter, fdsBefore, `${fdsAfter} descriptors`)
  const [heap, rss] = [heapAfter - heapBefore, rssAfter - rssBefore]
  t.ok(heap < 4 * MEBIBYTE, `the heap grew by ${heap} bytes`)
  t.ok(rss < 48 * MEBIBYTE, `resident memory grew by ${rss} bytes`)
  t.equal(station.transport.metrics.connections, 0)
}, { timeout: 90_000 })
