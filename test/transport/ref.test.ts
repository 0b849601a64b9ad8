/** What keeps a process alive, seen from outside: each case is a process that ends, or doesn't. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import t from 'tap'
import { VARIANTS } from '../support/transports.js'
import { patient } from '../support/patience.js'

const { href } = new URL('../../src/index.js', import.meta.url)

/** A listener, and a connection to it, in one process; `when` tells how far it has come. */
const PROGRAM = `
const {
  _, endpoint, groundVm, tcpAddress, tcpBare, tcpChannel, tcpEngine, tcpHandle, tcpListener, tcpListening,
} = await import(process.env.MARKETPLACE)
const engine = tcpEngine()
const connected = async () => {
  while (engine.metrics().connections < 2) await new Promise((resolve) => setTimeout(resolve, 5))
}
groundVm(() => [
  tcpBare({ engine, host: '127.0.0.1', ...JSON.parse(process.env.OPTIONS) }),
  endpoint.subscriber(tcpChannel(_, tcpListener(0), _), { interest: 'observer' }),
  endpoint.subscriber(tcpListening(_, _), {
    onPresence: ({ address: { port } }) =>
      endpoint.publisher(tcpChannel(tcpHandle('us'), tcpAddress('127.0.0.1', port), _)),
  }),
])
`
/** Says after a while that the process is still there, but doesn't keep it. */
const STILL_THERE = `
setTimeout(() => process.exit(3), 1000).unref()
`

type Case = readonly [name: string, options: object, rest: string, code: number]

/** What each transport has to do for it. */
const EVERYWHERE: readonly Case[] = [
  ['a listener and connections keep it', {}, 'await connected()', 3],
  ['not after `unref`, while connected', {}, 'await connected(); engine.unref()', 0],
]
/** What is the same for all. */
const ONCE: readonly Case[] = [
  ['not with `ref: false`', { ref: false }, 'await connected()', 0],
  ['after `unref` and `ref` again they do', {}, 'await connected(); engine.unref(); engine.ref()', 3],
  ['`unref` before anything is open holds for what comes', {}, 'engine.unref(); await connected()', 0],
  ['`ref` overrides the option', { ref: false }, 'engine.ref(); await connected()', 3],
  ['busy polling does not keep it', { ref: false, busyPoll: 100 }, 'await connected()', 0],
  ['a sleep in the engine does not keep it', { ref: false, sleepIn: 'engine' }, 'await connected()', 0],
  ['nor one in libuv', { ref: false, sleepIn: 'libuv' }, 'await connected()', 0],
  ['asleep in the engine, sockets keep it', { sleepIn: 'engine' }, 'await connected()', 3],
]

for (const { name: variant, skip } of VARIANTS) {
  t.test(`${variant}: what keeps a process alive`, { skip, timeout: patient(60_000) }, async (t) => {
    const cases = variant === 'native io_uring' ? EVERYWHERE : [...EVERYWHERE, ...ONCE]
    await Promise.all(cases.map(async ([name, options, rest, code]) => {
      const [transport, backend = ''] = variant.split(' ')
      const child = spawn(process.execPath, ['--input-type=module', '-e', PROGRAM + rest + STILL_THERE], {
        stdio: ['ignore', 'inherit', 'inherit'],
        env: {
          ...process.env,
          MARKETPLACE: href,
          MARKETPLACE_BACKEND: backend,
          OPTIONS: JSON.stringify({ transport, ...options }),
        },
      })
      t.strictSame(await once(child, 'exit'), [code, null], name)
    }))
  })
}
