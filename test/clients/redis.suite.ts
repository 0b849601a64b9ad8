/** `ioredis` over the connections of a net module, against redis-server. */
import { once } from 'node:events'
import { Redis, type RedisOptions } from 'ioredis'
import t, { type Test } from 'tap'
import { freePort, missing, pattern, until } from '../support/util.js'
import { redisConnector } from './lib/adapters.js'
import { onEachNet, type Net } from './lib/nets.js'
import { redisServer } from './lib/programs.js'

type Options = Pick<RedisOptions, 'port' | 'retryStrategy' | 'lazyConnect'>

const skip = missing('redis-server')
if (skip !== false) t.test('the suite', { skip }, () => undefined)
else await suite()

async function suite(): Promise<void> {
  const server = await redisServer(t)

  /** A client that the test's end closes. */
  const client = (t: Test, net: Net, options: Options = {}): Redis => {
    const redis = new Redis({
      host: '127.0.0.1', port: server.port, Connector: redisConnector(net), ...options,
    })
    t.teardown(() => { redis.disconnect() })
    return redis
  }

  onEachNet('commands, errors, and a reply of every kind', async (t, net) => {
    const redis = client(t, net)
    await redis.flushall()
    t.equal(await redis.set('key', 'value'), 'OK')
    t.equal(await redis.get('key'), 'value')
    t.equal(await redis.get('none'), null)
    t.equal(await redis.incrby('count', 41), 41)
    await redis.rpush('list', 'a', 'b', 'c')
    t.same(await redis.lrange('list', 0, -1), ['a', 'b', 'c'])
    await redis.hset('hash', { one: 1, two: 2 })
    t.same(await redis.hgetall('hash'), { one: '1', two: '2' })
    await t.rejects(redis.incr('key'), /not an integer/)
    t.same(await redis.multi().set('x', 1).incr('x').exec(), [[null, 'OK'], [null, 2]])
    t.equal(await redis.eval('return ARGV[1]', 0, 'from Lua'), 'from Lua')
    t.equal(await redis.quit(), 'OK')
  })

  onEachNet('10,000 commands in one pipeline, and 10,000 without waiting', async (t, net) => {
    const redis = client(t, net)
    await redis.flushall()
    const keys = Array.from({ length: 10_000 }, (_, i) => `key ${i}`)
    const pipeline = redis.pipeline()
    for (const key of keys) pipeline.set(key, key)
    const replies = await pipeline.exec()
    t.ok(replies?.every(([error, reply]) => error === null && reply === 'OK'))
    t.same(await Promise.all(keys.map((key) => redis.get(key))), keys)
  })

  onEachNet('values of 32 MiB, there and back, between short commands', async (t, net) => {
    const redis = client(t, net)
    const value = pattern(32 << 20)
    const before = redis.incr('n')
    const set = redis.set('big', value)
    const after = redis.incr('n')
    await Promise.all([before, set, after])
    t.equal(await after - await before, 1)
    const [length, got] = await Promise.all([redis.strlen('big'), redis.getBuffer('big')])
    t.equal(length, value.length)
    t.ok(got?.equals(value))
    await redis.del('big')
  })

  onEachNet('publish and subscribe: every message, in order', async (t, net) => {
    const [publisher, subscriber] = [client(t, net), client(t, net)]
    const got: string[] = []
    subscriber.on('message', (_channel, message) => { got.push(message) })
    subscriber.on('pmessage', (_pattern, channel, message) => { got.push(`${channel}: ${message}`) })
    await subscriber.subscribe('news')
    await subscriber.psubscribe('weather.*')
    const sent = Array.from({ length: 2000 }, (_, i) => `message ${i}`)
    await Promise.all(sent.map((text) => publisher.publish('news', text)))
    t.equal(await publisher.publish('weather.north', 'rain'), 1)
    await until(() => got.length === sent.length + 1)
    t.same(got, [...sent, 'weather.north: rain'])
    await subscriber.unsubscribe('news')
    t.equal(await publisher.publish('news', 'unheard'), 0)
  })

  onEachNet('a blocking command, and one of the same client that disconnects it', async (t, net) => {
    const [waiting, other] = [client(t, net), client(t, net)]
    const popped = waiting.blpop('queue', 0)
    await other.rpush('queue', 'item')
    t.same(await popped, ['queue', 'item'])
    const never = waiting.blpop('queue', 0)
    waiting.disconnect()
    await t.rejects(never, /Connection is closed/)
  })

  onEachNet('the server is killed and comes back: clients reconnect and subscribe again', async (t, net) => {
    const retryStrategy = () => 50
    const [redis, subscriber] = [client(t, net, { retryStrategy }), client(t, net, { retryStrategy })]
    const errors = new Set<string | undefined>()
    const heard: string[] = []
    redis.on('error', (error: NodeJS.ErrnoException) => errors.add(error.code))
    subscriber.on('error', () => undefined)
    subscriber.on('message', (_channel, message) => { heard.push(message) })
    await subscriber.subscribe('news')
    t.equal(await redis.ping(), 'PONG')
    const lost = once(redis, 'close')
    await server.stop('SIGKILL')
    await lost
    const late = redis.set('late', 'yes')
    await until(() => errors.has('ECONNREFUSED'))
    await server.start()
    t.equal(await late, 'OK', 'what was asked meanwhile is done')
    while (heard.length === 0) await redis.publish('news', 'back')
    t.equal(heard[0], 'back')
  })

  onEachNet('an address where nobody listens: the error that Node gives', async (t, net) => {
    const port = await freePort()
    const redis = client(t, net, { port, retryStrategy: () => null, lazyConnect: true })
    const failed = once(redis, 'error')
    await t.rejects(redis.connect())
    const [error] = await failed as unknown[]
    t.match(error, { code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port })
  })
}
