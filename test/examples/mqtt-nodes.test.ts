/** The MQTT example with several nodes: workers, and processes over NATS. */
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import type { Served } from 'marketplace-native'
import { Clock, isLater } from '../../examples/mqtt/clock.js'
import { Retained } from '../../examples/mqtt/retained.js'
import { filterOf, mqttRetain, Pattern, type Retain } from '../../examples/mqtt/topics.js'
import { NatsServer, noNats } from '../relay/nats-server.js'
import { patient } from '../support/patience.js'
import { missing, randomSource, until } from '../support/util.js'
import { die } from '../workers/mortal.js'
import { quiet, skip, started } from '../workers/start.js'
import { MqttClient } from './mqtt-client.js'
import { Running } from './running.js'

t.setTimeout(patient(60_000))
const { connect } = MqttClient

type Fields = Readonly<Record<string, unknown>>

const will = (topic: string, more: Fields = {}): Fields =>
  ({ will: { topic, payload: Buffer.from('gone'), qos: 0, retain: false, ...more } })

/** The payload of the next message. */
async function hears(client: MqttClient): Promise<string> {
  const { topic, payload } = await client.next('publish')
  return `${String(topic)}=${String(payload)}`
}

/**
 * Subscribes one client, and resolves when what the other one, of another worker, publishes on that comes: that its
 * worker has heard of the subscription takes a moment.
 */
async function hearsFrom(from: MqttClient, to: MqttClient, filter: string, topic: string, qos = 0): Promise<void> {
  await to.subscribe(filter, qos)
  const calls = setInterval(() => { from.publish(topic, 'can you hear me?') }, 20)
  await to.next('publish')
  clearInterval(calls)
  from.publish(topic, 'now')
  for (;;) if (String((await to.next('publish')).payload) === 'now') return
}

/** Two clients on different workers, and the names of these. */
async function onTwoWorkers(
  t: Test, more: [Fields, Fields] = [{}, {}],
): Promise<{ served: Served, port: number, clients: [MqttClient, MqttClient], nodes: [string, string] }> {
  quiet(t)
  const module = new URL('mqtt-worker.js', import.meta.url)
  const { served, port } = await started({ module, data: { host: '127.0.0.1', port: '0' } })
  t.teardown(() => served.stop())
  const one = await connect(port, 'one', more[0])
  const first = served.workers().find(({ connections }) => connections === 1)?.node
  const other = await connect(port, 'other', more[1])
  const second = served.workers().find(({ node, connections }) => connections === 1 && node !== first)?.node
  t.ok(first !== undefined && second !== undefined, 'each is on another worker')
  return { served, port, clients: [one, other], nodes: [String(first), String(second)] }
}

t.test('two workers are one broker', { skip }, async (t) => {
  const { served, port, clients: [one, other] } = await onTwoWorkers(t)
  for (const [from, to] of [[one, other], [other, one]] as const) {
    await to.subscribe('q/+', 2)
    await hearsFrom(from, to, 'q/#', 'q/ready', 1)
    const expected = [0, 1, 2].map((qos) => `q/${qos}=${qos}`)
    for (const qos of [0, 1, 2]) from.publish(`q/${qos}`, String(qos), { qos, messageId: qos + 1 })
    from.publish('q/end', 'end')
    const heard: string[] = []
    const granted: unknown[] = []
    while (heard.at(-1) !== 'q/end=end') {
      const { topic, payload, qos } = await to.next('publish')
      heard.push(`${String(topic)}=${String(payload)}`)
      granted.push(qos)
    }
    t.strictSame(heard, [...expected, 'q/end=end'], 'each once, in order')
    t.strictSame(granted, [0, 1, 2, 0])
    to.say({ cmd: 'unsubscribe', messageId: 9, unsubscriptions: ['q/+', 'q/#'] })
    await to.next('unsuback')
  }
  await hearsFrom(one, other, 'end', 'end')
  one.publish('r/a', 'old', { retain: true })
  one.publish('r/b', 'b', { retain: true })
  one.publish('r/a', 'new', { retain: true })
  one.publish('r/b', '', { retain: true })
  one.publish('end', '')
  await other.next('publish')
  await other.subscribe('r/#')
  t.strictSame(await other.messages(), ['r/a=new (retained)'], 'what was retained on the other worker')
  // Whoever comes later takes the place of who is on the other worker.
  const counts = (): number[] => served.workers().map(({ connections }) => connections)
  const before = counts()
  const same = await connect(port, 'same', will('will/same'))
  await hearsFrom(one, other, 'will/#', 'will/ready')
  const between = counts()
  const heir = await connect(port, 'same')
  await until(() => same.closed && counts().reduce((sum, count) => sum + count) === 3)
  t.notOk(heir.closed)
  t.not(String(between.map((count, i) => count - before[i])), String(counts().map((count, i) => count - before[i])),
    'which was another worker')
  t.equal(await hears(other), 'will/same=gone')
  t.strictSame(await other.messages(), [], 'once')
})

t.test('a worker dies: its clients\' wills are published, and nothing that was retained is lost', { skip },
  async (t) => {
    const { served, port, clients: [watcher, one], nodes: [, dying] } =
      await onTwoWorkers(t, [{}, will('will/one', { qos: 1 })])
    await watcher.subscribe('will/#', 1)
    await watcher.subscribe('ready')
    const crowd = await Promise.all(Array.from({ length: 4 }, (_none, i) =>
      connect(port, `c${i}`, will(`will/c${i}`, { retain: i % 2 === 0 }))))
    const calls = setInterval(() => { one.publish('ready', '') }, 20)
    await watcher.next('publish')
    clearInterval(calls)
    for (const [i, each] of crowd.entries()) each.publish(`will/c${i}`, 'here', { retain: true })
    one.publish('kept', 'by all', { retain: true })
    one.publish('ready', 'last')
    const heard: string[] = []
    while (!heard.includes('ready=last') || heard.filter((said) => said.includes('here')).length < 4) {
      const said = await hears(watcher)
      if (said !== 'ready=') heard.push(said)
    }
    die(dying)
    await until(() => one.closed && crowd.filter(({ closed }) => closed).length === 2)
    const gone = crowd.map((each, i) => each.closed ? `will/c${i}=gone` : '').filter((said) => said !== '')
    const wills: string[] = []
    while (wills.length < 3) wills.push(await hears(watcher))
    t.strictSame(wills.sort(), [...gone, 'will/one=gone'].sort())
    // Those of the others are not, as they are there: nor does anything come twice.
    t.strictSame(await watcher.messages(), [])
    await until(() => 
      served.workers().filter(({ node, state }) => state === 'ready' && node !== dying).length === 2)
    const fresh = served.workers().find(({ connections }) => connections === 0)?.node
    const late = await connect(port, 'late')
    t.equal(served.workers().find(({ node }) => node === fresh)?.connections, 1, 'on the new worker')
    const status = crowd.map((each, i) => `will/c${i}=${each.closed && i % 2 === 0 ? 'gone' : 'here'}`)
    // It asks the other one for what was retained, which takes a moment.
    const found = new Set<string>()
    await late.subscribe('#')
    while (found.size < 5) found.add(await hears(late))
    t.strictSame([...found].sort(), ['kept=by all', ...status].sort())
  })

t.test('a retained message comes to who has just subscribed on another node, once', { skip }, async (t) => {
  const { clients: [one, other] } = await onTwoWorkers(t)
  for (let i = 0; i < 200; i++) {
    // Mostly the other worker has not heard of the subscription when the message comes there.
    const subscribed = other.subscribe(`new/${i}`)
    one.publish(`new/${i}`, `state ${i}`, { retain: true })
    await subscribed
    t.equal(await hears(other), `new/${i}=state ${i}`)
  }
  one.publish('new/0', 'last')
  for (let i = 0; i < 2; i++) one.publish('new/0', `${i}`, { retain: i === 0 })
  const heard = [await hears(other), await hears(other), await hears(other)]
  t.strictSame(heard, ['new/0=last', 'new/0=0', 'new/0=1'], 'in order, and none twice')
})

const NO_MOSQUITTO = missing('mosquitto_pub') && 'there is no mosquitto_pub (Debian: mosquitto-clients)'

t.test('mosquitto\'s clients on workers, and an orderly end', { skip: skip || NO_MOSQUITTO }, async (t) => {
  const mqtt = new Running(t, 'mqtt', '--port', '0', '--workers', '2')
  const port = String(await mqtt.port())
  t.match(mqtt.out, '2 workers')
  const subs = [1, 2].map(() => {
    const child = spawn('mosquitto_sub', ['-p', port, '-t', 'home/#', '-v', '-q', '2'])
    t.teardown(() => child.kill('SIGKILL'))
    const sub = { heard: '', child, closed: once(child, 'close') }
    child.stdout.setEncoding('utf8').on('data', (text: string) => { sub.heard += text })
    return sub
  })
  const pub = (...args: string[]) => promisify(execFile)('mosquitto_pub', ['-p', port, ...args])
  await pub('-t', 'home/door', '-m', 'shut', '-r', '-q', '1')
  await until(() => subs.every(({ heard }) => heard === 'home/door shut\n'))
  // That the other worker has heard of their subscriptions takes a moment, in which what is published there and isn't
  // retained doesn't come; which one a publisher is on isn't known.
  for (let calm = 0; calm < 4;) {
    for (const sub of subs) sub.heard = ''
    await pub('-t', 'home', '-m', 'who is there?', '-q', '2')
    await pub('-t', 'home', '-m', 'over', '-r', '-q', '2')
    await until(() => subs.every(({ heard }) => heard.endsWith('home over\n')))
    calm = subs.every(({ heard }) => heard === 'home who is there?\nhome over\n') ? calm + 1 : 0
  }
  for (const sub of subs) sub.heard = ''
  await pub('-t', 'home', '-m', 'all', '-q', '2')
  await until(() => subs.every(({ heard }) => heard.endsWith('home all\n')))
  await pub('-t', 'home/door', '-m', 'open')
  await until(() => subs.every(({ heard }) => heard.endsWith('home/door open\n')))
  for (const { heard } of subs) t.equal(heard, 'home all\nhome/door open\n')
  for (const { child } of subs) child.kill()
  await Promise.all(subs.map(({ closed }) => closed))
  // It needn't wait for who stays.
  const stays = await connect(Number(port), 'stays')
  mqtt.child.kill('SIGTERM')
  await until(() => stays.closed)
  t.equal(await mqtt.end(), 0)
  t.equal(mqtt.errors, '')
})

t.test('two processes over NATS, one of them with workers', { skip: noNats || skip }, async (t) => {
  const { url } = await NatsServer.start(t)
  const paris = new Running(t, 'mqtt', '--port', '0', '--nats', url, '--node', 'paris')
  const one = await connect(await paris.port(), 'one', will('will/one'))
  one.publish('r/before', 'kept', { retain: true })
  const same = await connect(await paris.port(), 'same')
  const tokyo = new Running(t, 'mqtt', '--port', '0', '--workers', '2', '--nats', url, '--node', 'tokyo')
  const port = await tokyo.port()
  // One on each worker.
  const others = [await connect(port, 'other 1'), await connect(port, 'other 2')]
  for (const other of others) {
    await other.subscribe('r/#')
    t.equal(await hears(other), 'r/before=kept', 'what was retained before this node was there')
    await other.subscribe('will/#')
    await other.subscribe('a')
  }
  await one.subscribe('b', 1)
  const calls = setInterval(() => { for (const other of others) other.publish('b', 'ready') }, 20)
  await one.next('publish')
  await one.next('publish')
  clearInterval(calls)
  for (const [i, other] of others.entries()) other.publish('b', `last ${i}`, { qos: 1, messageId: 1 })
  const last: string[] = []
  while (last.length < 2) {
    const said = await hears(one)
    if (said !== 'b=ready') last.push(said)
  }
  t.strictSame(last.sort(), ['b=last 0', 'b=last 1'])
  const called = setInterval(() => { one.publish('a', 'ready') }, 20)
  await Promise.all(others.map((other) => other.next('publish')))
  clearInterval(called)
  one.publish('a', 'once')
  for (const other of others) {
    let said = ''
    while (said !== 'a=once') said = await hears(other)
  }
  for (const other of others) t.strictSame(await other.messages(), [], 'nothing twice')
  const heir = await connect(port, 'same')
  await until(() => same.closed)
  t.notOk(heir.closed, 'who comes later, on another machine, takes the place')
  paris.child.kill('SIGKILL')
  for (const other of others) t.equal(await hears(other), 'will/one=gone')
  for (const other of others) t.strictSame(await other.messages(), [])
  t.equal(tokyo.errors, '')
})

t.test('retained messages are the same on all nodes, in whatever order they come', async (t) => {
  const below = randomSource(7)
  for (let round = 0; round < 200; round++) {
    // At one moment no node says two things, but others may.
    const said: Retain[] = Array.from({ length: 30 }, (_none, i) =>
      mqttRetain(`t/${below(4)}`, Buffer.from(below(3) === 0 ? '' : String(below(1000))), 0, below(10), `node ${i}`))
    const all = new Pattern(filterOf('#') as never)
    const shown = (retained: Retained) =>
      retained.found(all).map((topic) => `${topic}=${String(retained.of(topic)?.payload)}`).sort()
    const stores = [0, 1, 2].map(() => {
      const store = new Retained(true)
      const order = [...said]
      while (order.length > 0) store.keep(order.splice(below(order.length), 1)[0])
      return store
    })
    for (const store of stores) t.strictSame(shown(store), shown(stores[0]))
    // And one that asks another one, page by page.
    const late = new Retained(true)
    for (let after = 0; ;) {
      const { page, upTo } = stores[0].page(after)
      for (const one of page) late.keep(one)
      if (upTo === 0) break
      after = upTo
    }
    t.strictSame(shown(late), shown(stores[0]))
    if (!t.passing()) break
  }
})

t.test('what follows from something is later, whatever the time is', async (t) => {
  const [ahead, behind] = [new Clock(), new Clock()]
  ahead.heard(Date.now() + 60_000)
  const before = { since: ahead.next(), node: 'b' }
  t.notOk(isLater({ since: behind.next(), node: 'a' }, before), 'the one knows nothing of the other')
  behind.heard(before.since)
  t.ok(isLater({ since: behind.next(), node: 'a' }, before))
  // What is not believed.
  const since = behind.next()
  for (const wrong of [Infinity, NaN, Number.MAX_SAFE_INTEGER, '9' as never]) behind.heard(wrong)
  t.equal(behind.next(), since + 1)
})
