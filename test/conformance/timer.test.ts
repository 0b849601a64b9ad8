/** Scenarios 67-71: the timer driver, and the timer-relay in a nested VM. */
import {
  _, sendMessage, setTimer, timerDriver, timerExpired, timerRelay, yieldTurn,
  type Action, type ActionTree, type SetTimer, type TimerExpired,
} from 'marketplace-native'
import { scenario, SILENT, type EndpointSpec, type Stage } from './harness.js'
import { v, word } from './notation.js'
import { inSequence, exact, shuffled } from './orders.js'

/** The driver is up before any process has its second turn. */
const whenUp = (actions: () => ActionTree): Action => yieldTurn(() => actions())

/** Prints what has expired, and whatever `more` says of the time. */
function expiries(
  s: Stage, label: string, more: (expired: TimerExpired) => string = () => '',
): EndpointSpec<unknown> {
  return {
    prints: SILENT,
    onMessage: (_text, _state, body) => {
      const expired = body as TimerExpired
      s.print(`${label}: expired ${s.show(expired.label)}${more(expired)}`)
    },
  }
}

scenario('67-timer-relative-order', {
  start: (s) => {
    const delays = [[v`c`, 60], [v`a`, 20], [v`(b 2)`, 40]] as const
    const asked = Date.now()
    const punctuality = ({ label, now }: TimerExpired): string => {
      const delay = delays.find(([known]) => s.show(known) === s.show(label))?.[1] ?? Infinity
      return now >= asked + delay ? ' on-time' : ' early'
    }
    return [
      timerDriver(),
      s.process('P', [
        s.subscriber('P', timerExpired(_, _), expiries(s, 'P', punctuality)),
        whenUp(() => delays.map(([label, msecs]) => sendMessage(setTimer(label, msecs, 'relative')))),
      ]),
    ]
  },
})

scenario('68-timer-absolute-and-past', {
  start: (s) => [
    timerDriver(),
    s.process('P', [
      s.subscriber('P', timerExpired(_, _), expiries(s, 'P')),
      whenUp(() => [
        sendMessage(setTimer(word('late'), Date.now() + 50, 'absolute')),
        sendMessage(setTimer(word('past'), 0, 'absolute')),
        sendMessage(setTimer(word('neg'), -5, 'relative')),
      ]),
    ]),
  ],
})

scenario('69-timer-presence-and-bad-kind', {
  start: (s) => [
    timerDriver(),
    s.process('P', whenUp(() => [
      s.subscriber('P.t', timerExpired(word('mine'), _), { ...expiries(s, 'P'), prints: ['presence'] }),
      s.publisher('P.s', setTimer(_, _, _)),
      sendMessage(setTimer(word('other'), 10, 'relative')),
      sendMessage(setTimer(word('mine'), 20, 'relative')),
      sendMessage(setTimer(word('mine'), 5, 'sideways' as never)),
    ])),
  ],
})

scenario('71-timer-relay-nested', {
  start: (s) => [
    timerDriver(),
    s.process('G', s.subscriber('G', setTimer(_, _, _), {
      prints: SILENT,
      onMessage: (_text, _state, body) => {
        const { label, msecs, kind } = body as SetTimer
        s.print(`G: set-timer ${s.show(label)} ${msecs} ${kind}`)
      },
    })),
    s.process('H', s.subscriber('H', timerExpired(_, _), expiries(s, 'H'))),
    s.vm('N', [
      timerRelay(v`rel`),
      s.process('P', [
        s.subscriber('P', timerExpired(_, _), expiries(s, 'P')),
        whenUp(() => [
          sendMessage(setTimer(word('x'), 30, 'relative')),
          sendMessage(setTimer(word('y'), 10, 'relative')),
        ]),
      ]),
    ]),
  ],
  orders: { start: inSequence([2, exact], [2, shuffled], [2, shuffled]) },
})
