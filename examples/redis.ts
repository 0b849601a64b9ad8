/**
 * A server that speaks a part of Redis' protocol: PING, ECHO, GET, SET, DEL, INCR, SUBSCRIBE, PUBLISH.
 *
 *   node dist/examples/redis.js --port 6380
 */
import { pathToFileURL } from 'node:url'
import { tcpBare, timerDriver } from 'marketplace-native'
import { redisServer } from './redis/server.js'
import { numberOf, runExample } from './support/run.js'

/** As Redis' own limit for subscribers: who doesn't read what it asked for is let go. */
export const driverOptions = { maxQueuedBytes: 32 * 1024 * 1024 } as const

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '6380' },
} as const

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runExample({
    usage: 'usage: redis.js [--host 127.0.0.1] [--port 6380]',
    options,
    hint: (host, port) => `try it: redis-cli -h ${host} -p ${port}`,
    boot: (values) => [
      tcpBare({ ...driverOptions, host: String(values['host']) }),
      timerDriver(),
      redisServer(numberOf(values, 'port', 65_535)),
    ],
  })
}
