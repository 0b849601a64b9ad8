/** The MQTT example: mosquitto's clients against it, and packets one by one. */
import { execFile, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import { generate } from 'mqtt-packet'
import t from 'tap'
import { isSpecialization } from 'marketplace-native'
import { filterOf, placeOf } from '../../examples/mqtt/topics.js'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'
import { HELLO, MqttClient, onMqtt } from './mqtt-client.js'

// Who says nothing of MQTT is let go after ten seconds, twice.
t.setTimeout(patient(60_000))
const { connect, open } = MqttClient

t.test('filters find the topics that MQTT says', async (t) => {
  const cases: readonly (readonly [filter: string, found: string[], notFound: string[]])[] = [
    ['sport/tennis', ['sport/tennis'], ['sport', 'sport/tennis/x', 'sport/', '/sport/tennis']],
    ['sport/#', ['sport', 'sport/', 'sport/tennis', 'sport/a/b/c'], ['sports', '$sport']],
    ['#', ['a', 'a/b', '/', '/a'], ['$SYS', '$SYS/x']],
    ['+', ['a'], ['a/b', '/a', '$SYS']],
    ['+/+', ['a/b', '/finance', '/'], ['a', 'a/b/c', '$SYS/b']],
    ['/+', ['/finance'], ['finance', 'a/b']],
    ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/b/c']],
    ['$SYS/#', ['$SYS', '$SYS/a/b'], ['a', 'SYS/a']],
    ['$SYS/+', ['$SYS/a'], ['$SYS', '$SYS/a/b']],
  ]
  for (const [filter, found, notFound] of cases) {
    const finds = (topic: string): boolean => {
      const [place, pattern] = [placeOf(topic), filterOf(filter)]
      return place?.root === pattern?.root && isSpecialization(place?.levels, pattern?.levels)
    }
    for (const topic of found) t.ok(finds(topic), `${filter} finds ${topic}`)
    for (const topic of notFound) t.notOk(finds(topic), `${filter} does not find ${topic}`)
  }
  const none = ['', 'a/#/b', 'a#', 'a+', '+a/b', '#/', 'a\0']
  for (const filter of none) t.equal(filterOf(filter), undefined, filter)
  for (const topic of ['', 'a/+', '#', 'a\0']) t.equal(placeOf(topic), undefined, topic)
})

onMqtt('publish and subscribe', async (t, run) => {
  const { port } = await run()
  const [one, other] = [await connect(port, 'one'), await connect(port, 'other')]
  t.strictSame(await one.subscribe('a/+'), [0])
  t.strictSame(await one.subscribe('a/#', 1), [1])
  t.strictSame(await one.subscribe('a/#/b'), [128], 'no filter')
  other.publish('a/b', 'both')
  other.publish('a/b/c', 'deep')
  other.publish('b', 'nobody')
  await other.messages()
  t.strictSame(await one.messages(), ['a/b=both', 'a/b/c=deep'], 'once, though two filters find it')
  one.say({ cmd: 'unsubscribe', messageId: 2, unsubscriptions: ['a/#', 'never'] })
  await one.next('unsuback')
  other.publish('a/b', 'one')
  other.publish('a/b/c', 'none')
  await other.messages()
  t.strictSame(await one.messages(), ['a/b=one'])
})

onMqtt('qualities of service', async (t, run) => {
  const { port } = await run()
  const [from, to] = [await connect(port, 'from'), await connect(port, 'to')]
  await to.subscribe('q', 2)
  from.publish('q', '1', { qos: 1, messageId: 7 })
  t.match(await from.next('puback'), { messageId: 7 })
  const first = await to.next('publish')
  t.match(first, { topic: 'q', qos: 1 })
  to.say({ cmd: 'puback', messageId: first['messageId'] })
  from.publish('q', '2', { qos: 2, messageId: 8 })
  from.publish('q', '2', { qos: 2, messageId: 8, dup: true })
  t.match([await from.next('pubrec'), await from.next('pubrec')], [{ messageId: 8 }, { messageId: 8 }])
  from.say({ cmd: 'pubrel', messageId: 8 })
  t.match(await from.next('pubcomp'), { messageId: 8 })
  const second = await to.next('publish')
  t.match(second, { qos: 2 })
  to.say({ cmd: 'pubrec', messageId: second['messageId'] })
  t.match(await to.next('pubrel'), { messageId: second['messageId'] })
  to.say({ cmd: 'pubcomp', messageId: second['messageId'] })
  t.strictSame(await to.messages(), [], 'exactly once')
})

onMqtt('retained messages', async (t, run) => {
  const { port } = await run()
  const from = await connect(port, 'from')
  from.publish('r/a', 'old', { retain: true })
  from.publish('r/a', 'new', { retain: true })
  from.publish('r/b', 'b', { retain: true })
  from.publish('r/b', '', { retain: true })
  from.publish('$r/c', 'hidden', { retain: true })
  await from.messages()
  const to = await connect(port, 'to')
  await to.subscribe('#')
  t.strictSame(await to.messages(), ['r/a=new (retained)'])
  from.publish('r/a', 'live', { retain: true })
  await from.messages()
  t.strictSame(await to.messages(), ['r/a=live'])
  await to.subscribe('#')
  t.strictSame(await to.messages(), ['r/a=live (retained)'], 'again, for who subscribes again')
})

onMqtt('retained messages: each subscription is sent its own, and nobody else waits for that', async (t, run) => {
  const { port } = await run()
  const [from, to, other] = await Promise.all(['from', 'to', 'other'].map((name) => connect(port, name)))
  for (const topic of ['r/a', 'r/b']) {
    from.say({ cmd: 'publish', topic, payload: 'it', qos: 1, messageId: 1, retain: true })
    await from.next('puback')
  }
  const all = ['r/a=it (retained)', 'r/b=it (retained)']
  for (const [i, topic] of ['#', 'r/+', 'r/#', '+/+'].entries()) {
    to.say({ cmd: 'subscribe', messageId: i + 1, subscriptions: [{ topic, qos: 0 }] })
    await to.next('suback')
    t.strictSame(await to.messages(), all, `${topic}, and not once more for those before`)
  }
  for (let i = 0; i < 2000; i++) {
    from.say({ cmd: 'publish', topic: `many/${i}`, payload: '', qos: 0, retain: false })
    from.say({ cmd: 'publish', topic: `many/${i}`, payload: 'x', qos: 0, retain: true })
  }
  from.say({ cmd: 'pingreq' })
  await from.next('pingresp')
  const greedy = await connect(port, 'greedy')
  const filters = Array.from({ length: 500 }, (_none, i) => ({ topic: i % 2 === 0 ? '#' : 'many/+', qos: 0 }))
  greedy.say({ cmd: 'subscribe', messageId: 1, subscriptions: filters })
  await greedy.next('suback')
  const since = performance.now()
  other.say({ cmd: 'pingreq' })
  await other.next('pingresp')
  // A million of messages would take far longer.
  t.ok(performance.now() - since < patient(3000))
  // What has its turn in the end is sent once for each of the two.
  await until(() => greedy.heard.filter(({ cmd }) => cmd === 'publish').length >= 4002)
})

onMqtt('last wills', async (t, run) => {
  const { port } = await run()
  const watcher = await connect(port, 'watcher')
  await watcher.subscribe('will/#')
  const gone = { payload: Buffer.from('gone'), qos: 0, retain: false }
  const will = (id: string) => ({ will: { ...gone, topic: `will/${id}` } })
  const polite = await connect(port, 'polite', will('polite'))
  polite.say({ cmd: 'disconnect' })
  await until(() => polite.closed)
  const rude = await connect(port, 'rude', will('rude'))
  rude.socket.resetAndDestroy()
  t.match(await watcher.next('publish'), { topic: 'will/rude' })
  // In one piece with what ends it.
  const brief = await open(port)
  brief.socket.write(Buffer.concat([
    generate({ ...HELLO, clientId: 'brief', ...will('brief') } as never), generate({ cmd: 'disconnect' }),
  ]))
  await until(() => brief.closed)
  const other = await connect(port, 'taken', will('taken'))
  const heir = await connect(port, 'taken')
  await until(() => other.closed)
  t.match(await watcher.next('publish'), { topic: 'will/taken' }, 'who is replaced has not said good-bye')
  t.notOk(heir.closed)
  t.strictSame(await watcher.messages(), [])
})

onMqtt('who falls silent is let go', async (t, run) => {
  const { program, port } = await run()
  const began = Date.now()
  const silent = await connect(port, 'silent', { keepalive: 1 })
  const alive = await connect(port, 'alive', { keepalive: 1 })
  const pings = setInterval(() => alive.say({ cmd: 'pingreq' }), 200)
  t.teardown(() => { clearInterval(pings) })
  await until(() => silent.closed)
  t.ok(Date.now() - began >= 1400, 'not before one and a half of its keep-alive')
  t.notOk(alive.closed)
  clearInterval(pings)
  await until(() => program.connections === 0)
})

onMqtt('what can\'t be ends the connection', async (t, run) => {
  const { program, port } = await run()
  const publish = generate({ cmd: 'publish', topic: 'a', payload: 'x', qos: 0, retain: false, dup: false })
  const first: readonly (readonly [string, Buffer])[] = [
    ['no connect', publish],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
    ['a bad type', Buffer.from([0xf0, 0x00])],
    ['a length that never ends', Buffer.from([0x10, 0xff, 0xff, 0xff, 0xff, 0xff])],
  ]
  for (const [what, bytes] of first) {
    const made = await open(port)
    made.socket.write(bytes)
    await until(() => made.closed)
    t.strictSame(made.heard, [], what)
  }
  const later: readonly (readonly [string, Buffer])[] = [
    ['connect again', generate({ ...HELLO, clientId: 'y' })],
    ['QoS 3', Buffer.from([0x36, 0x00])],
    ['a packet of a server\'s', generate({ cmd: 'pingresp' })],
    ['more than a megabyte',
      Buffer.concat([Buffer.from([0x30, 0x81, 0x80, 0x80, 0x01]), Buffer.alloc(1_200_000)])],
    // The codec would not write it.
    ['a topic with a wildcard', Buffer.from([0x30, 0x05, 0x00, 0x03, 0x61, 0x2f, 0x2b])],
  ]
  for (const [what, bytes] of later) {
    const made = await connect(port, 'x')
    made.socket.write(bytes)
    await until(() => made.closed)
    t.pass(what)
  }
  const made = await open(port)
  // Not clean, and without a name; nor would the codec write this.
  made.socket.write(Buffer.from([0x10, 12, 0, 4, 0x4d, 0x51, 0x54, 0x54, 4, 0, 0, 0, 0, 0]))
  t.match(await made.next('connack'), { returnCode: 2 })
  await until(() => program.connections === 0)
})

onMqtt('a hundred clients', async (t, run) => {
  const { port } = await run()
  const clients = await Promise.all(Array.from({ length: 100 }, (_each, i) => connect(port, `c${i}`)))
  await Promise.all(clients.map((each, i) => each.subscribe(i % 2 === 0 ? 'all' : `own/${i}`)))
  for (const [i, each] of clients.entries()) each.publish(`own/${i}`, 'mine')
  clients[0].publish('all', 'everybody')
  await Promise.all(clients.map((each) => each.messages()))
  const heard = await Promise.all(clients.map((each) => each.messages()))
  t.strictSame(heard.flat(), [], 'nothing comes twice')
})

const NO_MOSQUITTO = spawnSync('mosquitto_pub', ['--help']).error === undefined
  ? false
  : 'there is no mosquitto_pub (Debian: mosquitto-clients)'

onMqtt('mosquitto_pub and mosquitto_sub', async (t, run) => {
  const { port } = await run()
  const pub = (...args: string[]) => promisify(execFile)('mosquitto_pub', ['-p', String(port), ...args])
  await pub('-t', 'home/door', '-m', 'shut', '-r', '-q', '1')
  const sub = spawn('mosquitto_sub', ['-p', String(port), '-t', 'home/#', '-v', '-C', '3', '-q', '2'])
  t.teardown(() => sub.kill())
  const closed = once(sub, 'close')
  let heard = ''
  sub.stdout.setEncoding('utf8').on('data', (text: string) => { heard += text })
  await until(() => heard === 'home/door shut\n')
  await pub('-t', 'home', '-m', 'all', '-q', '2')
  await pub('-t', 'house', '-m', 'other')
  await pub('-t', 'home/door', '-m', 'open')
  await closed
  t.equal(heard, 'home/door shut\nhome all\nhome/door open\n')
}, NO_MOSQUITTO)
