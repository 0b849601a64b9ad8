/**
 * The pattern of docs/tcp-flow-control.md for slow readers: only the latest waits until the kernel has taken
 * what was sent.
 */
import { onBoth, Remote, server } from './tcp-program.js'
import { connect } from 'node:net'
import { _, endpoint, quit, sendMessage, tcpChannel, tcpCredit, type ActionTree, type TcpEnd } from 'marketplace-native'
import { until } from '../support/util.js'

const KEYS = 200
const ROUNDS = 500
/** So that all together is more than the kernel takes on any transport. */
const PADDING = 'x'.repeat(400)

onBoth('a slow reader gets the latest values, and never more than one of each waits for it', async (t, start) => {
  const feed = new Remote()
  let kept = 0
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => {
    const news = new Map<number, number>()
    let untaken = 0
    const flush = (): ActionTree => {
      if (untaken > 0 || news.size === 0) return undefined
      const lines = Buffer.from([...news].map(([key, value]) => `${key} ${value} ${PADDING}\n`).join(''))
      news.clear()
      untaken = lines.length
      return sendMessage(tcpChannel(us, them, lines))
    }
    return [
      feed.ear,
      endpoint.subscriber(tcpChannel(them, us, _), { onAbsence: () => quit() }),
      endpoint.publisher(tcpChannel(us, them, _), {
        onMessage: ({ subpacket }: { subpacket: unknown }) => {
          if (!tcpCredit.is(subpacket)) return undefined
          untaken -= subpacket.amount
          return flush()
        },
      }),
      endpoint.subscriber(['value', _, _], {
        onMessage: ([, key, value]) => {
          news.set(Number(key), Number(value))
          kept = Math.max(kept, news.size)
          return flush()
        },
      }),
    ]
  }
  const program = start(() => server(session), { driver: 'tcp', sendBufferSize: 16_384, unsupported: 'ignore' })
  const latest = new Map<number, number>()
  let lines = 0
  let rest = ''
  const socket = connect(await program.port(), '127.0.0.1').setEncoding('utf8').pause()
  socket.on('data', (part: string) => {
    const all = (rest + part).split('\n')
    rest = all.pop() ?? ''
    lines += all.length
    for (const line of all) {
      const [key, value] = line.split(' ').map(Number)
      if ((latest.get(key) ?? 0) >= value) t.fail(`${line} after ${latest.get(key)}`)
      latest.set(key, value)
    }
  })
  let most = 0
  // More than a socket that is not read from takes: then something waits.
  for (let round = 1; round <= ROUNDS; round++) {
    feed.do(Array.from({ length: KEYS }, (_value, key) => sendMessage(['value', key, round])))
    await until(() => kept > 0)
    await new Promise((resolve) => setImmediate(resolve))
    most = Math.max(most, program.transports[0].metrics.queuedBytes)
  }
  t.ok(kept <= KEYS)
  t.ok(most <= KEYS * `199 500 ${PADDING}\n`.length, `${most} bytes waited`)
  socket.resume()
  const has = (key: number): boolean => latest.get(key) === ROUNDS
  await until(() => Array.from({ length: KEYS }, (_value, key) => key).every(has))
  t.ok(lines < KEYS * ROUNDS, `${lines} of ${KEYS * ROUNDS} values`)
  socket.destroy()
})
