/** `marketplace chat --nats`: one room on two processes, for telnet and for browsers, and with workers. */
import t, { type Test } from 'tap'
import { WebSocket } from 'ws'
import { Cli } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { unlessQuick } from '../support/quick.js'
import { client, until } from '../support/util.js'
import { die } from '../workers/mortal.js'
import { quiet, skip as noWorkers, started } from '../workers/start.js'
import { NatsServer, noNats } from './nats-server.js'

t.setTimeout(patient(60_000))

t.test('two servers, one room', { skip: noNats }, async (t) => {
  const { url } = await NatsServer.start(t)
  const start = (node: string): Cli => {
    const cli = new Cli(['chat', '--port', '0', '--web-port', '0', '--nats', url, '--node', node])
    t.teardown(async () => {
      cli.signal('SIGKILL')
      await cli.ended()
    })
    return cli
  }
  const [paris, tokyo] = [start('paris'), start('tokyo')]
  const telnet = async (cli: Cli): Promise<{ heard: string, say: (line: string) => void, leave: () => void }> => {
    const socket = await client(await cli.listening())
    const user = { heard: '', say: (line: string) => socket.write(`${line}\n`), leave: () => { socket.destroy() } }
    socket.setEncoding('utf8').on('data', (text: string) => { user.heard += text })
    return user
  }
  const one = await telnet(paris)
  await until(() => one.heard.includes('You are paris-1.'))
  const two = await telnet(tokyo)
  await until(() => two.heard.includes('paris-1 arrived.') && one.heard.includes('tokyo-1 arrived.'))
  one.say('bonjour')
  await until(() => two.heard.includes('paris-1: bonjour'))
  const page = /http:\/\/localhost:\d+\//
  await until(() => page.test(tokyo.stdout))
  const address = (page.exec(tokyo.stdout) as RegExpExecArray)[0]
  const browser = new WebSocket(`${address.replace('http', 'ws')}room`, { origin: address.replace(/\/$/, '') })
  t.teardown(() => { browser.terminate() })
  let heard = ''
  browser.on('message', (text: Buffer) => { heard += text.toString() })
  await until(() => heard.includes('paris-1') && one.heard.includes('tokyo-2 arrived.'))
  browser.send('hello from a page')
  await until(() => one.heard.includes('tokyo-2: hello from a page') && two.heard.includes('hello from a page'))
  two.leave()
  await until(() => one.heard.includes('tokyo-1 departed.'))
  t.equal(one.heard.match(/bonjour/g)?.length, 1, 'each once')
  tokyo.signal('SIGKILL')
  await until(() => one.heard.includes('tokyo-2 departed.'))
})

/** Somebody with telnet. */
class Guest {
  heard = ''
  name = ''

  private constructor(private readonly socket: Awaited<ReturnType<typeof client>>) {
    socket.setEncoding('utf8').on('data', (text: string) => { this.heard += text })
    socket.on('error', () => undefined)
  }

  static async open(t: Test, port: number): Promise<Guest> {
    const socket = await client(port)
    t.teardown(() => { socket.destroy() })
    const guest = new Guest(socket)
    const you = /You are (\S+)\.\n/
    await until(() => you.test(guest.heard))
    guest.name = you.exec(guest.heard)?.[1] ?? ''
    return guest
  }

  say(line: string): void {
    this.socket.write(`${line}\n`)
  }

  /** How often it was told this. */
  count(line: string): number {
    return this.heard.split('\n').filter((told) => told === line).length
  }

  hears(line: string): Promise<void> {
    return until(() => this.count(line) > 0)
  }
}

/** Everybody knows of everybody else, and hears what each says, once. */
async function oneRoom(t: Test, guests: readonly Guest[]): Promise<void> {
  for (const one of guests) {
    for (const other of guests) if (other !== one) await one.hears(`${other.name} arrived.`)
  }
  for (const one of guests) one.say(`I am ${one.name}`)
  for (const one of guests) one.say('over')
  for (const one of guests) for (const other of guests) await one.hears(`${other.name}: over`)
  for (const one of guests) {
    for (const other of guests) {
      t.equal(one.count(`${other.name}: I am ${other.name}`), 1, `${one.name} hears ${other.name} once`)
      if (other !== one) t.equal(one.count(`${other.name} arrived.`), 1, `${one.name} sees ${other.name} once`)
    }
  }
}

t.test('two processes with two workers each are one room', { skip: noNats || noWorkers }, async (t) => {
  const { url } = await NatsServer.start(t)
  const start = (node: string): Cli => {
    const cli = new Cli(['chat', '--port', '0', '--workers', '2', '--nats', url, '--node', node])
    t.teardown(async () => {
      cli.signal('SIGKILL')
      await cli.ended()
    })
    return cli
  }
  const [paris, tokyo] = [start('paris'), start('tokyo')]
  const ports = [await paris.listening(), await tokyo.listening()]
  const guests: Guest[] = []
  for (const port of [...ports, ...ports]) guests.push(await Guest.open(t, port))
  const workers = new Set(guests.map(({ name }) => name.split('.')[0]))
  t.strictSame([...workers].sort(), ['paris-1', 'paris-2', 'tokyo-1', 'tokyo-2'], 'each is on another worker')
  await oneRoom(t, guests)
  const [one, two, three, four] = guests
  // Whoever speaks finds out at once that nobody listens there any more.
  tokyo.signal('SIGKILL')
  await tokyo.ended()
  one.say('is anybody there?')
  three.say('is anybody there?')
  for (const left of [one, three]) for (const gone of [two, four]) await left.hears(`${gone.name} departed.`)
  t.equal(one.count(`${three.name} departed.`), 0)
  paris.signal('SIGTERM')
  await until(() => paris.stdout.includes('waiting for connections to end'))
  t.equal(paris.stderr, '')
})

t.test('a worker dies; the NATS server dies', { skip: noNats || noWorkers || unlessQuick }, async (t) => {
  quiet(t)
  const nats = await NatsServer.start(t)
  const module = new URL('chat-worker.js', import.meta.url)
  const { served, port } = await started({ module, data: { nats: { servers: nats.url, node: 'paris' } } })
  t.teardown(() => served.stop())
  const tokyo = new Cli(['chat', '--port', '0', '--workers', '2', '--nats', nats.url, '--node', 'tokyo'])
  t.teardown(async () => {
    tokyo.signal('SIGKILL')
    await tokyo.ended()
  })
  const [lost, here] = [await Guest.open(t, port), await Guest.open(t, port)]
  const there = await Guest.open(t, await tokyo.listening())
  await oneRoom(t, [lost, here, there])
  const died = served.workers().find(({ node }) => node.endsWith(/-(\d+)\./.exec(lost.name)?.[1] ?? '?'))
  const since = performance.now()
  die(died?.node)
  await here.hears(`${lost.name} departed.`)
  t.ok(performance.now() - since < patient(1000), 'on the other worker within a second')
  there.say('who is left?')
  await there.hears(`${lost.name} departed.`)
  await here.hears(`${there.name}: who is left?`)
  t.equal(here.count(`${there.name} departed.`) + there.count(`${here.name} departed.`), 0, 'nobody else')
  const again = await Guest.open(t, port)
  await here.hears(`${again.name} arrived.`)
  await there.hears(`${again.name} arrived.`)
  // Without the server the workers of a process are still one room.
  await nats.kill()
  here.say('between us')
  await again.hears(`${here.name}: between us`)
  await here.hears(`${there.name} departed.`)
  await there.hears(`${here.name} departed.`)
  t.equal(here.count(`${again.name} departed.`), 0)
  await nats.run()
  await until(() => here.count(`${there.name} arrived.`) === 2 && there.count(`${again.name} arrived.`) === 2)
  there.say('again')
  await here.hears(`${there.name}: again`)
  t.equal(there.count(`${here.name}: between us`), 0)
})

t.test('what the options refuse', async (t) => {
  for (const [args, message] of [
    [['--nats', 'http://x'], /natsRelay: servers must be/], [['--nats', 'h', '--node', 'a.b'], /natsRelay: node must be/],
    [['--nats', 'h', '--workers', '2', '--node', 'a'.repeat(57)], /--node may have 56 characters/],
  ] as const) {
    const cli = new Cli(['chat', ...args])
    t.not(await cli.ended(), 0)
    t.match(cli.stderr, message)
  }
})
