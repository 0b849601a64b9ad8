/** `withAsyncContext`: a store per process, as one has it per connection. */
import { AsyncLocalStorage } from 'node:async_hooks'
import { setImmediate as immediate } from 'node:timers/promises'
import { once } from 'node:events'
import { connect } from 'node:net'
import t from 'tap'
import {
  _, atMetaLevel, endpoint, groundVm, nestedVm, quit, sendMessage, spawn, tcpChannel, transition,
  withAsyncContext, yieldTurn, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { nodeMajor, until } from '../support/util.js'
import { host, onBoth, server } from '../drivers/tcp-program.js'

const storage = new AsyncLocalStorage<string>()

void t.test('everything that a process does is in its context', async (t) => {
  const seen: string[] = []
  const note = (what: string): void => { seen.push(`${what} ${storage.getStore()}`) }
  const process = (): ActionTree => {
    note('boot')
    return [
      endpoint.subscriber(['to', storage.getStore()], {
        onPresence: () => { note('presence') },
        onMessage: async () => {
          note('message')
          await immediate()
          note('later')
          return [
            yieldTurn(() => { note('yield') }),
            spawn(() => {
              note('child')
              return endpoint.subscriber('child', { onMessage: () => { note('child heard') } })
            }, { parent: () => { note('parent') } }),
            nestedVm(() => {
              note('nested')
              return atMetaLevel(sendMessage('child'))
            }),
          ]
        },
      }),
    ]
  }
  const all = ['a', 'b'].map((name) => storage.run(name, () => withAsyncContext(spawn(process))))
  const vm = groundVm(() => [all, spawn(() => [
    endpoint.publisher(['to', 'a']), sendMessage(['to', 'a']), endpoint.subscriber('child', {
      onMessage: () => {
        note('outside')
        return quit()
      },
    }),
  ])])
  await until(() => seen.length >= 11)
  await vm.stop()
  t.strictSame(seen.filter((what) => what.endsWith(' b')), ['boot b'])
  t.strictSame(seen.filter((what) => what.endsWith(' undefined')), ['outside undefined'])
  t.strictSame(seen.filter((what) => what.endsWith(' a')), [
    'boot a', 'presence a', 'message a', 'later a', 'yield a', 'child a', 'parent a', 'nested a',
    'child heard a',
  ])
})

onBoth('a store per connection; enterWith reaches no other', async (t, start) => {
  const answer = (them: TcpEnd, us: TcpEnd): ActionTree => {
    return endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => {
        const before = String(storage.getStore())
        storage.enterWith(subpacket.toString())
        return sendMessage(tcpChannel(us, them, Buffer.from(before)))
      },
      onAbsence: () => quit(),
    })
  }
  let count = 0
  const program = start(() => server((them, us) => storage.run(`connection ${++count}`, () =>
    withAsyncContext(spawn(() => answer(them, us))))))
  const port = await program.port()
  const sockets = [connect(port, host), connect(port, host)]
  const heard: string[][] = [[], []]
  for (const text of ['x', 'y', 'z']) {
    for (const [i, socket] of sockets.entries()) {
      socket.write(`${text}${i}`)
      heard[i].push(String((await once(socket, 'data') as [Buffer])[0]))
    }
  }
  // From Node 24 on, what is entered ends with the callback, there as here.
  const entered = nodeMajor < 24
  t.strictSame(heard, entered
    ? [['connection 1', 'x0', 'y0'], ['connection 2', 'x1', 'y1']]
    : [Array(3).fill('connection 1'), Array(3).fill('connection 2')])
  for (const socket of sockets) socket.destroy()
})

void t.test('transitions and wrong arguments', async (t) => {
  const states: unknown[] = []
  await groundVm(() => withAsyncContext(spawn(() => transition(1, endpoint.subscriber('x', {
    onMessage: (_body, state: number) => {
      states.push(state)
      return state < 3 ? transition(state + 1, sendMessage('x')) : quit()
    },
  }), sendMessage('x')))))
  t.strictSame(states, [1, 2, 3])
  t.throws(() => withAsyncContext(5 as never), {
    code: 'ERR_INVALID_ARG_TYPE', message: /^withAsyncContext: actions must be actions, .* got 5/,
  })
})
