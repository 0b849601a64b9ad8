/**
 * The ground VM's own failure, which no program can cause: everything that it holds is released, whoever waits
 * for its end hears why, and the process exits. The failure is put into it: a round that throws.
 */
import { spawnSync } from 'node:child_process'
import t from 'tap'
import { patient } from '../support/patience.js'

const HERE = (path: string): string => JSON.stringify(new URL(`../../src/${path}`, import.meta.url).href)

/** @param times how many rounds throw */
const program = (times: string, after: string): string => `
import { connect } from 'node:net'
import { once } from 'node:events'
import { Vm } from ${HERE('vm/vm.js')}
import {
  _, endpoint, groundVm, nestedVm, sendMessage, setTimer, spawn, tcpBare, tcpChannel, tcpListener, tcpListening,
  timerDriver, timerRelay, udp, udpHandle, udpPacket,
} from ${HERE('index.js')}
let left = 0
const { runRound } = Vm.prototype
Vm.prototype.runRound = function () {
  if (left > 0) {
    left--
    throw new Error('out of order')
  }
  return runRound.call(this)
}
let listening
const port = new Promise((resolve) => { listening = resolve })
const vm = groundVm(() => [
  tcpBare({ host: '127.0.0.1' }), udp(), timerDriver(),
  nestedVm(() => [timerRelay(), spawn(() => [
    endpoint.subscriber('never'), sendMessage(setTimer('far', 3600000, 'relative')),
  ])]),
  endpoint.subscriber(udpPacket(_, udpHandle('h'), _)),
  endpoint.subscriber(tcpListening(_, _), { onPresence: ({ address }) => { listening(address.port) } }),
  endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
    interest: 'observer',
    onPresence: ({ source, destination }) => spawn(() => endpoint.subscriber(tcpChannel(source, destination, _), {
      onMessage: () => [],
    })),
  }),
])
vm.catch((error) => console.log('rejected:', error.message))
const socket = connect(await port, '127.0.0.1')
await once(socket, 'connect')
socket.on('error', () => undefined).on('close', () => console.log('closed'))
await new Promise((resolve) => setTimeout(resolve, 50))
left = ${times}
${after}
await vm.catch(() => undefined)
const again = connect(await port, '127.0.0.1')
const [error] = await once(again, 'error')
console.log(error.code)
await vm.stop().catch((error) => console.log('stop:', error.message))
await vm.shutdown().catch((error) => console.log('shutdown:', error.message))
`

const WAYS: Readonly<Record<string, string>> = {
  'while something comes': "socket.write('x')",
  'while it is stopped': "void vm.stop('enough').catch(() => undefined)",
  'while it is shut down': 'void vm.shutdown({ drainMs: 1000 }).catch(() => undefined); socket.end()',
}

t.jobs = 2
for (const transport of ['native', 'node']) {
  for (const times of ['1', 'Infinity']) {
    for (const [way, after] of Object.entries(WAYS)) {
      const name = `${transport}, ${times === '1' ? 'one round throws' : 'all rounds throw'} ${way}`
      void t.test(name, async (t) => {
        const { status, signal, stdout, stderr } = spawnSync(
          process.execPath, ['--input-type=module', '-e', program(times, after)], {
            encoding: 'utf8',
            timeout: patient(20_000),
            env: {
              ...process.env, MARKETPLACE_LOG: 'fatal', MARKETPLACE_NATIVE: transport === 'native' ? '' : 'off',
            },
          })
        t.same({ status, signal }, { status: 0, signal: null }, stderr)
        t.same(stdout.split('\n').slice(0, -1).sort(), [
          'ECONNREFUSED', 'closed', 'rejected: out of order', 'shutdown: out of order', 'stop: out of order',
        ])
        t.match(stderr, /marketplace fatal: the ground VM failed reason=Error: out of order/)
      })
    }
  }
}
