/** A process that hears what it sends, without end, is warned of; one that works through a lot is not. */
import { collectLog } from './log-records.js'
import t, { type Test } from 'tap'
import {
  _, atMetaLevel, endpoint, groundVm, nestedVm, sendMessage, spawn, tcpAddress, tcpBare, tcpChannel, tcpHandle,
  udpHandle, udpPacket, udpRemoteAddress, type Action, type ActionTree,
} from 'marketplace-native'
import { until } from '../support/util.js'

const [us, them] = [tcpHandle('us'), tcpAddress('127.0.0.1', 1)]

/** It listens to the flow that it sends on, as source and destination are exchanged. */
const exchanged = (outwards: (action: Action) => ActionTree): ActionTree => [
  outwards(endpoint.subscriber(tcpChannel(us, them, _), {
    onMessage: ({ subpacket }) => outwards(sendMessage(tcpChannel(us, them, subpacket))),
  })),
  outwards(sendMessage(tcpChannel(us, them, 'hello'))),
]

/** Runs a program until a warning has come, or what else is waited for. */
async function warnings(t: Test, boot: () => ActionTree, isOver: (said: readonly string[]) => boolean) {
  const { records, end } = collectLog(({ level, message }) => level === 'warning' && /hears what it/.test(message))
  t.teardown(end)
  const vm = groundVm(boot)
  await until(() => isOver(records.map(({ message }) => message)))
  await vm.stop()
  return records.map(({ message }) => message)
}

t.test('exchanged ends of a channel: one warning with the process and its topic', async (t) => {
  const places: readonly [what: string, boot: () => ActionTree, who: RegExp][] = [
    ['in the ground VM', () => spawn(() => exchanged((action) => action), { name: 'session' }),
      /process 2 \(session\)/],
    ['outside of its VM', () => nestedVm(() => exchanged(atMetaLevel), { name: 'session' }),
      /process 0 \(session\) of VM 2/],
    ['two levels further in', () => nestedVm(() => nestedVm(() => spawn(() =>
      exchanged((action) => atMetaLevel(atMetaLevel(action))), { name: 'session' }))),
      /process 1 \(session\) of VM 2\.1/],
  ]
  for (const [what, boot, who] of places) {
    let turns = 0
    const told = await warnings(t, () => [tcpBare(), boot()], (said) => said.length > 0 && ++turns > 3)
    t.equal(told.length, 1, what)
    t.match(told[0], who)
    t.match(told[0], /hears what it sends.* tcp-channel\(tcp-handle\('us'\), tcp-address\('127.0.0.1', 1\), _\)/)
    t.match(told[0], /source and destination exchanged\?/)
  }
})

t.test('no warning of those who work on for long, or talk to each other', async (t) => {
  const [here, there] = [udpHandle('here'), udpRemoteAddress('127.0.0.1', 1)]
  let left = 600_000
  let messages = 0
  const told = await warnings(t, () => [
    // Sends itself one message after the other, by which it does its work in pieces.
    spawn(() => [
      endpoint.subscriber(['next', _], {
        onMessage: ([, n]) => (left = Number(n)) > 0 && sendMessage(['next', Number(n) - 1]),
      }),
      sendMessage(['next', left]),
    ]),
    // Two that speak with each other, over both directions of a channel.
    [[here, there], [there, here]].map(([from, to]) => spawn(() => [
      endpoint.subscriber(udpPacket(from, to, _), {
        onMessage: () => { messages++; return left > 0 && sendMessage(udpPacket(to, from, 'ball')) },
      }),
      sendMessage(udpPacket(to, from, 'ball')),
    ])),
  ], () => left === 0)
  t.ok(messages > 100_000)
  t.same(told, [])
})
