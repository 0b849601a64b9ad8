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
    'one', 'two', 'three', 'four', 'grüße 🎈 日本', 'with cr', 'cut cr', 'in\rside', '',
    `${'x'.repeat(60_000)}y`, 'last',
  ].map((line) => `user1: ${line}`)
  await listener.hears('user1: last')
  await speaker.hears('user1: last')
  for (const { lines } of [speaker, listener]) {
    t.strictSame(lines.filter((line) => line.startsWith('user1: ')), said)
  }
})

onBoth('what follows the last line end is no line', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [speaker, listener] = [await guest(t, port), await guest(t, port)]
  speaker.output.end('whole\npart')
  await listener.hears('user1 departed.')
  t.strictSame(listener.lines.slice(-2), ['user1: whole', 'user1 departed.'])
  await until(() => speaker.gone)
})

onBoth('a guest that resets, and one that never ends a line, depart; the others go on', async (t, start) => {
  const port = await start(() => chatServer(0)).port()
  const [patient, endless, rude] = [await guest(t, port), await guest(t, port), await client(port)]
  await patient.hears('user3 arrived.')
  rude.resetAndDestroy()
  await patient.hears('user3 departed.')
  for (let sent = 0; sent < 40 && !endless.gone; sent++) await endless.say('z'.repeat(8192))
  await until(() => endless.gone)
  await patient.hears('user2 departed.')
  const next = await guest(t, port)
  await patient.say('still here\n')
  await next.hears('user1: still here')
  t.notMatch(patient.text, 'zz', 'nothing of the endless line was told')
})
