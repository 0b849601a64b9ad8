/**
 * `npm run bench:relay`: what a message costs from a process in one thread to one in another, over `relay` and a
 * `MessagePort`. `--messages 200000`, `--rounds 2000` for less or more.
 *
 * Printed are the time one way (half of a round trip, median), and the CPU time of both threads per message when many
 * are sent in one turn.
 */
import { isMainThread, MessageChannel, Worker, workerData, type MessagePort } from 'node:worker_threads'
import {
  _, endpoint, eventSource, groundVm, portCarrier, relay, sendFeedback, sendMessage, spawn, type ActionTree,
  type EventSink,
} from '../../src/index.js'
import { readArguments } from '../lib/arguments.js'

const topics = [['ping', _], ['many', _, _]]
const BATCH = 1000
const TEXT = 'x'.repeat(64)

async function other(port: MessagePort): Promise<void> {
  await groundVm(() => [
    relay({ node: 'other', carrier: portCarrier({ main: port }), topics }),
    spawn(() => [
      endpoint.subscriber(['ping', _], { onMessage: ([, i]) => sendFeedback(['ping', i]) }),
      endpoint.subscriber(['many', _, _], {
        onMessage: ([, i]) => i === BATCH - 1 ? sendFeedback(['many', i, TEXT]) : undefined,
      }),
    ]),
  ])
}

async function measure(messages: number, rounds: number): Promise<void> {
  const { port1, port2 } = new MessageChannel()
  const worker = new Worker(new URL(import.meta.url), { workerData: port2, transferList: [port2] })
  let sink: EventSink<ActionTree> | undefined
  let answered: () => void = () => undefined
  const answer = (): void => { answered() }
  const control = eventSource<ActionTree>('control', (to) => { sink = to })
  const vm = groundVm(() => [
    relay({ node: 'main', carrier: portCarrier({ other: port1 }), topics }),
    spawn(() => endpoint.subscriber([control, _], { onMessage: ([, actions]) => actions })),
    spawn(() => [
      endpoint.publisher(['ping', _], { onPresence: answer, onMessage: answer }),
      endpoint.publisher(['many', _, _], { onMessage: answer }),
    ]),
  ])
  const answerTo = (actions: ActionTree): Promise<void> => new Promise((resolve) => {
    answered = resolve
    sink?.fire(actions)
  })
  await answerTo(undefined)
  const times: number[] = []
  for (let i = 0; i < rounds; i++) {
    const start = performance.now()
    await answerTo(sendMessage(['ping', i]))
    times.push(performance.now() - start)
  }
  times.sort((a, b) => a - b)
  console.log(`one way, p50: ${(times[times.length >> 1] * 500).toFixed(1)} us`)
  const batch = Array.from({ length: BATCH }, (_none, i) => sendMessage(['many', i, TEXT]))
  for (let i = 0; i < 20; i++) await answerTo(batch)
  const before = process.cpuUsage()
  for (let sent = 0; sent < messages; sent += BATCH) await answerTo(batch)
  const { user, system } = process.cpuUsage(before)
  const each = ((user + system) / messages).toFixed(2)
  console.log(`CPU of both threads, ${BATCH} messages a turn: ${each} us per message`)
  await vm.stop()
  await worker.terminate()
}

if (isMainThread) {
  const usage = 'usage: npm run bench:relay -- [--messages 200000] [--rounds 2000]'
  const { number } = readArguments(usage, { messages: 200_000, rounds: 2000 })
  await measure(number('messages'), number('rounds'))
} else {
  await other(workerData as MessagePort)
}
