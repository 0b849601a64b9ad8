/** Flow of the WebSocket driver: credit, inboxes, queues and their bounds, broadcasts; over each carrier. */
import {
  _, endpoint, sendFeedback, sendMessage, wsAddress, wsChannel, wsCredit, wsHandle, type WsChannel, type WsEnd,
  type WsPeer,
} from 'marketplace-native'
import { anyWsCredit } from '../support/unchecked.js'
import { pattern, sleep, until } from '../support/util.js'
import { onEachCarrier, RawClient, server, type WsProgram } from './web-socket-program.js'
import { patient } from '../support/patience.js'

/** A session that says what it is told, and does what is asked of it from outside. */
const listener = (program: WsProgram, ends: [WsPeer, WsEnd][]) => (them: WsPeer, us: WsEnd) => {
  ends.push([them, us])
  return endpoint.subscriber(wsChannel(them, us, _), program.notes('session'))
}

onEachCarrier('credit: so many messages as were asked for, in order, and no more', async (t, start) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)), { flow: 'credit' })
  const raw = await RawClient.open(await program.url())
  for (let i = 0; i < 100; i++) raw.text(String(i))
  await until(() => ends.length === 1)
  const [[them, us]] = ends
  const grant = (amount: number) => { program.do(sendFeedback(wsChannel(them, us, wsCredit(amount)))) }
  await sleep(50)
  t.same(program.messages('session'), [], 'nothing without credit')
  grant(3)
  await until(() => program.messages('session').length === 3)
  await sleep(20)
  t.same(program.messages('session'), ['0', '1', '2'])
  grant(50)
  grant(47)
  await until(() => program.messages('session').length === 100)
  t.same(program.messages('session'), Array.from({ length: 100 }, (_value, i) => String(i)))
  grant(1)
  raw.text('one more')
  await until(() => program.messages('session').length === 101)
  raw.destroy()
})

onEachCarrier('without credit a peer waits where it can be made to, or ends with 1013', async (t, start, carrier) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)), { flow: 'credit', maxInboxBytes: 400_000 })
  const raw = await RawClient.open(await program.url())
  await until(() => ends.length === 1)
  const message = pattern(10_000)
  const total = 4_000
  for (let i = 0; i < total; i++) raw.send(2, message)
  if (carrier === 'uws') {
    const { code, error } = await program.reason('session')
    t.same([code, error?.code], [1013, 'ENOBUFS'])
    t.same(await raw.closed(), { code: 1013, reason: 'more than is taken' })
  } else {
    await sleep(200)
    t.ok(raw.socket.writableLength > 10_000_000, `${raw.socket.writableLength} bytes wait with the peer`)
    t.same(program.all('session', 'absence'), [])
    const [[them, us]] = ends
    program.do(sendFeedback(wsChannel(them, us, wsCredit(total))))
    await until(() => program.messages('session').length === total)
    t.ok(program.messages('session').every((data) => message.equals(data as Buffer)))
  }
  raw.destroy()
})

onEachCarrier('a message that is longer than the inbox: 1009', async (t, start) => {
  const program = start((program) => server(listener(program, [])), { flow: 'credit', maxInboxBytes: 1_000 })
  const raw = await RawClient.open(await program.url())
  await until(() => program.all('session', 'presence').length === 1)
  raw.send(2, pattern(2_000))
  const { code, error } = await program.reason('session')
  t.same([code, error?.code], [1009, 'ENOBUFS'])
  raw.destroy()
})

onEachCarrier('credit comes back for what was sent, when it has gone', async (t, start) => {
  let amount = 0
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server((them, us) => [
    listener(program, ends)(them, us),
    endpoint.publisher(wsChannel(us, them, _), {
      onMessage: ({ message }: { message: unknown }) => { if (wsCredit.is(message)) amount += message.amount },
    }),
  ]), { flow: 'credit' })
  const raw = await RawClient.open(await program.url())
  await until(() => ends.length === 1)
  const [[them, us]] = ends
  for (let i = 0; i < 5; i++) program.do(sendMessage(wsChannel(us, them, `text ${i}`)))
  await until(() => amount === 5)
  raw.socket.pause()
  const message = pattern(100_000)
  for (let i = 0; i < 200; i++) program.do(sendMessage(wsChannel(us, them, message)))
  await until(() => amount > 5)
  // Until no more go.
  for (let before = 0; before !== amount;) {
    before = amount
    await sleep(200)
  }
  t.ok(amount < 205, `${amount} of 205 have gone to who does not read`)
  raw.socket.resume()
  await until(() => amount === 205)
  await until(() => raw.frames.length === 205)
  raw.destroy()
})

onEachCarrier('wrong credit ends the connection', async (t, start) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)), { flow: 'credit' })
  const raw = await RawClient.open(await program.url())
  await until(() => ends.length === 1)
  const [[them, us]] = ends
  program.do(sendFeedback(wsChannel(them, us, anyWsCredit(-1) as never)))
  t.equal((await program.reason('session')).code, 1011)
  raw.destroy()
})

onEachCarrier('who never reads: the limit of one, with what was queued in the reason', async (t, start) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)), { maxQueuedBytes: 1_000_000 })
  const url = await program.url()
  const [raw, other] = [await RawClient.open(url), await RawClient.open(url)]
  await until(() => ends.length === 2)
  raw.socket.pause()
  const message = pattern(100_000)
  const [[them, us]] = ends
  while (program.all('session', 'absence').length === 0) {
    program.do(sendMessage(wsChannel(us, them, message)))
    await sleep(1)
  }
  const { code, error } = await program.reason('session')
  t.same([code, error?.code], [1008, 'ENOBUFS'])
  t.match(error?.message, /\d{7} bytes wait to be sent; maxQueuedBytes is 1000000/)
  const [, [him, here]] = ends
  program.do(sendMessage(wsChannel(here, him, 'hello')))
  await until(() => other.texts.length === 1)
  for (const one of [raw, other]) one.destroy()
})

onEachCarrier('a limit of all: the one that takes least ends', async (t, start) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)), { maxQueuedBytesTotal: 2_000_000 })
  const url = await program.url()
  const clients = await Promise.all([1, 2, 3].map(() => RawClient.open(url)))
  await until(() => ends.length === 3)
  // The first reads nothing, the others do.
  const slow = clients.find((raw) => raw.socket.localPort === ends[0][0].request.port) ?? clients[0]
  slow.socket.pause()
  const message = pattern(100_000)
  let rounds = 0
  while (program.all('session', 'absence').length === 0 && rounds++ < 5_000) {
    program.do(ends.map(([them, us]) => sendMessage(wsChannel(us, them, message))))
    await sleep(1)
  }
  const { error } = await program.reason('session')
  t.match(error?.message, /maxQueuedBytesTotal is 2000000/)
  await until(() => slow.ended || slow.socket.isPaused())
  t.equal(program.all('session', 'absence').length, 1)
  for (const raw of clients) raw.destroy()
})

onEachCarrier("overflow: 'pause': nobody is cut off, and all comes in the end", async (t, start, carrier) => {
  const program = start((program) => server((them, us) => endpoint.subscriber(wsChannel(them, us, _), program.notes(
    'session', ({ message }) => Array.from({ length: 10 }, () => sendMessage(wsChannel(us, them, message))),
  ))), { overflow: 'pause', maxQueuedBytes: 200_000, highWaterMark: 1_000_000, maxInboxBytes: 100_000_000 })
  const raw = await RawClient.open(await program.url())
  raw.socket.pause()
  const message = pattern(50_000)
  for (let i = 0; i < 100; i++) raw.send(2, message)
  await sleep(300)
  const before = program.messages('session').length
  t.ok(before < 100, `${before} of 100 were delivered to a session whose answers do not go`)
  raw.socket.resume()
  await until(() => raw.frames.length === 1_000)
  t.ok(raw.frames.every(({ payload }) => payload.equals(message)), carrier)
  raw.destroy()
}, { timeout: patient(60_000) })

onEachCarrier('the high-water mark: a session whose answers do not go hears nothing more', async (t, start) => {
  const program = start((program) => server((them, us) => endpoint.subscriber(wsChannel(them, us, _), program.notes(
    'session', ({ message }) => sendMessage(wsChannel(us, them, message)),
  ))), { highWaterMark: 100_000, maxInboxBytes: 100_000_000 })
  const raw = await RawClient.open(await program.url())
  raw.socket.pause()
  const message = pattern(50_000)
  for (let i = 0; i < 1_000; i++) raw.send(2, message)
  let last = -1
  while (last !== program.messages('session').length) {
    last = program.messages('session').length
    await sleep(150)
  }
  t.ok(last < 1_000, `${last} of 1,000`)
  raw.socket.resume()
  await until(() => raw.frames.length === 1_000)
  t.equal(program.messages('session').length, 1_000)
  raw.destroy()
}, { timeout: patient(60_000) })

onEachCarrier('a broadcast reaches all, each in order, with what else each was sent', async (t, start) => {
  const ends: [WsPeer, WsEnd][] = []
  const program = start((program) => server(listener(program, ends)))
  const url = await program.url()
  const clients = await Promise.all(Array.from({ length: 50 }, () => RawClient.open(url)))
  await until(() => ends.length === 50)
  const bytes = pattern(300)
  for (let round = 0; round < 10; round++) {
    program.do(ends.map(([them, us], i) => [
      sendMessage(wsChannel(us, them, `news ${round} 世界`)),
      i % 2 === 0 && sendMessage(wsChannel(us, them, `for ${them.id}`)),
      sendMessage(wsChannel(us, them, bytes)),
      sendMessage(wsChannel(us, them, `news ${round} 世界`)),
    ]))
  }
  await until(() => clients.every(({ frames }) => frames.length >= 30))
  for (const { frames } of clients) {
    const news = frames.map(({ opcode, payload }) => opcode === 2 ? 'bytes' : payload.toString())
      .filter((text) => !text.startsWith('for'))
    t.same(news, Array.from({ length: 10 }, (_value, i) => [`news ${i} 世界`, 'bytes', `news ${i} 世界`]).flat())
    t.ok(frames.filter(({ opcode }) => opcode === 2).every(({ payload }) => payload.equals(bytes)))
  }
  for (const raw of clients) raw.destroy()
})

onEachCarrier('sending while a connection opens, and in one run after another', async (t, start) => {
  const there = start((program) => server((them, us) => [
    sendMessage(wsChannel(us, them, 'boot')),
    endpoint.subscriber(wsChannel(them, us, _), program.notes('session', ({ message }) =>
      sendMessage(wsChannel(us, them, message)), () => sendMessage(wsChannel(us, them, 'presence')))),
  ]))
  const remote = wsAddress(await there.url())
  const local = wsHandle('x')
  const here = start((program) => endpoint.subscriber(wsChannel(remote, local, _), program.notes('client',
    ({ message }: WsChannel) => message === 'boot' ? sendMessage(wsChannel(local, remote, 'hello')) : undefined)))
  await until(() => here.messages('client').length === 3)
  t.same(here.messages('client'), ['boot', 'presence', 'hello'])
})

onEachCarrier('a very long message goes in parts, and arrives whole', async (t, start) => {
  const program = start((program) => server((them, us) => endpoint.subscriber(wsChannel(them, us, _), program.notes(
    'session', ({ message }) => sendMessage(wsChannel(us, them, message)),
  ))), { maxPayload: 40_000_000, highWaterMark: 1_000 })
  const raw = await RawClient.open(await program.url())
  const message = pattern(30_000_000)
  raw.send(2, message)
  await until(() => raw.frames.length === 1)
  t.ok(raw.frames[0].payload.equals(message))
  raw.send(1, 'in ', { fin: false })
  raw.send(9, 'ping between')
  raw.send(0, 'three ', { fin: false })
  raw.send(0, 'parts')
  await until(() => raw.texts.length === 1)
  t.same(raw.texts, ['in three parts'])
  raw.destroy()
}, { timeout: patient(60_000) })
