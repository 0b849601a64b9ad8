/** The Redis example: redis-cli, redis-benchmark and ioredis against it, and clients that say exact bytes. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import { Redis } from 'ioredis'
import t, { type Test } from 'tap'
import { timerDriver } from 'marketplace-native'
import { driverOptions } from '../../examples/redis.js'
import { redisServer } from '../../examples/redis/server.js'
import { onBoth, type Program } from '../drivers/tcp-program.js'
import { client, pattern, readAll, sleep, until } from '../support/util.js'
import { CommandParser, type Arguments } from '../../examples/redis/parser.js'

type Run = () => Promise<{ readonly program: Program, readonly port: number }>

function onRedis(name: string, body: (t: Test, run: Run) => Promise<void>, skip?: string | false): void {
  onBoth(name, (t, start) => body(t, async () => {
    const program = start(() => [timerDriver(), redisServer(0)], { driver: 'bare', ...driverOptions })
    return { program, port: await program.port() }
  }), skip)
}

const installed = (name: string): string | false =>
  spawnSync(name, ['--version']).status === 0 ? false : `there is no ${name} (Debian: redis-tools)`

/** Says bytes, ends, and hears all that comes. */
async function say(port: number, ...pieces: (string | Buffer)[]): Promise<string> {
  const socket = await client(port)
  for (const piece of pieces) socket.write(piece)
  socket.end()
  return (await readAll(socket)).toString('latin1')
}

/** A command as clients send it. */
const command = (...words: string[]): string =>
  `*${words.length}\r\n${words.map((word) => `$${word.length}\r\n${word}\r\n`).join('')}`

const dialogues: readonly (readonly [string, string, string])[] = [
  ['ping', command('PING') + command('ping', 'you'), '+PONG\r\n$3\r\nyou\r\n'],
  ['echo', command('ECHO', ''), '$0\r\n\r\n'],
  ['set, get', command('SET', 'k', 'v') + command('GET', 'k') + command('GET', 'none'),
    '+OK\r\n$1\r\nv\r\n$-1\r\n'],
  ['del', command('SET', 'a', '1') + command('DEL', 'a', 'b', 'a'), '+OK\r\n:1\r\n'],
  ['incr', command('INCR', 'n') + command('INCR', 'n') + command('GET', 'n'), ':1\r\n:2\r\n$1\r\n2\r\n'],
  ['incr of no number', command('SET', 's', 'x') + command('INCR', 's'),
    '+OK\r\n-ERR value is not an integer or out of range\r\n'],
  ['incr at its limit',
    command('SET', 'm', '9223372036854775806') + command('INCR', 'm') + command('INCR', 'm'),
    '+OK\r\n:9223372036854775807\r\n-ERR increment or decrement would overflow\r\n'],
  ['incr from the lowest', command('SET', 'l', '-9223372036854775808') + command('INCR', 'l'),
    '+OK\r\n:-9223372036854775807\r\n'],
  ['set nx and xx',
    command('SET', 'q', 'a', 'NX') + command('SET', 'q', 'b', 'NX') + command('SET', 'q', 'c', 'XX')
    + command('GET', 'q') + command('SET', 'w', '1', 'XX'), '+OK\r\n$-1\r\n+OK\r\n$1\r\nc\r\n$-1\r\n'],
  ['wrong options', command('SET', 'k', 'v', 'EX') + command('SET', 'k', 'v', 'EX', '0')
    + command('SET', 'k', 'v', 'PX', 'x'),
    '-ERR syntax error\r\n-ERR invalid expire time in \'set\' command\r\n'
    + '-ERR value is not an integer or out of range\r\n'],
  ['wrong number of arguments', command('GET') + command('PING', '1', '2'),
    ['get', 'ping'].map((name) => `-ERR wrong number of arguments for '${name}' command\r\n`).join('')],
  ['an unknown command', command('NOPE', 'x'),
    '-ERR unknown command \'NOPE\', with args beginning with: \'x\' \r\n'],
  ['no injection by an error', command('a\r\n+OK'),
    '-ERR unknown command \'a  +OK\', with args beginning with: \r\n'],
  ['inline',
    'PING\r\n\r\n  ECHO "two words"\nECHO \'it\'\r\n',
    '+PONG\r\n$9\r\ntwo words\r\n$2\r\nit\r\n'],
  ['an empty command', '*0\r\n*-1\r\nPING\r\n', '+PONG\r\n'],
  ['any bytes', command('SET', '\0\r\n\xff', '\r\n\0\xfe') + command('GET', '\0\r\n\xff'),
    '+OK\r\n$4\r\n\r\n\0\xfe\r\n'],
  ['quit', command('QUIT') + command('PING'), '+OK\r\n'],
]

onRedis('what clients say, and what they hear', async (t, run) => {
  const { port } = await run()
  for (const [name, said, heard] of dialogues) {
    const bytes = Buffer.from(said, 'latin1')
    t.equal(await say(port, bytes), heard, name)
  }
})

const broken: readonly (readonly [string, string])[] = [
  ['*x\r\n', 'invalid multibulk length'],
  ['*1048577\r\n', 'invalid multibulk length'],
  ['*99999999999999999999999999', 'invalid multibulk length'],
  ['*1\r\n+PING\r\n', 'expected \'$\', got \'+\''],
  ['*1\r\n$-1\r\n', 'invalid bulk length'],
  ['*1\r\n$536870913\r\n', 'invalid bulk length'],
  ['x'.repeat(70_000), 'too big inline request'],
  ['ECHO "open\r\n', 'unbalanced quotes in request'],
]

onRedis('who breaks the protocol hears why, and is let go', async (t, run) => {
  const { program, port } = await run()
  for (const [said, why] of broken) {
    const socket = await client(port)
    socket.write(`${command('PING')}${said}`)
    const heard = (await readAll(socket)).toString()
    t.equal(heard, `+PONG\r\n-ERR Protocol error: ${why}\r\n`, why)
    socket.destroy()
  }
  await until(() => program.connections === 0)
})

onRedis('values expire', async (t, run) => {
  const { port } = await run()
  const soon = command('SET', 'k', 'v', 'PX', '30')
  t.equal(await say(port, soon, command('GET', 'k')), '+OK\r\n$1\r\nv\r\n')
  let size = ':1\r\n'
  // Without anybody asking for it.
  while (size === ':1\r\n') {
    await sleep(20)
    size = await say(port, command('DBSIZE'))
  }
  t.equal(size, ':0\r\n')
  t.equal(await say(port, command('GET', 'k')), '$-1\r\n')
})

onRedis('subscribers', async (t, run) => {
  const { port } = await run()
  const socket = await client(port)
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => { heard += text })
  socket.write(command('SUBSCRIBE', 'news', 'sport', 'news'))
  const subscribed = ['news$1', 'sport$2', 'news$2'].map((each) => {
    const [channel, count] = each.split('$')
    return `*3\r\n$9\r\nsubscribe\r\n$${channel.length}\r\n${channel}\r\n:${count}\r\n`
  }).join('')
  await until(() => heard === subscribed)
  const published = command('PUBLISH', 'news', 'hello') + command('PUBLISH', 'none', 'x')
  t.equal(await say(port, published), ':1\r\n:0\r\n')
  await until(() => heard.endsWith('*3\r\n$7\r\nmessage\r\n$4\r\nnews\r\n$5\r\nhello\r\n'))
  heard = ''
  socket.write(command('GET', 'k') + command('PING') + command('UNSUBSCRIBE'))
  await until(() => heard.endsWith(':0\r\n'))
  t.match(heard, /^-ERR Can't execute 'get'.*\r\n\*2\r\n\$4\r\npong\r\n\$0\r\n\r\n\*3\r\n\$11\r\nunsub/)
  t.equal(await say(port, command('PUBLISH', 'news', 'hello')), ':0\r\n')
  socket.write(command('GET', 'k') + command('SUBSCRIBE', 'news'))
  await until(() => heard.endsWith(':1\r\n'))
  socket.destroy()
  // Presence: who has gone doesn't count any more.
  while (await say(port, command('PUBLISH', 'news', 'x')) !== ':0\r\n') await sleep(5)
})

onRedis('ioredis', async (t, run) => {
  const { port } = await run()
  const options = { port, host: '127.0.0.1' }
  const redis = new Redis(options)
  const listener = new Redis(options)
  t.teardown(() => { redis.disconnect(); listener.disconnect() })
  const value = pattern(3_000_000)
  t.equal(await redis.set('big', value), 'OK')
  t.ok(value.equals(await redis.getBuffer('big') as Buffer), 'three megabytes')
  const results = await redis.pipeline().set('a', 'b').get('a').incr('n').del('a', 'n').exec()
  t.strictSame(results, [[null, 'OK'], [null, 'b'], [null, 1], [null, 2]])
  const messages: string[] = []
  listener.on('message', (channel, message) => messages.push(`${channel}: ${message}`))
  t.equal(await listener.subscribe('one', 'two'), 2)
  t.equal(await redis.publish('two', 'hi'), 1)
  await until(() => messages.length === 1)
  t.strictSame(messages, ['two: hi'])
})

onRedis('redis-cli', async (t, run) => {
  const { port } = await run()
  const cli = async (...args: string[]): Promise<string> =>
    (await promisify(execFile)('redis-cli', ['-p', String(port), ...args])).stdout.trim()
  t.equal(await cli('set', 'greeting', 'hello there'), 'OK')
  t.equal(await cli('get', 'greeting'), 'hello there')
  t.match(await cli('-3', 'ping'), /PONG/)
  const subscriber = spawn('redis-cli', ['-p', String(port), 'subscribe', 'news'])
  t.teardown(() => subscriber.kill())
  let heard = ''
  subscriber.stdout.setEncoding('utf8').on('data', (text: string) => { heard += text })
  await until(() => heard.includes('subscribe'))
  t.equal(await cli('publish', 'news', 'hi all'), '1')
  await until(() => heard.includes('hi all'))
}, installed('redis-cli'))

onRedis('redis-benchmark', async (t, run) => {
  const { port } = await run()
  const args = ['-p', String(port), '-c', '20', '-n', '4000', '-P', '8', '-t', 'ping,set,get,incr', '--csv']
  const { stdout } = await promisify(execFile)('redis-benchmark', args)
  for (const test of ['PING_INLINE', 'PING_MBULK', 'SET', 'GET', 'INCR']) {
    t.match(stdout, new RegExp(`^"${test}","[1-9]`, 'm'), test)
  }
  const count = await say(port, command('GET', 'counter:__rand_int__'))
  t.equal(count, '$4\r\n4000\r\n', 'each INCR was performed once')
}, installed('redis-benchmark'))

t.test('commands come in pieces of any size', async (t) => {
  const input = Buffer.from(dialogues.map(([, said]) => said).join(''), 'latin1')
  const parse = (size: number): string[] => {
    const parser = new CommandParser()
    const found: string[] = []
    const add = (command: Arguments): void => {
      found.push(command.all().map((argument) => argument.toString('latin1')).join('|'))
    }
    for (let at = 0; at < input.length; at += size) parser.feed(input.subarray(at, at + size), add)
    return found
  }
  const whole = parse(input.length)
  t.ok(whole.length > 30)
  for (let size = 1; size < 60; size += 1) t.strictSame(parse(size), whole, `${size} bytes each`)
})
