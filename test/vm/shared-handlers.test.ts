/** One set of handlers for many endpoints: their last argument says which of them it is. */
import t from 'tap'
import { addEndpoint, deleteEndpoint, role, sendMessage, spawn, _, type Handlers } from 'marketplace-native'
import { run } from './harness.js'

t.test('every handler is given its endpoint\'s name, as its last argument', async (t) => {
  const { lines } = await run((print) => {
    const shared: Handlers<readonly unknown[]> = {
      onPresence: ([kind], _state, _peer, name) => { print('presence', kind, name) },
      onMessage: ([kind, body], _state, name) => { print('message', kind, body, name) },
      onAbsence: ([kind], _state, reason, _peer, name) => { print('absence', kind, reason, name) },
    }
    return [
      addEndpoint('first', role('subscriber', ['a', _]), shared),
      addEndpoint('second', role('subscriber', ['b', _]), shared),
      spawn(() => [
        addEndpoint('all', role('publisher', [_, _]), {}),
        sendMessage(['a', 1]),
        sendMessage(['b', 2]),
        deleteEndpoint('all', 'done'),
      ]),
      spawn(() => sendMessage(['b', 3])),
      deleteEndpoint('nobody'),
    ]
  }, { patience: 100 })
  t.same(
    lines.filter((line) => line.startsWith('presence')).sort(),
    ['presence a first', 'presence b second'],
  )
  t.same(lines.filter((line) => line.startsWith('message')).sort(), [
    'message a 1 first', 'message b 2 second', 'message b 3 second',
  ])
  t.same(
    lines.filter((line) => line.startsWith('absence')).sort(),
    ['absence a done first', 'absence b done second'],
  )
})
