/** Scenarios 42 and 55: what nothing can happen to any more is collected, silently. */
import './life-cycle.js' // before the package, which reads the log's level when it is loaded
import { deleteEndpoint, kill, sendFeedback } from 'marketplace-native'
import { scenario } from './harness.js'
import { v } from './notation.js'
import { shuffled } from './orders.js'

scenario('42-gc-no-endpoints', {
  start: (s) => [
    s.process('A', s.subscriber('A.a', v`(gg ?)`)),
    s.process('P', s.publisher('P.p', v`(gg 1)`), { 1: () => deleteEndpoint('P.p', v`tidy`) }),
    s.process('K', [], { 2: () => [sendFeedback(v`(gg 1)`), kill(s.pid('P'), v`late`)] }),
  ],
  orders: { start: shuffled },
  logged: ['P'],
})

scenario('55-nested-idle-collected', {
  start: (s) => [
    s.process('K', [], { 1: () => [], 2: () => [] }),
    s.vm('N', [
      s.process('I', s.publisher('I.i', v`(z 1)`)),
      s.process('J', s.subscriber('J.j', v`(z ?)`)),
    ]),
  ],
  orders: { start: shuffled },
  logged: ['N'],
})
