/** What is asked for and nobody answers is said; what came before its driver is kept for it. */
import { collectLog, type LogLine } from './log-records.js'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { createConnection } from 'node:net'
import { promisify } from 'node:util'
import t from 'tap'
import {
  _, cancelTimer, endpoint, eventRelay, eventSource, groundVm, nestedVm, quit, sendFeedback, sendMessage, setTimer,
  spawn, tcp, tcpAddress, tcpBare, tcpChannel, tcpCredit, tcpHandle, tcpListener, tcpListening, tcpMode, timerDriver,
  timerExpired, timerRelay, udp, udpListener, udpPacket, type ActionTree,
} from 'marketplace-native'
import { freePort } from '../conformance/sockets.js'
import { patient } from '../support/patience.js'
import { sleep, until } from '../support/util.js'

const warned = (records: readonly LogLine[]): string[] =>
  records.filter(({ level }) => level === 'warning').map(({ message }) => message)

const permutations = <T>(list: readonly T[]): T[][] => list.length < 2 ? [[...list]] : list.flatMap((first, i) =>
  permutations(list.filter((_item, j) => j !== i)).map((rest) => [first, ...rest]))

/** Runs a program to its end. @returns the warnings */
async function warnings(boot: () => ActionTree): Promise<string[]> {
  const { records, end } = collectLog()
  try {
    await groundVm(boot)
  } finally {
    end()
  }
  return warned(records)
}

void t.test('timers are not lost, whatever the order of a list', { timeout: patient(20_000) }, async (t) => {
  for (const inside of [false, true]) {
    for (const order of permutations([0, 1, 2, 3])) {
      const heard: unknown[] = []
      const parts: ActionTree[] = [
        inside ? timerRelay() : timerDriver(),
        endpoint.subscriber(timerExpired(_, _), { onMessage: ({ label }) => { heard.push(label) } }),
        [sendMessage(setTimer('x', 5, 'relative')), sendMessage(setTimer('no', 1, 'relative'))],
        spawn(() => sendMessage(cancelTimer('no'))),
      ]
      // Whoever is listened to ends by itself, once nothing is due any more.
      const boot = (): ActionTree => order.map((i) => parts[i])
      const said = await warnings(() => inside ? [timerDriver(), nestedVm(boot)] : boot())
      t.same(said, [])
      const cancelled = order.indexOf(3) > order.indexOf(2)
      t.same(heard.filter((label) => label === 'x'), ['x'], `order ${order.join()}, inside: ${inside}`)
      if (cancelled) t.notOk(heard.includes('no'), 'called off in the order in which it was sent')
    }
  }
})

const forgotten: readonly [what: string, boot: () => ActionTree, said: RegExp][] = [
  ['a listener', () => endpoint.subscriber(tcpChannel(_, tcpListener(5999), _)),
    /process 0 \(main\) asks for .*tcp-listener\(5999\).* and nothing in this VM answers; missing is a TCP driver/],
  ['a listener that is observed', () =>
    endpoint.subscriber(tcpChannel(_, tcpListener(5999), _), { interest: 'observer' }), /missing is a TCP driver/],
  ['a handle', () => endpoint.publisher(tcpChannel(tcpHandle('h'), tcpAddress('127.0.0.1', 1), _)),
    /tcp-handle\('h'\).* missing is a TCP driver/],
  ['a datagram socket', () => endpoint.subscriber(udpPacket(_, udpListener(0), _)), /missing is a UDP driver: udp\(\)/],
  ['a timer', () => sendMessage(setTimer('tea', 1, 'relative')), /sent set-timer\('tea', 1, 'relative'\).*timerDriver/],
  ['another driver', () => [udp(), endpoint.subscriber(tcpChannel(_, tcpListener(0), _))], /missing is a TCP driver/],
  ['a driver of another VM', () => [
    timerDriver(), tcpBare(),
    nestedVm(() => [
      sendMessage(setTimer('x', 1, 'relative')), endpoint.subscriber(tcpChannel(_, tcpListener(0), _)),
    ]),
  ], /in VM \d+ answers; missing is a TCP driver/],
  ['a relay', () => nestedVm(() => endpoint.subscriber([eventSource('s', () => undefined), _])),
    /in VM \d+ answers; missing is an event relay: eventRelay\(\)/],
]

for (const [what, boot, said] of forgotten) {
  void t.test(`forgotten for ${what}: a warning when the program ends`, async (t) => {
    const all = await warnings(boot)
    t.ok(all.some((text) => said.test(text)), all.join('\n'))
  })
}

void t.test('a program that goes on is warned after a second, once', { timeout: patient(10_000) }, async (t) => {
  const { records, end } = collectLog()
  t.teardown(end)
  const source = eventSource('held', () => undefined)
  const vm = groundVm(() => [
    endpoint.subscriber([source, _]),
    endpoint.subscriber(tcpChannel(_, tcpListener(5999), _)),
  ])
  await until(() => warned(records).length > 0)
  await sleep(1200)
  await vm.stop()
  t.equal(warned(records).filter((text) => text.includes('missing is a TCP driver')).length, 1)
})

const answered = 'no warning where it is answered, by a late driver or by an end'

void t.test(answered, { timeout: patient(20_000) }, async (t) => {
  const source = eventSource('held', () => undefined)
  const { records, end } = collectLog()
  t.teardown(end)
  const heard: unknown[] = []
  const vm = groundVm(() => [
    endpoint.subscriber([source, _]),
    spawn(() => [endpoint.subscriber(tcpChannel(_, tcpListener(5999), _)), quit()]),
    endpoint.subscriber(timerExpired(_, _), { onMessage: ({ label }) => { heard.push(label) } }),
    sendMessage(setTimer('early', 1, 'relative')),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' }),
    nestedVm(() => [endpoint.subscriber([source, _]), spawn(async () => {
      await sleep(200)
      return eventRelay()
    })]),
    spawn(async () => {
      await sleep(300)
      return [spawn(() => timerDriver()), spawn(() => tcpBare()), spawn(() => endpoint.subscriber(['anything', _]))]
    }),
  ])
  await until(() => heard.length > 0)
  await sleep(1300)
  await vm.stop()
  t.same(warned(records), [])
})

void t.test('messages that wait for a driver are bounded', async (t) => {
  const said = await warnings(() => Array.from({ length: 1030 }, (_item, i) => sendMessage(setTimer(i, 1, 'relative'))))
  t.equal(said.filter((text) => text.includes('dropped: 1024 messages wait')).length, 6)
})

void t.test('tcp() without any credit is told of once, with some never', { timeout: patient(30_000) }, async (t) => {
  for (const credit of [0, 10]) {
    const { records, end } = collectLog()
    const port = await freePort()
    let listening = false
    const vm = groundVm(() => [
      tcp({ host: '127.0.0.1' }),
      endpoint.subscriber(tcpListening(tcpListener(port), _), { onPresence: () => { listening = true } }),
      endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: us }) => spawn(() => [
          endpoint.subscriber(tcpChannel(them, us, _)),
          credit > 0 ? sendFeedback(tcpChannel(them, us, tcpCredit(credit))) : undefined,
        ]),
      }),
    ])
    await until(() => listening)
    const clients = Array.from({ length: 3 }, () => createConnection(port, '127.0.0.1'))
    await Promise.all(clients.map(async (client) => {
      await once(client, 'connect')
      client.write('twelve bytes')
    }))
    if (credit === 0) await until(() => warned(records).length > 0)
    await sleep(1300)
    for (const client of clients) client.destroy()
    await vm.stop()
    end()
    const said = warned(records).filter((text) => text.includes('tcpBare(), which needs none'))
    t.equal(said.length, credit === 0 ? 1 : 0)
  }
})

void t.test('at debug, messages that met nobody are named', async (t) => {
  const { href } = new URL('../../src/index.js', import.meta.url)
  const program = `
    import { groundVm, sendMessage, sendFeedback, spawn } from ${JSON.stringify(href)}
    await groundVm(() => [sendMessage(['lost', 1]), spawn(() => sendFeedback(['back', 2]), { name: 'other' })])
  `
  const { stderr } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', program], {
    env: { ...process.env, MARKETPLACE_LOG: 'debug' },
  })
  t.match(stderr, /process 0 \(main\) sent a message that met nobody message=\[ 'lost', 1 \]/)
  t.match(stderr, /process 1 \(other\) sent feedback that met nobody message=\[ 'back', 2 \]/)
})

void t.test('a driver does not miss itself: a UDP server that listens, and has nothing to send yet', async (t) => {
  // What has no answer is told of a second after it has asked; the timer is set after that, and due after that.
  const said = await warnings(() => [
    timerDriver(), udp({ host: '127.0.0.1' }),
    endpoint.subscriber(udpPacket(_, udpListener(0), _), {
      onPresence: () => sendMessage(setTimer('later', 1100, 'relative')),
    }),
    endpoint.subscriber(timerExpired('later', _), { onMessage: () => quit() }),
  ])
  t.same(said, [])
})

void t.test('feedback of flow control to tcpBare() is told of, once; to tcp() it is what is right', async (t) => {
  for (const driver of [tcpBare, tcp]) {
    const said: string[] = []
    const { records, end } = collectLog(({ message }) => message.includes('feedback'))
    let asked = 0
    await groundVm(() => [
      driver({ host: '127.0.0.1' }),
      endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
        interest: 'observer',
        onPresence: ({ source: them, destination: here }) => spawn(() => [
          endpoint.subscriber(tcpChannel(them, here, _), { onAbsence: () => quit() }),
          [tcpMode('lines'), tcpCredit(1), tcpCredit(2)].map((flow) => sendFeedback(tcpChannel(them, here, flow))),
          // The driver's own feedback, that it has gone, meets nobody either.
          sendMessage(tcpChannel(here, them, Buffer.from('y'))),
        ]),
        onAbsence: () => ++asked === 2 && quit(),
      }),
      endpoint.subscriber(tcpListening(tcpListener(0), _), {
        onPresence: ({ address }) => {
          for (let i = 0; i < 2; i++) createConnection(address.port, '127.0.0.1').on('error', () => undefined).end('x')
        },
      }),
    ])
    end()
    said.push(...warned(records))
    if (driver === tcp) t.same(said, [])
    else {
      t.equal(said.length, 1)
      t.match(said[0], /process \d+ sent the feedback tcp-channel\(.*tcp-mode\('lines'\)\), which tcpBare\(\) ignores/)
      t.match(said[0], /use tcp\(\)/)
    }
  }
})
