/** `channelFor`: a stream of whatever kind, as a conversation. */
import { once } from 'node:events'
import { createServer, connect, type AddressInfo, type Socket } from 'node:net'
import { PassThrough, type Duplex } from 'node:stream'
import t, { type Test } from 'tap'
import {
  _, channelFor, endpoint, eof, groundVm, quit, sendFeedback, sendMessage, spawn, streamEnd, tcpChannel,
  tcpCredit, tcpMode, type ActionTree, type ChannelForOptions, type GroundVm, type TcpEnd,
} from 'marketplace-native'
import { Remote } from '../drivers/tcp-program.js'
import { pattern, readAll, until } from '../support/util.js'
import { patient } from '../support/patience.js'

const TIMEOUT = patient(20_000)
const them = streamEnd('them')
const us = streamEnd('us')

/** A VM that speaks for one end of a connection of `node:net`; the other end is returned. */
async function overSocket(t: Test, session: ActionTree, options: ChannelForOptions = {}) {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  const far = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
  const [near] = await once(server, 'connection') as [Socket]
  far.on('error', () => undefined)
  server.close()
  t.teardown(() => { far.destroy() })
  const remote = new Remote()
  const vm: GroundVm = groundVm(() => [
    spawn(() => remote.ear), channelFor(near, them, us, options), spawn(() => session),
  ])
  t.teardown(() => vm.stop())
  return { far, near, vm, remote }
}

const echo = (them: TcpEnd, us: TcpEnd) => endpoint.subscriber(tcpChannel(them, us, _), {
  onMessage: ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
  onAbsence: () => quit(),
})

void t.test('an echo server of tcpBare works as it is', { timeout: TIMEOUT }, async (t) => {
  const { far, near, remote, vm } = await overSocket(t, echo(them, us))
  const data = pattern(2_000_000)
  const back = readAll(far)
  far.end(data)
  t.ok((await back).equals(data), 'no byte is lost before the end')
  await until(() => near.destroyed)
  t.equal(near.errored, null)
  remote.letGo()
  await vm
  t.pass('nothing is left')
})

void t.test('credit and lines', { timeout: TIMEOUT }, async (t) => {
  const heard: string[] = []
  const credited: number[] = []
  const { far, near, remote } = await overSocket(t, [
    endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => { heard.push(subpacket.toString()) },
    }),
    endpoint.publisher(tcpChannel(us, them, _), {
      onMessage: ({ subpacket }: { subpacket: unknown }) => {
        if (tcpCredit.is(subpacket)) credited.push(subpacket.amount)
      },
    }),
    sendFeedback(tcpChannel(them, us, tcpMode('lines'))),
  ], { flow: 'credit' })
  far.write('one\ntwo\nthree\n')
  const grant = (n: number): void => remote.do(sendFeedback(tcpChannel(them, us, tcpCredit(n))))
  grant(1)
  await until(() => heard.length === 1)
  grant(5)
  far.end()
  await until(() => heard.length === 4)
  t.strictSame(heard, ['one', 'two', 'three', String(eof)])
  remote.do(sendMessage(tcpChannel(us, them, Buffer.from('hello'))))
  await until(() => near.destroyed)
  t.ok(credited.length <= 1)
})

void t.test('credit: what nobody wants stays where it is', { timeout: TIMEOUT }, async (t) => {
  let got = 0
  const { far, near, remote } = await overSocket(t, endpoint.subscriber(tcpChannel(them, us, _), {
    onMessage: ({ subpacket }) => { got += subpacket === eof ? 0 : subpacket.length },
  }), { flow: 'credit' })
  const size = 32 * 1024 * 1024
  far.end(Buffer.alloc(size))
  remote.do(sendFeedback(tcpChannel(them, us, tcpCredit(1000))))
  await until(() => got === 1000)
  await until(() => near.isPaused())
  t.ok(near.bytesRead < 1024 * 1024, `${near.bytesRead} bytes were read`)
  remote.do(sendFeedback(tcpChannel(them, us, tcpCredit(size))))
  await until(() => got === size)
})

void t.test('bare: who does not read the answers is not listened to', { timeout: TIMEOUT }, async (t) => {
  const { far, near } = await overSocket(t, echo(them, us), { highWaterMark: 100_000 })
  far.pause().write(Buffer.alloc(32 * 1024 * 1024))
  await until(() => near.isPaused())
  t.ok(near.writableLength <= 100_000 + 65_536, `${near.writableLength} bytes wait`)
  let back = 0
  far.on('data', (data: Buffer) => { back += data.length }).resume()
  await until(() => back === 32 * 1024 * 1024)
})

void t.test('more than maxQueuedBytes', { timeout: TIMEOUT }, async (t) => {
  let reason: unknown
  const { far, remote } = await overSocket(t, endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: (_topic, _state, why) => { reason = why },
  }), { maxQueuedBytes: 1_000_000 })
  far.pause()
  remote.do(sendMessage(tcpChannel(us, them, Buffer.alloc(32 * 1024 * 1024))))
  await until(() => reason !== undefined)
  t.match(reason, { code: 'ENOBUFS' })
})

void t.test('nothing is read before somebody takes part', { timeout: TIMEOUT }, async (t) => {
  const { far, near, remote } = await overSocket(t, undefined)
  far.write('early')
  await until(() => far.bytesWritten === 5)
  await new Promise((resolve) => { setTimeout(resolve, 50) })
  t.ok(near.isPaused())
  remote.do(spawn(() => echo(them, us)))
  const [data] = await once(far, 'data') as [Buffer]
  t.equal(data.toString(), 'early')
})

void t.test('the error of the stream is the reason of the absence', { timeout: TIMEOUT }, async (t) => {
  for (const how of ['destroy', 'reset', 'close'] as const) {
    let reason: unknown = 'none yet'
    const { far, near } = await overSocket(t, endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: (_topic, _state, why) => { reason = why },
    }))
    await until(() => !near.isPaused())
    const failure = new Error('out of order')
    if (how === 'destroy') near.destroy(failure)
    else if (how === 'reset') far.resetAndDestroy()
    else near.destroy()
    await until(() => reason !== 'none yet')
    if (how === 'destroy') t.equal(reason, failure)
    else t.match(reason, { code: how === 'reset' ? 'ECONNRESET' : 'ERR_STREAM_PREMATURE_CLOSE' })
  }
})

void t.test('a crash, or an orderly end, of the participant', { timeout: TIMEOUT }, async (t) => {
  for (const failure of [new Error('crashed'), undefined]) {
    const session = endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: () => {
        if (failure !== undefined) throw failure
        return [sendMessage(tcpChannel(us, them, 'good bye')), quit()]
      },
    })
    const { far, near } = await overSocket(t, session)
    near.on('error', () => undefined)
    far.write('x')
    t.equal((await readAll(far)).toString(), failure === undefined ? 'good bye' : '')
    await until(() => near.destroyed)
    t.equal(near.errored, failure ?? null)
  }
})

void t.test('the process is killed; the VM is stopped', { timeout: TIMEOUT }, async (t) => {
  const { near, vm, far } = await overSocket(t, echo(them, us))
  await vm.stop()
  t.equal((await readAll(far)).length, 0)
  await until(() => near.destroyed)
})

void t.test('streams that have ended, or are of an odd kind', { timeout: TIMEOUT }, async (t) => {
  const over = new PassThrough()
  over.resume().end()
  await once(over, 'end')
  const vm = groundVm(() => [channelFor(over, them, us), spawn(() => echo(them, us))])
  await vm
  t.pass('ends at once')

  const text = new PassThrough({ encoding: 'latin1' })
  const heard: unknown[] = []
  const program = groundVm(() => [channelFor(text, them, us), spawn(() => endpoint.subscriber(
    tcpChannel(them, us, _),
    { onMessage: ({ subpacket }) => { heard.push(subpacket) }, onAbsence: () => quit() },
  ))])
  text.end(Buffer.from([1, 0xe4]))
  await program
  t.strictSame(heard, [Buffer.from([1, 0xe4]), eof])
})

void t.test('two streams never speak for one conversation', { timeout: TIMEOUT }, async (t) => {
  const pair = async (): Promise<[near: Socket, far: Socket]> => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const far = connect((server.address() as AddressInfo).port, '127.0.0.1')
    const [near] = await once(server, 'connection') as [Socket]
    server.close()
    far.on('error', () => undefined)
    t.teardown(() => { far.destroy() })
    return [near, far]
  }
  const pairs = [await pair(), await pair(), await pair(), await pair()]
  const heard: string[] = []
  const failed: (Error | undefined)[] = []
  for (const [i, [near, far]] of pairs.entries()) {
    near.on('error', (error) => { failed[i] = error })
    far.write(`user ${i}`)
  }
  const remote = new Remote()
  const speak = (i: number): ActionTree => channelFor(pairs[i][0], them, us)
  const vm = groundVm(() => [
    // At once, and one after the other.
    speak(0), speak(1),
    spawn(() => [remote.ear, endpoint.subscriber(tcpChannel(them, us, _), {
      onPresence: () => { heard.push('presence') },
      onAbsence: () => {
        heard.push('absence')
        // The name may be used again now.
        return speak(3)
      },
      onMessage: ({ subpacket }) => {
        heard.push(String(subpacket))
        return sendMessage(tcpChannel(us, them, `to ${String(subpacket)}`))
      },
    })]),
  ])
  t.teardown(() => vm.stop())
  const [answer] = await once(pairs[0][1], 'data') as [Buffer]
  t.equal(answer.toString(), 'to user 0')
  remote.do(speak(2))
  await until(() => failed[1] !== undefined && failed[2] !== undefined)
  for (const i of [1, 2]) {
    t.match(failed[i], { code: 'EADDRINUSE', message: /another stream speaks for the conversation of/ })
    await until(() => pairs[i][0].destroyed)
    t.equal(pairs[i][1].bytesRead, 0)
  }
  pairs[0][1].resetAndDestroy()
  const [next] = await once(pairs[3][1], 'data') as [Buffer]
  t.equal(next.toString(), 'to user 3')
  t.strictSame(heard, ['presence', 'user 0', 'absence', 'presence', 'user 3'])
})

void t.test('wrong arguments', async (t) => {
  const stream = new PassThrough()
  t.throws(() => channelFor({} as Duplex, them, us), {
    code: 'ERR_INVALID_ARG_TYPE', message: /^channelFor: duplex must be a stream.Duplex; got/,
  })
  t.throws(() => channelFor(new PassThrough({ objectMode: true }), them, us), { message: /not of objects/ })
  t.throws(() => channelFor(stream, _ as never, us), { message: /^channelFor: source must be one end/ })
  t.throws(() => channelFor(stream, them, us, { flow: 'slow' as never }), { message: /options.flow must be/ })
  t.throws(() => channelFor(stream, them, us, { host: 'x' } as never), { message: /unknown option 'host'/ })
})
