/** Who waits for events of a channel's stream with promises hears all, also when many come at once. */
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import t, { type Test } from 'tap'
import {
  _, channelFor, endpoint, eof, fromChannel, groundVm, quit, sendMessage, spawn, streamEnd, tcpChannel,
  type ActionTree, type ChannelStream, type ChannelStreamOptions,
} from 'marketplace-native'
import { onBoth, server } from '../drivers/tcp-program.js'
import { patient } from '../support/patience.js'
import { client, pattern, readAll } from '../support/util.js'

const TIMEOUT = patient(10_000)
const them = streamEnd('them')
const us = streamEnd('us')

/** The stream of a peer that sends all this in one go, once the stream flows. */
function inOneTurn(
  t: Test, sent: () => ActionTree, options: ChannelStreamOptions = {},
): ChannelStream {
  const { stream, actions } = fromChannel(them, us, options)
  const vm = groundVm(() => [
    spawn(() => [
      endpoint.publisher(tcpChannel(them, us, _)),
      endpoint.subscriber(tcpChannel(us, them, _), {
        onMessage: ({ subpacket }) => Buffer.isBuffer(subpacket) ? sent() : undefined,
      }),
    ]),
    spawn(() => actions),
  ])
  t.teardown(() => {
    stream.on('error', () => undefined)
    return vm.stop()
  })
  stream.once('resume', () => { stream.write('go') })
  return stream
}

const say = (what: string | typeof eof) =>
  sendMessage(tcpChannel(them, us, typeof what === 'string' ? Buffer.from(what) : what))

async function next(stream: ChannelStream): Promise<string> {
  const [data] = await once(stream, 'data') as [Buffer]
  // Promises of a program that is in no hurry.
  for (let i = 0; i < 10; i++) await Promise.resolve()
  return data.toString()
}

void t.test('pieces of one turn, and the end', { timeout: TIMEOUT }, async (t) => {
  const pieces = Array.from({ length: 100 }, (_, i) => String(i))
  const stream = inOneTurn(t, () => [...pieces.map(say), say(eof)])
  for (const piece of pieces) t.equal(await next(stream), piece)
  await once(stream, 'end')
  stream.end()
  await once(stream, 'close')
})

void t.test('a failure waits until the pieces before it were heard', { timeout: TIMEOUT }, async (t) => {
  const failure = new Error('the peer failed')
  const stream = inOneTurn(t, () => [say('one'), say('two'), quit(failure)])
  t.equal(await next(stream), 'one')
  t.equal(await next(stream), 'two')
  const [error] = await once(stream, 'error') as [Error]
  t.equal(error, failure)
  t.ok(stream.destroyed)
})

void t.test('destroyed, it tells nothing of what was held', { timeout: TIMEOUT }, async (t) => {
  const stream = inOneTurn(t, () => [say('one'), say('two'), say('three')])
  const heard: string[] = []
  stream.on('data', (data: Buffer) => {
    heard.push(data.toString())
    stream.destroy()
  })
  await once(stream, 'close')
  await new Promise(setImmediate)
  t.same(heard, ['one'])
})

void t.test('a listener that throws ends the process of the stream, whichever piece it was',
  { timeout: TIMEOUT }, async (t) => {
    for (const last of ['one', 'two', 'three']) {
      const failure = new Error(last)
      const stream = inOneTurn(t, () => [say('one'), say('two'), say('three')])
      stream.on('data', (data: Buffer) => { if (data.toString() === last) throw failure })
      const [error] = await once(stream, 'error') as [Error]
      t.equal(error, failure, last)
    }
  })

void t.test('pieces that are read at once never are too many', { timeout: TIMEOUT }, async (t) => {
  const stream = inOneTurn(t, () => [say('one'), say('two'), say(eof)], { maxBufferedBytes: 3 })
  let text = ''
  stream.on('data', (data: Buffer) => { text += data.toString() })
  await once(stream, 'end')
  t.equal(text, 'onetwo')
})

for (const driver of ['tcp', 'bare'] as const) {
  onBoth(`${driver}: once in a loop hears every byte, and the end`, async (t, start) => {
    const size = 1024 * 1024
    const answers: Promise<string>[] = []
    const answer = async (stream: ChannelStream): Promise<string> => {
      let sum = 0
      while (sum < size) sum += (await once(stream, 'data') as [Buffer])[0].length
      await once(stream, 'end')
      stream.end('heard')
      await once(stream, 'close')
      return 'closed'
    }
    const program = start(() => server((them, us) => {
      const { stream, actions } = fromChannel(them, us)
      answers.push(answer(stream))
      return actions
    }), { driver })
    const port = await program.port()
    const clients = await Promise.all(Array.from({ length: 4 }, () => client(port)))
    const back = clients.map((socket) => readAll(socket))
    for (const socket of clients) socket.end(pattern(size))
    for (const text of await Promise.all(back)) t.equal(text.toString(), 'heard')
    t.same(await Promise.all(answers), ['closed', 'closed', 'closed', 'closed'])
  })
}

for (const flow of ['bare', 'credit'] as const) {
  void t.test(`channelFor (${flow}) and fromChannel, end to end`, { timeout: TIMEOUT }, async (t) => {
    const { stream, actions } = fromChannel(them, us)
    const duplex = new PassThrough()
    const vm = groundVm(() => [spawn(() => actions), channelFor(duplex, them, us, { flow })])
    t.teardown(() => vm.stop())
    for (let i = 0; i < 50; i++) duplex.write(`${i};`)
    let text = ''
    while (!text.endsWith('49;')) text += await next(stream)
    t.equal(text, Array.from({ length: 50 }, (_, i) => `${i};`).join(''))
  })
}
