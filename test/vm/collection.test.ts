/** Garbage collection of processes and VMs, seen through the log at level debug. */
import { logged, run, sleep } from './harness.js'
import t from 'tap'
import {
  _, atMetaLevel, deleteEndpoint, endpoint, eventSource, nestedVm, sendMessage, spawn, yieldTurn, type Action,
  type EventSink,
} from 'marketplace-native'

/** What was collected, in order. */
const collected = (log: Parameters<typeof logged>[0]): string[] =>
  logged(log, 'debug')
    .filter((message) => message.endsWith(' garbage-collected'))
    .map((message) => message.replace(' garbage-collected', ''))

const source = (take: (sink: EventSink<number>) => void) => eventSource<number>('test', take)

t.test('a process without endpoints, actions or promises is collected, silently', async (t) => {
  const { lines, log } = await run((print) => [
    endpoint.subscriber(_, { onAbsence: () => print('absence') }),
    spawn(() => undefined, { name: 'nothing' }),
    spawn(() => sendMessage('m'), { name: 'one message' }),
    spawn(() => endpoint.publisher(['x']), { name: 'endpoint' }),
    spawn(() => [endpoint.publisher(['y'], { name: 'y', interest: 'observer' }), deleteEndpoint('y')], {
      name: 'endpoint deleted',
    }),
  ])
  t.same(lines, [])
  const expected = ['process 1 (nothing)', 'process 2 (one message)', 'process 4 (endpoint deleted)']
  t.same(collected(log).sort(), expected)
})

t.test('what keeps a process: its endpoints outside, promises, queued actions', async (t) => {
  let sink: EventSink<number> | undefined
  const keep = source((s) => (sink = s))
  const { log } = await run(
    () => [
      nestedVm(
        () => [
          spawn(() => atMetaLevel(endpoint.subscriber(['x'])), { name: 'endpoint outside' }),
          spawn(async () => {
            await sleep(10)
          }, { name: 'promise' }),
          spawn(() => endpoint.subscriber(['y']), { name: 'endpoint inside' }),
        ],
        { name: 'first' },
      ),
      spawn(() => endpoint.subscriber([keep, _], { name: 'keep', onMessage: () => deleteEndpoint('keep') })),
    ],
    {
      meanwhile: async () => {
        await sleep(5)
        sink?.fire(1)
      },
    },
  )
  const inside = collected(log).filter((line) => line.includes('of VM'))
  t.notOk(inside.some((line) => line.includes('endpoint')), inside.join())
})

t.test('a nested VM is collected once it has nothing queued and no endpoint outside', async (t) => {
  let sink: EventSink<number> | undefined
  const keep = source((s) => (sink = s))
  const seen: string[][] = []
  const { log } = await run(
    () => [
      nestedVm(() => endpoint.subscriber(['inside']), { name: 'idle' }),
      nestedVm(
        () =>
          atMetaLevel(
            endpoint.subscriber(['end'], { name: 'e', onMessage: () => atMetaLevel(deleteEndpoint('e')) }),
          ),
        { name: 'kept' },
      ),
      nestedVm(() => nestedVm(() => nestedVm(() => endpoint.subscriber(['deep'])))),
      spawn(() => [
        endpoint.subscriber([keep, _], {
          name: 'keep',
          onMessage: ([, n]) => (n === 1 ? sendMessage(['end']) : deleteEndpoint('keep')),
        }),
      ]),
    ],
    {
      meanwhile: async () => {
        await sleep(5)
        sink?.fire(1)
        await sleep(5)
        sink?.fire(2)
      },
    },
  )
  const all = collected(log)
  seen.push(all)
  t.ok(all.includes('process 1 (idle)'), all.join())
  t.ok(all.includes('process 2 (kept)'), all.join())
  t.ok(all.indexOf('process 1 (idle)') < all.indexOf('process 2 (kept)'), 'not before its endpoint is gone')
  t.ok(all.includes('process 3'), 'three levels of VMs without endpoints outside')
})

t.test('a nested VM whose first process does not boot is collected', async (t) => {
  const { log, ended } = await run(() =>
    nestedVm(() => {
      throw new Error('no')
    }, { name: 'broken' }),
  )
  t.ok(ended)
  t.ok(collected(log).includes('process 1 (broken)'))
  t.same(logged(log, 'error'), ['process 0 (broken) of VM 1 did not boot'])
})

t.test('a VM is held by a process two levels in', async (t) => {
  const { lines, log } = await run((print) => [
    endpoint.subscriber(['n', _], { onMessage: (body) => print(body) }),
    nestedVm(() =>
      nestedVm(async () => {
        await sleep(10)
        return atMetaLevel(atMetaLevel(sendMessage(['n', 1])))
      }),
    ),
  ])
  t.same(lines, ["[ 'n', 1 ]"])
  t.ok(collected(log).includes('process 1'))
})

t.test('a process that was collected is not there any more: its pid is unknown, its number is not used again',
  async (t) => {
    const pids: number[] = []
    const child = (n: number): Action =>
      spawn(() => undefined, {
        parent: (pid) => {
          pids.push(pid)
          return n > 0 ? yieldTurn(() => yieldTurn(() => child(n - 1))) : undefined
        },
      })
    await run(() => child(5))
    t.same(pids, [1, 2, 3, 4, 5, 6])
  })

t.test('quits are logged at level info, with name, place and reason', async (t) => {
  const reason = new Error('why')
  const { log } = await run(() => [
    nestedVm(() => spawn(() => {
      throw reason
    }, { name: 'no boot' })),
    nestedVm(() => spawn(() => yieldTurn(() => {
      throw reason
    }), { name: 'child' }), { name: 'vm' }),
  ])
  const quits = log.filter(({ level }) => level === 'info')
  t.same(quits.map(({ message }) => message), ['process 1 (child) of VM 2 quits'])
  t.equal(quits[0]?.fields['reason'], reason)
})
