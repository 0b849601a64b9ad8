/**
 * A server that speaks a part of Redis' protocol: PING, ECHO, GET, SET, DEL, INCR, SUBSCRIBE, PUBLISH.
 *
 *   node dist/examples/redis.js --port 6380
 *   node dist/examples/redis.js --tls --key key.pem --cert cert.pem
 */
import { tcpBare, timerDriver } from 'marketplace-native'
import { redisServer } from './redis/server.js'
import { isMain, numberOf, runExample, tlsArguments, tlsOf, workersArguments } from './support/run.js'

/** As Redis' own limit for subscribers: who doesn't read what it asked for is let go. */
export const driverOptions = { maxQueuedBytes: 32 * 1024 * 1024 } as const

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '6380' },
  ...tlsArguments,
  ...workersArguments,
} as const

if (isMain(import.meta.url)) {
  await runExample({
    usage: 'usage: redis.js [--host 127.0.0.1] [--port 6380] [--tls --key FILE --cert FILE]',
    options,
    hint: (host, port) => `try it: redis-cli -h ${host} -p ${port}`,
    boot: (values) => {
      if (values['workers'] !== undefined) {
        throw new Error('redis does not run on several workers: its keys are in the memory of one thread, '
          + 'where one command is performed after the other, and each is answered at once')
      }
      return [
        tcpBare({ ...driverOptions, host: String(values['host']), ...tlsOf(values) }),
        timerDriver(),
        redisServer(numberOf(values, 'port', 65_535)),
      ]
    },
  })
}
