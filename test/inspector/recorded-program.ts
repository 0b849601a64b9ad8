/** A program that is recorded, and ends in several ways. */
import { spawn as spawnProgram } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { isMainThread, Worker } from 'node:worker_threads'
import {
  _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, type ActionTree,
} from 'marketplace-native'

const how = process.argv[2] ?? 'ends'
const THIS = fileURLToPath(import.meta.url)
const say = (text: string): void => { process.stdout.write(`${text}\n`) }

const minds = (): void => {
  process.on('SIGTERM', () => {
    say(`minds ${process.listenerCount('SIGTERM')}`)
    process.exit(3)
  })
}
if (how === 'minds') minds()

const serves = how === 'serve' || how === 'minds' || how === 'minds later'
const name = !isMainThread ? 'thread' : how === 'child' ? 'child' : 'main'
const hears = async (): Promise<ActionTree> => {
  process.send?.({ ready: true })
  if (how === 'minds later') minds()
  // Longer than a replay waits for anything else.
  if (how === 'sends') await new Promise((resolve) => setTimeout(resolve, 4000))
  say(serves ? 'up' : how)
  return serves ? undefined : quit()
}
await groundVm(() => [
  ...serves ? [tcpBare({ host: '127.0.0.1' }), endpoint.subscriber(tcpChannel(_, tcpListener(0), _))] : [],
  spawn(() => endpoint.subscriber(['go', _], { onMessage: hears }), { name }),
  spawn(() => [endpoint.publisher(['go', _]), sendMessage(['go', 1])]),
])
if (how === 'others' && isMainThread) {
  await once(new Worker(new URL(import.meta.url), { argv: ['others'] }), 'exit')
  await once(spawnProgram(process.execPath, [THIS, 'child'], { stdio: 'inherit' }), 'exit')
}
