/** What a client of the MQTT example may ask for: what is more is refused, and the others are served meanwhile. */
import t from 'tap'
import { FILTERS_MAX, FORMS_MAX, LEVELS_MAX, RETAINED_MAX, TOPIC_BYTES_MAX } from '../../examples/mqtt/limits.js'
import { filterOf, Pattern, placeOf } from '../../examples/mqtt/topics.js'
import { until } from '../support/util.js'
import { MqttClient, onMqtt } from './mqtt-client.js'

const { connect } = MqttClient

const subscribe = (topics: readonly string[], messageId = 9): Record<string, unknown> =>
  ({ cmd: 'subscribe', messageId, subscriptions: topics.map((topic) => ({ topic, qos: 0 })) })

t.test('forms: the same for filters with wildcards at the same levels', async (t) => {
  const formOf = (filter: string): string | undefined => filterOf(filter)?.form
  t.equal(formOf('a/b/c'), formOf('x'))
  t.equal(formOf('a/+/c'), formOf('x/+/c/d/e'))
  t.not(formOf('a/+/c'), formOf('+/b/c'))
  t.not(formOf('a/+'), formOf('a/+/#'))
  t.equal(filterOf('a/'.repeat(LEVELS_MAX)), undefined)
  t.ok(filterOf('a/'.repeat(LEVELS_MAX - 1)))
  t.equal(filterOf('ä'.repeat(TOPIC_BYTES_MAX / 2 + 1)), undefined)
  t.equal(placeOf('a'.repeat(TOPIC_BYTES_MAX + 1)), undefined)
})

t.test('a pattern finds what its filter does', async (t) => {
  const cases: readonly (readonly [filter: string, found: string[], notFound: string[]])[] = [
    ['sport/#', ['sport', 'sport/', 'sport/a/b/c'], ['sports', '$sport']],
    ['#', ['a', 'a/b', '/'], ['$SYS', '$SYS/x']],
    ['+/+', ['a/b', '/finance'], ['a', 'a/b/c', '$SYS/b']],
    ['a/+/c', ['a/b/c', 'a//c'], ['a/c', 'a/b/b/c']],
    ['$SYS/#', ['$SYS', '$SYS/a'], ['a', 'SYS/a']],
  ]
  for (const [filter, found, notFound] of cases) {
    const place = filterOf(filter)
    if (place === undefined) throw new Error(filter)
    const pattern = new Pattern(place)
    for (const topic of found) t.ok(pattern.finds(topic.split('/')), `${filter} finds ${topic}`)
    for (const topic of notFound) t.notOk(pattern.finds(topic.split('/')), `${filter} does not find ${topic}`)
  }
})

/** Somebody who is sent a message again and again, and how long the longest of them took. */
async function served(port: number, during: () => Promise<void>): Promise<number> {
  const [from, to] = [await connect(port, 'from'), await connect(port, 'to')]
  await to.subscribe('served')
  let longest = 0
  let over = false
  const serving = (async () => {
    for (let n = 0; !over || n < 3; n++) {
      const start = performance.now()
      from.publish('served', String(n))
      await to.next('publish')
      longest = Math.max(longest, performance.now() - start)
    }
  })()
  await during()
  over = true
  await serving
  return longest
}

for (const [name, bytes] of [['2.4 KB', 2400], ['60 KB', 60_000]] as const) {
  onMqtt(`a SUBSCRIBE of ${name}: others are served meanwhile`, async (t, run) => {
    const { port } = await run()
    const filters: readonly (readonly [what: string, topics: string[], granted: number[]])[] = [
      ['one filter of many levels', [`${'a/'.repeat(bytes / 2 - 1)}+`], [128]],
      ['many wildcards', [`${'+/'.repeat(bytes / 2 - 1)}#`], [128]],
      [
        'many short filters',
        Array.from({ length: Math.min(bytes / 6, FILTERS_MAX) }, (_value, i) => `f${i % 1000}`),
        [],
      ],
    ]
    const longest = await served(port, async () => {
      const hostile = await connect(port, 'hostile')
      for (const [what, topics, granted] of filters) {
        hostile.say(subscribe(topics))
        const answer = await hostile.next('suback')
        if (granted.length > 0) t.strictSame(answer['granted'], granted, what)
        else t.ok((answer['granted'] as number[]).every((code) => code === 0), what)
      }
      hostile.publish('a', 'still connected')
    })
    // It was 14 s for the first one, and minutes for the larger.
    t.ok(longest < 5000, `the longest took ${longest.toFixed(0)} ms`)
  })
}

onMqtt('so many filters, so many forms, and room again when some have gone', async (t, run) => {
  const { port } = await run()
  const client = await connect(port, 'many')
  const formOf = (i: number): string =>
    Array.from({ length: 8 }, (_value, bit) => (((i >> bit) & 1) === 1 ? '+' : `l${bit}`)).join('/')
  const forms = Array.from({ length: FORMS_MAX + 3 }, (_value, i) => formOf(i))
  const answers = async (topics: readonly string[]): Promise<number[]> => {
    client.say(subscribe(topics))
    return (await client.next('suback'))['granted'] as number[]
  }
  t.strictSame(await answers(forms), forms.map((_form, i) => (i < FORMS_MAX ? 0 : 128)))
  t.strictSame(await answers([forms[3], forms[FORMS_MAX]]), [0, 128], 'what is there may be asked for again')
  client.say({ cmd: 'unsubscribe', messageId: 3, unsubscriptions: [forms[5], forms[5], 'never'] })
  await client.next('unsuback')
  t.strictSame(await answers([forms[FORMS_MAX], forms[FORMS_MAX + 1]]), [0, 128])
  const plain = Array.from({ length: FILTERS_MAX }, (_value, i) => `plain/${i}`)
  const granted = await answers(plain)
  t.equal(granted.filter((code) => code === 0).length, FILTERS_MAX - FORMS_MAX)
  client.say(subscribe(Array.from({ length: FILTERS_MAX + 1 }, () => 'a')))
  await until(() => client.closed)
})

onMqtt('long topics, long names and many retained messages', async (t, run) => {
  const { port } = await run()
  const long = await connect(port, 'long')
  long.publish('a/'.repeat(LEVELS_MAX), 'too long')
  await until(() => long.closed)
  const name = await MqttClient.open(port)
  name.say({
    cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0, clientId: 'x'.repeat(2000),
  })
  t.match(await name.next('connack'), { returnCode: 2 })
  const client = await connect(port, 'retaining')
  for (let i = 0; i < RETAINED_MAX + 5; i++) client.publish(`r/${i}`, 'x', { retain: true })
  client.publish('r/0', '', { retain: true })
  client.publish('r/last', 'x', { retain: true })
  await client.messages()
  await client.subscribe('r/0')
  await client.subscribe('r/+')
  // They come some at a time.
  await until(() => client.heard.filter(({ cmd }) => cmd === 'publish').length >= RETAINED_MAX)
  const messages = await client.messages()
  t.equal(messages.length, RETAINED_MAX)
  t.ok(messages.includes('r/last=x (retained)'), 'one has made room')
  t.notOk(messages.some((text) => text.startsWith('r/0=')))
})
