/** Scenarios 64 and 65: event sources in nested VMs, through the event-relay. */
import { deleteEndpoint, eventRelay, eventSource, transition, type EventSource } from 'marketplace-native'
import { scenario, settled } from './harness.js'
import { v, word } from './notation.js'
import { exact, inSequence, shuffled } from './orders.js'

/** Signals the event of the scenario that runs. */
let signal: () => void = () => undefined
let released = 0

function makeEvent(): EventSource<unknown> {
  released = 0
  return eventSource<unknown>('E', (sink) => {
    signal = () => { sink.fire(word('fired')) }
    return () => { released += 1 }
  })
}

async function signalTimes(count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    signal()
    await settled()
  }
}

// D3: what the relay does goes to the log, not to standard output.
scenario('64-event-relay', {
  start: (s) => s.vm('N', [
    eventRelay(v`r`),
    s.process('P', s.subscriber<number>('P.e', v`(${makeEvent()} ?)`, {
      onMessage: (_text, count) => transition(count + 1, count === 1 && deleteEndpoint('P.e')),
    }), {}, 0),
  ]),
  drive: () => signalTimes(3),
  check: (t) => {
    t.equal(released, 1, 'the source was released with its last subscription')
  },
})

// D3: the relay counts, so Q sees the second firing.
scenario('65-event-relay-shared-event', {
  start: (s) => {
    const source = makeEvent()
    return s.vm('N', [
      eventRelay(v`r`),
      s.process('P', s.subscriber('P.e', v`(${source} ?)`, { onMessage: () => deleteEndpoint('P.e') })),
      s.process('Q', s.subscriber('Q.e', v`(${source} ?)`)),
    ])
  },
  drive: async (stage) => {
    await signalTimes(2)
    stage.print('END')
    stage.closed = true
  },
  orders: { start: inSequence([2, shuffled], [1, exact]) },
})
