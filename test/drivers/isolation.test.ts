/** What one program asks of a driver, and can't be had, is no end of the driver, nor of anybody's connection. */
import t from 'tap'
import {
  _, cancelTimer, endpoint, groundVm, nestedVm, quit, sendFeedback, sendMessage, setTimer, spawn, tcp, tcpAccepting,
  tcpBare, tcpChannel, tcpCredit, tcpError, tcpHandle, tcpListener, tcpListening, timerDriver, timerError,
  timerExpired, timerRelay, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { once } from 'node:events'
import { collectLog } from '../vm/log-records.js'
import { client, deferred, freePort } from '../support/util.js'
import { anySetTimer, anyTcpAddress, anyTcpListener } from '../support/unchecked.js'
import { patient } from '../support/patience.js'

const cyclic: unknown[] = ['cyclic']
cyclic.push(cyclic)

for (const transport of ['native', 'node'] as const) {
  t.test(`${transport}: wrong demands and messages for everybody`, { timeout: patient(30_000) }, async (t) => {
    const here = tcpListener(await freePort())
    const port = deferred<number>()
    const failed = deferred<string>()
    const timers = deferred<string[]>()
    const heard: string[] = []
    const note = (what: string): void => {
      if (heard.push(what) === 3) timers.resolve(heard.sort())
    }
    const ground = groundVm(() => [
      tcpBare({ transport, host: '127.0.0.1' }), timerDriver(),
      endpoint.subscriber(tcpListening(here, _), { onPresence: ({ address }) => { port.resolve(address.port) } }),
      endpoint.subscriber(tcpChannel(_, here, _), {
        onMessage: ({ source, subpacket }) =>
          subpacket instanceof Uint8Array ? sendMessage(tcpChannel(here, source, subpacket)) : undefined,
      }),
      endpoint.subscriber(['hostile'], {
        // What it sends to everybody comes here as well.
        onMessage: (message) => Array.isArray(message) && [
          spawn(() => [
            endpoint.publisher(tcpChannel(tcpHandle('h'), anyTcpAddress('', 80), _)),
            endpoint.subscriber(tcpError(tcpHandle('h'), _, _), {
              onMessage: ({ error }) => {
                failed.resolve(error.message)
                return quit()
              },
            }),
          ]),
          sendMessage(_), sendFeedback(_), sendMessage(tcpChannel(_, _, 'x')), sendFeedback(tcpChannel(_, _, 'x')),
          sendMessage(setTimer(cyclic, 1, 'relative')), sendMessage(cancelTimer(cyclic)),
          sendMessage(setTimer(_, 1, 'relative')),
          sendMessage(tcpAccepting(anyTcpListener(cyclic), true)),
        ],
      }),
      nestedVm(() => [
        timerRelay(),
        endpoint.subscriber(timerExpired('late', _), { onMessage: () => { note('late in a nested VM') } }),
        endpoint.subscriber(timerError('bad', _), { onMessage: () => { note('refused in a nested VM') } }),
        endpoint.publisher(setTimer(_, _, _), {
          onPresence: () => [
            sendMessage(setTimer('late', 300, 'relative')), sendMessage(anySetTimer('bad', NaN, 'relative')),
          ],
        }),
      ]),
      endpoint.subscriber(timerExpired('late', _), {
        onMessage: (message) => { if (timerExpired.is(message)) note('late') },
      }),
      endpoint.publisher(setTimer(_, _, _), {
        onPresence: () => [sendMessage(setTimer('late', 300, 'relative')), sendMessage(['hostile'])],
      }),
    ])
    const socket = await client(await port.promise)
    t.match(
      await failed.promise,
      /^connect: address must be a host and a port from 1 to 65535; got tcp-address\('', 80\)/,
    )
    t.same(await timers.promise, ['late', 'late in a nested VM', 'refused in a nested VM'])
    const answer = once(socket, 'data') as Promise<[Buffer]>
    socket.write('still here')
    t.equal(String((await answer)[0]), 'still here')
    socket.destroy()
    await ground.stop()
  })
}

for (const transport of ['native', 'node'] as const) {
  for (const [name, driver] of [['tcpBare', tcpBare], ['tcp', tcp]] as const) {
    t.test(`${transport}, ${name}: sessions answer messages for everybody`, { timeout: patient(30_000) }, async (t) => {
      const here = tcpListener(0)
      const port = deferred<number>()
      const { records, end } = collectLog()
      t.teardown(end)
      const answered = deferred()
      let nothings = 0
      const echo = (us: TcpEnd, them: TcpEnd): ActionTree => endpoint.subscriber(tcpChannel(them, us, _), {
        onPresence: () => sendFeedback(tcpChannel(them, us, tcpCredit(1000) as never)),
        onMessage: ({ subpacket }) => {
          if (subpacket === undefined && ++nothings === 3) answered.resolve()
          return sendMessage(tcpChannel(us, them, subpacket))
        },
        onAbsence: () => quit(),
      })
      const ground = groundVm(() => [
        driver({ transport, host: '127.0.0.1' }),
        endpoint.subscriber(tcpListening(here, _), { onPresence: ({ address }) => { port.resolve(address.port) } }),
        endpoint.subscriber(tcpChannel(_, here, _), {
          interest: 'observer',
          onPresence: ({ source, destination }) => [
            spawn(() => echo(destination, source)),
            spawn(() => [sendMessage(_), sendMessage(_), sendMessage(_)]),
            spawn(() => [sendMessage(tcpChannel(_, _, _)), sendMessage(tcpChannel(here, _, 'x'))]),
          ],
        }),
      ])
      const socket = await client(await port.promise)
      await answered.promise
      const answer = once(socket, 'data') as Promise<[Buffer]>
      socket.write('still here')
      t.equal(String((await answer)[0]), 'still here')
      t.equal(records.filter(({ message }) => message.startsWith('undefined as subpacket sends nothing; ')).length, 1)
      socket.destroy()
      await ground.stop()
    })
  }
}
