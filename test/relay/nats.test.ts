/** `natsRelay` between processes, with a real server: the rules of presence over links that can be cut. */
import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import { _, natsRelay, type NatsRelayOptions } from 'marketplace-native'
import { patient } from '../support/patience.js'
import { unlessQuick } from '../support/quick.js'
import { sleep } from '../support/util.js'
import type { Command, Told } from './nats-node.js'
import { NatsServer, noNats, Proxy } from './nats-server.js'

const HEARTBEAT = 200
const LOST_AFTER = 1000
/** What a busy machine may add to a time that is promised. */
const PATIENCE = 4000

type Options = Partial<Omit<NatsRelayOptions, 'node' | 'topics'>>

/** A process of its own that is a node. */
class Node {
  readonly #child: ChildProcess
  /** What it has told and the test has not asked for. */
  readonly told: Told[] = []
  #news: () => void = () => undefined

  constructor(t: Test, readonly name: string, url: string, more: Options = {}) {
    const options = { node: name, servers: url, heartbeatMs: HEARTBEAT, lostAfterMs: LOST_AFTER, ...more }
    const program = fileURLToPath(new URL('nats-node.js', import.meta.url))
    this.#child = fork(program, [JSON.stringify(options)], { serialization: 'advanced' })
    this.#child.on('message', (told: Told) => {
      this.told.push(told)
      this.#news()
    })
    t.teardown(() => this.kill())
  }

  do(command: Command): void {
    this.#child.send(command)
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const ended = once(this.#child, 'exit')
    this.#child.kill('SIGKILL')
    await ended
  }

  /** Ended by itself. */
  async exit(): Promise<unknown> {
    if (this.#child.exitCode === null) await once(this.#child, 'exit')
    return this.#child.exitCode
  }

  /** The next that it tells of this kind; what comes before that is skipped. */
  async next<E extends Told['event']>(
    event: E, fits: (told: Extract<Told, { event: E }>) => boolean = () => true,
  ): Promise<Extract<Told, { event: E }>> {
    for (;;) {
      for (let told = this.told.shift(); told !== undefined; told = this.told.shift()) {
        const one = told as Extract<Told, { event: E }>
        if (told.event === event && fits(one)) return one
      }
      await new Promise<void>((resolve) => { this.#news = resolve })
    }
  }

  /** What it has told so far, of these kinds. */
  take(...events: readonly Told['event'][]): Told[] {
    return this.told.splice(0).filter(({ event }) => events.includes(event))
  }
}

/** Nodes that have seen each other. */
async function met(...nodes: readonly Node[]): Promise<void> {
  for (const node of nodes) {
    const others = new Set(nodes.map(({ name }) => name))
    others.delete(node.name)
    while (others.size > 0) others.delete((await node.next('arrived')).who)
  }
}

/** One says something until the other hears it: the two need not find out at the same time that they can speak. */
async function speaking(t: Test, from: Node, to: Node): Promise<void> {
  const saying = setInterval(() => { from.do({ say: ['hello?'] }) }, 50)
  t.teardown(() => { clearInterval(saying) })
  await to.next('said', ({ who, what }) => who === from.name && what === 'hello?')
  clearInterval(saying)
}

t.setTimeout(patient(150_000))

const unless = { skip: unlessQuick }

t.test('nats relay', { skip: noNats, timeout: patient(120_000) }, async (t) => {
  t.test('presence, messages, and an orderly end', async (t) => {
    const { url } = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', url), new Node(t, 'b', url)]
    await met(a, b)
    a.do({ say: ['one', 2, [3n, -0, undefined, Symbol.iterator.description]] })
    t.match(await b.next('said'), { who: 'a', what: 'one' })
    t.match(await b.next('said'), { who: 'a', what: 2 })
    t.strictSame((await b.next('said')).what, [3n, -0, undefined, 'Symbol.iterator'])
    const since = Date.now()
    b.do({ leave: true })
    t.match(await a.next('departed'), { who: 'b', code: undefined }, 'no reason')
    t.ok(Date.now() - since < LOST_AFTER, 'at once')
    t.equal(await b.exit(), 0)
  })

  t.test('a node is killed, and comes again under its name', async (t) => {
    const { url } = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', url), new Node(t, 'b', url)]
    await met(a, b)
    const since = Date.now()
    await b.kill()
    t.match(await a.next('departed'), { who: 'b', code: 'ENODELOST' })
    t.ok(Date.now() - since < LOST_AFTER + HEARTBEAT + PATIENCE)
    const again = new Node(t, 'b', url)
    t.match(await a.next('arrived'), { who: 'b' })
    await again.next('arrived')
    again.do({ say: ['back'] })
    t.match(await a.next('said'), { who: 'b', what: 'back' })
  })

  t.test('killed while it is spoken to: the server says that nobody listens', async (t) => {
    const { url } = await NatsServer.start(t)
    // Without that it would take a minute.
    const slow = { heartbeatMs: 1000, lostAfterMs: 60_000 }
    const [a, b] = [new Node(t, 'a', url, slow), new Node(t, 'b', url, slow)]
    await met(a, b)
    await b.kill()
    a.do({ say: ['anybody there?'] })
    t.match(await a.next('departed'), { who: 'b', code: 'ENODELOST' })
  })

  t.test('restarted under its old name before anybody has noticed: absent, then present', async (t) => {
    const { url } = await NatsServer.start(t)
    const slow = { heartbeatMs: 200, lostAfterMs: 60_000 }
    const [a, b] = [new Node(t, 'a', url, slow), new Node(t, 'b', url, slow)]
    await met(a, b)
    b.do({ items: 10 })
    await a.next('items', ({ count }) => count === 10)
    await b.kill()
    const again = new Node(t, 'b', url, slow)
    again.do({ items: 3 })
    await a.next('items', ({ count }) => count === 0)
    await a.next('items', ({ count }) => count === 3)
  })

  t.test('a node is stopped, and goes on', async (t) => {
    const { url } = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', url), new Node(t, 'b', url)]
    await met(a, b)
    b.signal('SIGSTOP')
    t.match(await a.next('departed'), { who: 'b', code: 'ENODELOST' })
    b.signal('SIGCONT')
    t.match(await a.next('arrived'), { who: 'b' })
    await speaking(t, a, b)
    await speaking(t, b, a)
  })

  t.test('the server is killed, and comes again', async (t) => {
    const server = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', server.url), new Node(t, 'b', server.url)]
    await met(a, b)
    await server.kill()
    t.match(await a.next('departed'), { who: 'b', code: 'ENETSPLIT' })
    t.match(await b.next('departed'), { who: 'a', code: 'ENETSPLIT' })
    await server.run()
    await met(a, b)
    await speaking(t, a, b)
  })

  t.test('a server that dies and is there again at once: nobody leaves for long', unless, async (t) => {
    const server = await NatsServer.start(t)
    const slow = { heartbeatMs: 200, lostAfterMs: 60_000 }
    const [a, b] = [new Node(t, 'a', server.url, slow), new Node(t, 'b', server.url, slow)]
    await met(a, b)
    for (let i = 0; i < 200; i++) a.do({ say: [i] })
    await server.kill()
    for (let i = 200; i < 300; i++) a.do({ say: [i] })
    await server.run()
    const asking = setInterval(() => { a.do({ say: ['end'] }) }, 50)
    t.teardown(() => { clearInterval(asking) })
    const heard = await heardUntilEnd(b)
    t.same(silentGaps(heard), [], 'no hole without an absence')
    t.ok(heard.every((one) => one.event !== 'departed' || one.code === 'EGAP'), 'what was lost shows as EGAP')
  })

  t.test('a link that is cut again and again while messages go: no hole is silent', unless, async (t) => {
    const server = await NatsServer.start(t)
    const proxy = await Proxy.start(t, server.port)
    const slow = { heartbeatMs: 200, lostAfterMs: 60_000 }
    const [a, b] = [new Node(t, 'a', proxy.url, slow), new Node(t, 'b', server.url, slow)]
    await met(a, b)
    for (let i = 0; i < 3000; i++) {
      a.do({ say: [i] })
      if (i % 1000 === 500) {
        await sleep(20)
        proxy.cut()
      }
      if (i % 50 === 0) await sleep(5)
    }
    const asking = setInterval(() => { a.do({ say: ['end'] }) }, 50)
    t.teardown(() => { clearInterval(asking) })
    const heard = await heardUntilEnd(b)
    t.same(silentGaps(heard), [])
    const departures = heard.filter(({ event }) => event === 'departed') as { code?: string }[]
    t.ok(departures.every(({ code }) => code === 'EGAP' || code === 'ENODELOST'))
  })

  t.test('the cable is out: both sides see each other absent, and come back', async (t) => {
    const server = await NatsServer.start(t)
    const proxy = await Proxy.start(t, server.port)
    const [a, b, c] = [new Node(t, 'a', server.url), new Node(t, 'b', proxy.url), new Node(t, 'c', server.url)]
    await met(a, b, c)
    proxy.swallows = true
    t.match(await a.next('departed'), { who: 'b', code: 'ENODELOST' })
    const lost = [await b.next('departed'), await b.next('departed')]
    t.same(lost.map(({ who }) => who).sort(), ['a', 'c'])
    for (const { code } of lost) t.match(code, /^(ENODELOST|ENETSPLIT)$/)
    a.do({ say: ['this side goes on'] })
    t.match(await c.next('said'), { who: 'a' })
    proxy.swallows = false
    t.match(await a.next('arrived'), { who: 'b' })
    await b.next('arrived')
    await b.next('arrived')
    await speaking(t, b, a)
  })

  t.test('a slow link is no loss', unless, async (t) => {
    const server = await NatsServer.start(t)
    const proxy = await Proxy.start(t, server.port)
    const patient = { lostAfterMs: 5000 }
    const [a, b] = [new Node(t, 'a', server.url, patient), new Node(t, 'b', proxy.url, patient)]
    await met(a, b)
    proxy.delay = 300
    a.do({ say: Array.from({ length: 500 }, (_v, i) => i) })
    await b.next('said', ({ what }) => what === 499)
    b.do({ say: ['got it'] })
    await sleep(2 * LOST_AFTER)
    t.same(a.take('departed', 'said'), [{ event: 'said', who: 'b', what: 'got it' }])
    t.same(b.take('departed'), [])
  })

  t.test('a name that is used twice: the second is refused', async (t) => {
    const { url } = await NatsServer.start(t)
    const [a, b] = [new Node(t, 'a', url), new Node(t, 'b', url)]
    await met(a, b)
    const second = new Node(t, 'b', url)
    const ended = await second.next('ended')
    t.match(ended, { code: 'ENODEINUSE', message: /\bb\b/ })
    b.do({ say: ['still here'] })
    t.match(await a.next('said', ({ what }) => what === 'still here'), { who: 'b' })
  })

  t.test('a node that reads nothing loses its session; the other one\'s memory has a bound', unless, async (t) => {
    const { url } = await NatsServer.start(t, 'max_pending: 4MB\nwrite_deadline: "500ms"')
    const slow = { heartbeatMs: 200, lostAfterMs: 60_000, maxQueuedBytes: 1024 * 1024 }
    const [a, b, c] = ['a', 'b', 'c'].map((name) => new Node(t, name, url, slow))
    await met(a, b, c)
    b.signal('SIGSTOP')
    // More than the sockets and the server keep.
    for (let i = 0; i < 30; i++) {
      a.do({ flood: 16, bytes: 60_000 })
      await sleep(20)
    }
    const lost = await a.next('departed', ({ who }) => who === 'b')
    t.match(lost.code, /^(ENOBUFS|ENODELOST)$/)
    await speaking(t, a, c)
    b.signal('SIGCONT')
    t.match(await a.next('arrived', ({ who }) => who === 'b'), { who: 'b' })
    await speaking(t, a, b)
  })

  t.test('messages longer than the server takes', unless, async (t) => {
    for (const config of ['', 'max_payload: 4096']) {
      const { url } = await NatsServer.start(t, config)
      // They take long on a busy machine, where nobody is to be given up for that.
      const slow = { heartbeatMs: 200, lostAfterMs: 60_000 }
      const [a, b] = [new Node(t, 'a', url, slow), new Node(t, 'b', url, slow)]
      await met(a, b)
      await speaking(t, a, b)
      a.do({ flood: 2, bytes: 3_000_000 })
      a.do({ say: ['end'] })
      const next = async (): Promise<unknown> => (await b.next('said', ({ what }) => what !== 'hello?')).what
      t.same([await next(), await next(), await next()], [3_000_000, 3_000_000, 'end'])
      await a.kill()
      await b.kill()
    }
  })

  t.test('wrong credentials end the relay, with what was wrong', async (t) => {
    const { url } = await NatsServer.start(t, 'authorization { user: u, password: right }')
    const a = new Node(t, 'a', url, { auth: { user: 'u', pass: 'wrong' } })
    t.match(await a.next('ended'), { code: 'EACCES', message: /^natsRelay a: nats:.*Authorization Violation/ })
    const b = new Node(t, 'b', url, { auth: { user: 'u', pass: 'right' } })
    const c = new Node(t, 'c', url, { auth: { user: 'u', pass: 'right' } })
    await met(b, c)
  })
})

type Heard = Extract<Told, { event: 'said' | 'departed' | 'arrived' }>

async function heardUntilEnd(node: Node): Promise<Heard[]> {
  const heard: Heard[] = []
  for (;;) {
    await sleep(10)
    for (const told of node.take('said', 'departed', 'arrived') as Heard[]) {
      if (told.event === 'said' && told.what === 'end') return heard
      heard.push(told)
    }
  }
}

/** Numbers that don't follow the one before though nobody was absent between them. */
function silentGaps(heard: readonly Heard[]): unknown[] {
  let last: number | undefined
  const gaps: unknown[] = []
  for (const told of heard) {
    if (told.event === 'departed') last = undefined
    if (told.event !== 'said') continue
    const number = told.what as number
    if (last !== undefined && number !== last + 1) gaps.push([last, number])
    last = number
  }
  return gaps
}

t.test('what natsRelay does not take', async (t) => {
  const good = { node: 'a', topics: [['x', _]] }
  const wrong = (options: object, message: RegExp): void => {
    t.throws(() => natsRelay({ ...good, ...options }), { message })
  }
  wrong({ servers: 'nats://h:99999' }, /servers must be "nats:/)
  for (const node of ['', 'a.b', '*', '>', 'a b', 'a\n', 'ü', 5, 'x'.repeat(65)]) {
    wrong({ node }, /^natsRelay: node must be 1 to 64 letters, digits, "_" and "-"; got/)
    wrong({ prefix: node }, /^natsRelay: prefix must be 1 to 64 letters/)
  }
  wrong({ node: undefined }, /^natsRelay: node must be given/)
  wrong({ topics: undefined }, /^natsRelay: topics must be given/)
  for (const servers of [[], 'http://x:1', 5, [5], 'a b', '', 'nats://x:1/y']) {
    wrong({ servers }, /^natsRelay: servers must be "nats:\/\/host:port", or an array of such/)
  }
  for (const servers of ['h', 'h:1', 'nats://h', 'tls://h:4222', ['nats://[::1]:4222', '127.0.0.1:4222']]) {
    natsRelay({ ...good, servers })
  }
  wrong({ servers: 'nats://me:secret@h' }, /in the option auth; got '<a name>@<a host>'/)
  wrong({ auth: {} }, /^natsRelay: auth must be one of user/)
  wrong({ auth: { user: 'a', token: 'b' } }, /^natsRelay: auth must be one of user.*got '\{ user, token \}'/)
  wrong({ auth: { pass: 5 } }, /^natsRelay: auth\.pass must be a string; got '<a number>'/)
  wrong({ auth: { tokn: 'x' } }, /did you mean 'token'/)
  wrong({ tls: { cert: 'x' } }, /^natsRelay: tls must be both cert and key, or neither/)
  wrong({ heartbeat: 5 }, /did you mean 'heartbeatMs'/)
})
