/** The chat example: who hears what of whom, and how bytes become lines. */
import { onBoth } from '../drivers/tcp-program.js'
import { spawn } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import type { Test } from 'tap'
import { chatServer } from '../../examples/chat.js'
import { client, missing, sleep, until } from '../support/util.js'

/** Somebody who chats: the lines that came, and a place to write. */
class Guest {
  text = ''
  readonly output: Writable
  gone = false

  constructor(input: Readable, output: Writable) {
    this.output = output
    input.setEncoding('utf8').on('data', (text: string) => { this.text += text })
    for (const event of ['end', 'close', 'error']) input.on(event, () => { this.gone = true })
    output.on('error', () => undefined)
  }

  get lines(): string[] {
    return this.text.split('\n').slice(0, -1)
  }

  say(...packets: (string | Buffer)[]): Promise<void> {
    return packets.reduce(async (before, packet) => {
      await before
      this.output.write(packet)
      await sleep(10)
    }, Promise.resolve())
  }

  async hears(line: string): Promise<void> {
    await until(() => this.lines.includes(line))
  }
}

async function guest(t: Test, port: number): Promise<Guest> {
  const socket = await client(port)
  t.teardown(() => socket.destroy())
  const made = new Guest(socket, socket)
  await until(() => made.lines.length > 0)
  return made
}

const PYTHON = `
import os, socket, sys, threading
s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
def listen():
    for part in iter(lambda: s.recv(4096), b''):
        os.write(1, part)
threading.Thread(target=listen, daemon=True).start()
for part in iter(lambda: os.read(0, 4096), b''):
    s.sendall(part)
`

/** Whole programs as guests: they leave when their input ends. */
const others: readonly [string, (port: number) => string[]][] = [
  ['nc', (port) => [...(process.platform === 'linux' ? ['-N'] : []), '127.0.0.1', `${port}`]],
  ['python3', (port) => ['-u', '-c', PYTHON, `${port}`]],
  ['telnet', (port) => ['127.0.0.1', `${port}`]],
]

for (const [command, args] of others) {
  onBoth(`three guests, one of them ${command}`, async (t, start) => {
    const port = await start(() => chatServer(0)).port()
    const alice = await guest(t, port)
    t.strictSame(alice.lines, ['You are user1.'])
    const child = spawn(command, args(port))
    t.teardown(() => child.kill('SIGKILL'))
    const bob = new Guest(child.stdout, child.stdin)
    await alice.hears('user2 arrived.')
    await bob.hears('You are user2.')
    await bob.hears('user1 arrived.')
    const carol = await guest(t, port)
    for (const who of [alice, bob]) await who.hears('user3 arrived.')
    await carol.hears('user1 arrived.')
    await carol.hears('user2 arrived.')

    await bob.say('hello\n')
    for (const who of [alice, bob, carol]) await who.hears('user2: hello')
    await carol.say('hello yourself\n')
    for (const who of [alice, bob, carol]) await who.hears('user3: hello yourself')
    child.stdin.end()
    if (command === 'telnet') child.kill()
    for (const who of [alice, carol]) await who.hears('user2 departed.')
    carol.output.end()
    await alice.hears('user3 departed.')
    t.strictSame(alice.lines, [
      'You are user1.', 'user2 arrived.', 'user3 arrived.', 'user2: hello', 'user3: hello yourself',
      'user2 departed.', 'user3 departed.',
    ], 'once each, in order, and nothing about herself')
    t.notMatch(bob.text + carol.text, /user2 arrived\.[^]*user2 arrived\.|user3 departed/)
  }, missing(command))
}

onBoth('lines are cut as they are written, whatever the packets', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [speaker, listener] = [await guest(t, port), await guest(t, port)]
  const balloon = Buffer.from('grüße 🎈 日本\n')
  await speaker.say('o', 'n', 'e\nt', 'wo\nthree\nfour\n')
  await speaker.say(...Array.from(balloon, (byte) => Buffer.of(byte)))
  await speaker.say('with cr\r\n', 'cut cr\r', '\nin\rside\n', '\n', 'x'.repeat(60_000), 'y\n', 'last\n')
  const said = [
    'one', 'two', 'three', 'four', 'grüße 🎈 日本', 'with cr', 'cut cr', 'in\ufffdside', '',
    `${'x'.repeat(60_000)}y`, 'last',
  ].map((line) => `user1: ${line}`)
  await listener.hears('user1: last')
  await speaker.hears('user1: last')
  for (const { lines } of [speaker, listener]) {
    t.strictSame(lines.filter((line) => line.startsWith('user1: ')), said)
  }
})

onBoth('who leaves in the middle of a line has said it', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [speaker, listener, quiet] = [await guest(t, port), await guest(t, port), await guest(t, port)]
  await listener.hears('user3 arrived.')
  speaker.output.end('whole\npart')
  await listener.hears('user1 departed.')
  t.strictSame(listener.lines.slice(-3), ['user1: whole', 'user1: part', 'user1 departed.'])
  await until(() => speaker.gone)
  quiet.output.end('ended\n')
  await listener.hears('user3 departed.')
  t.strictSame(listener.lines.slice(-2), ['user3: ended', 'user3 departed.'], 'and nothing twice, nor empty')
})

onBoth('what a member sends moves no cursor; text stays as it is', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [speaker, listener] = [await guest(t, port), await guest(t, port)]
  const controls = [
    ...Array.from({ length: 0x20 }, (_all, code) => code),
    ...Array.from({ length: 0x21 }, (_all, i) => 0x7f + i),
    0x2028, 0x2029, 0x202e, 0x2066,
  ].filter((code) => code !== 0x0a && code !== 0x09)
  const text = 'gru\u0308\u00dfe 👩‍👩‍👧 日本 שלום 🇩🇪'
  await speaker.say('\x1b[2J\x1b]0;title\x07\x9b2J\n', Buffer.from([0x9b, 0x32, 0x4a, 0x0a]))
  await speaker.say(...controls.map((code) => `a${String.fromCodePoint(code)}b\n`), 'a\tb\n', `${text}\n`)
  await speaker.say('\x1b[1Awithout an end')
  speaker.output.end()
  await listener.hears('user1 departed.')
  t.strictSame(listener.lines.filter((line) => line.startsWith('user1: ')), [
    '\ufffd[2J\ufffd]0;title\ufffd\ufffd2J', '\ufffd2J', ...controls.map(() => 'a\ufffdb'), 'a b', text,
    '\ufffd[1Awithout an end',
  ].map((line) => `user1: ${line}`))
  // eslint-disable-next-line no-control-regex -- that is what must not be there
  t.notMatch(listener.text, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/)
})

onBoth('a guest that resets, and one that never ends a line, depart; the others go on', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [patient, endless, rude] = [await guest(t, port), await guest(t, port), await client(port)]
  await patient.hears('user3 arrived.')
  rude.resetAndDestroy()
  await patient.hears('user3 departed.')
  for (let sent = 0; sent < 40 && !endless.gone; sent++) await endless.say('z'.repeat(8192))
  await until(() => endless.gone)
  t.equal(endless.lines.at(-1), "You are cut off: a line has 65536 bytes at most, and yours didn't end.")
  await patient.hears('user2 departed.')
  const next = await guest(t, port)
  await patient.say('still here\n')
  await next.hears('user1: still here')
  t.notMatch(patient.text, 'zz', 'nothing of the endless line was told')
})
