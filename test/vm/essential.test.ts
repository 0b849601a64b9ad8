/** Processes without which a VM can't be: their failure is its end, and whoever started it hears of that. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  _, addEndpoint, atMetaLevel, endpoint, groundVm, kill, LOG_CHANNEL, nestedVm, quit, role, sendMessage,
  spawn, transition, type ActionTree, type GroundVmOptions, type LogRecord,
} from 'marketplace-native'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { deferred } from '../support/util.js'

const boom = new Error('boom')
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** How a ground VM ends. */
async function endOf(boot: () => ActionTree, options?: GroundVmOptions): Promise<unknown> {
  try {
    await groundVm(boot, options)
    return 'resolved'
  } catch (error) {
    return error
  }
}

function collect(t: Test): LogRecord[] {
  const records: LogRecord[] = []
  const listener = (record: unknown): void => { records.push(record as LogRecord) }
  subscribe(LOG_CHANNEL, listener)
  t.teardown(() => unsubscribe(LOG_CHANNEL, listener))
  return records
}

const failing: Readonly<Record<string, () => ActionTree>> = {
  'boot throws': () => { throw boom },
  'a handler throws': () => [
    endpoint.subscriber(['go'], { onMessage: () => { throw boom } }), sendMessage(['go']),
  ],
  'it quits with an error': () => quit(boom),
  'it is killed with an error': () => [
    endpoint.subscriber(['x'], {}), spawn(() => kill(0, boom)),
  ],
  'an async handler rejects': () => [
    endpoint.subscriber(['go'], { onMessage: () => Promise.reject(boom) }), sendMessage(['go']),
  ],
}

t.test('the first process is essential: its failure ends the VM, whose promise is rejected', async (t) => {
  collect(t)
  for (const [name, boot] of Object.entries(failing)) {
    const heard = deferred<unknown>()
    const end = await endOf(() => [
      spawn(() => endpoint.subscriber(['never'], {
        interest: 'observer', onAbsence: (_topic, _state, reason) => { heard.resolve(reason) },
      })),
      spawn(() => endpoint.publisher(['never'])),
      ...[boot()].flat(),
    ])
    t.equal(end, boom, name)
    if (name !== 'an async handler rejects') continue
    t.equal(await heard.promise, boom, `${name}: the others end with it`)
  }
})

t.test('an action that is impossible', async (t) => {
  collect(t)
  t.match(await endOf(() => atMetaLevel(sendMessage(1))), { message: /impossible/ })
})

t.test('an orderly end of it is none of the VM, nor is the failure of another process', async (t) => {
  collect(t)
  const ended: string[] = []
  const end = await endOf(() => [
    spawn(() => [
      endpoint.subscriber(['go'], { onMessage: () => { ended.push('served') } }),
    ]),
    spawn(() => { throw boom }),
    spawn(() => quit(boom)),
    spawn(() => [endpoint.subscriber(['now'], { onMessage: () => { throw boom } }), sendMessage(['now'])]),
    quit('orderly'),
  ])
  t.equal(end, 'resolved')
})

t.test('essential: false, and other processes that are essential', async (t) => {
  collect(t)
  for (const [name, boot] of Object.entries(failing)) {
    if (name === 'it is killed with an error') continue
    t.equal(await endOf(boot, { essential: false }), 'resolved', name)
    t.equal(await endOf(() => spawn(boot, { essential: true })), boom, name)
  }
})

t.test('in a nested VM its failure is that of the VM as a process', async (t) => {
  collect(t)
  for (const [name, boot] of Object.entries(failing)) {
    if (name === 'it is killed with an error') continue
    const inside = (essential: boolean) => nestedVm(() => [
      atMetaLevel(endpoint.publisher(['inside'])),
      spawn(boot, { essential: true }),
    ], { essential })
    let reason: unknown = 'none'
    const observer = endpoint.subscriber(['inside'], {
      onAbsence: (_topic, _state, why) => {
        reason = why
        return quit()
      },
    })
    t.equal(await endOf(() => [observer, inside(false)]), 'resolved', name)
    t.equal(reason, boom, `${name}: outside they hear why`)
    const further = await endOf(() => [endpoint.subscriber(['x'], {}), inside(true)])
    t.equal(further, boom, `${name}: and further out`)
  }
})

t.test('stop and shutdown with an error as reason are no failure', async (t) => {
  const vm = groundVm(() => endpoint.subscriber(['x'], {}))
  await vm.stop(boom)
  const other = groundVm(() => endpoint.subscriber(['x'], {}))
  await other.shutdown({ reason: boom, drainMs: 0 })
  t.pass()
})

t.test('a program that waits for its VM ends with a code that tells, and so does one that does not', (t) => {
  for (const wait of ['await ', '']) {
    const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
      import { endpoint, groundVm, sendMessage, signalSource, _ } from 'marketplace-native'
      ${wait}groundVm(() => [
        endpoint.subscriber([signalSource('SIGUSR2'), _], {}),
        endpoint.subscriber(['go'], { onMessage: () => { throw new Error('no server') } }),
        sendMessage(['go']),
      ])
    `], {
      cwd: ROOT, encoding: 'utf8', env: { ...process.env, NODE_OPTIONS: '', MARKETPLACE_LOG: '' },
    })
    t.equal(status, 1)
    t.equal(stderr.split('Error: no server').length - 1, 1, `told once: ${stderr}`)
  }
  t.end()
})

t.test('quit(error) is logged as a throw is; what the world did is not', async (t) => {
  const records = collect(t)
  const reset = Object.assign(new Error('read ECONNRESET'), { syscall: 'read' })
  await groundVm(() => [
    spawn(() => quit(boom), { name: 'one' }),
    spawn(() => quit(reset), { name: 'two' }),
    spawn(() => quit('done'), { name: 'three' }),
  ])
  const errors = records.filter(({ level }) => level === 'error')
  t.match(errors, [{ message: 'process 1 (one) failed', fields: { reason: boom } }])
  t.equal(errors.length, 1)
})

t.test('a failure says process, handler, endpoint, topic and what it was about', async (t) => {
  const records = collect(t)
  const stray = (() => 3) as unknown as () => undefined
  await groundVm(() => spawn(() => [
    addEndpoint('ear', role('subscriber', ['x', _]), { onMessage: stray }),
    sendMessage(['x', 5]),
  ], { name: 'session' }))
  const [{ message, fields }] = records.filter(({ level }) => level === 'error')
  t.equal(message, 'process 1 (session) failed')
  t.match(fields, { handler: 'onMessage', endpoint: 'subscriber', name: 'ear', about: ['x', 5] })
  const reason = fields['reason'] as Error
  t.equal(reason.message, "onMessage of the subscriber of [ 'x', _ ] must return actions, nested arrays "
    + 'of them or a transition; got 3. A function that is called for its effect only has braces: '
    + '(...) => { ... }')
  t.match(reason.stack, /\n {4}at onMessage \(file:.*essential\.test\.js:\d+:\d+\)/, 'where it was written')
})

t.test('transitions and promises at the wrong place say so, without that hint', async (t) => {
  const records = collect(t)
  const results: unknown[] = [[transition(1)], [Promise.resolve()]]
  for (const result of results) {
    await groundVm(() => spawn(() => [
      endpoint.subscriber(['x'], { onMessage: () => result as undefined }), sendMessage(['x']),
    ]))
  }
  const messages = records.filter(({ level }) => level === 'error')
    .map(({ fields }) => (fields['reason'] as Error).message)
  t.match(messages[0], /got a transition inside an action tree$/)
  t.match(messages[1], /got a promise inside an action tree$/)
})

t.test('when it fails, the log does not tell of those that fail because of that', async (t) => {
  const records = collect(t)
  const reason = new Error('gave up')
  const other = new Error('a failure of its own')
  const dependent = (failure: unknown): ActionTree => spawn(() => endpoint.subscriber(['alive', _], {
    onAbsence: () => { throw failure },
  }))
  const supervisor = (): ActionTree => [
    endpoint.publisher(['alive', 'supervisor']),
    spawn(() => endpoint.publisher(['alive', 'child']), { link: true }),
    endpoint.subscriber('go', { onMessage: () => { throw reason } }),
  ]
  const program = (): ActionTree => [
    dependent(reason), dependent(new Error('lost it', { cause: reason })), dependent(other),
    spawn(supervisor, { essential: true, name: 'supervisor' }),
    endpoint.publisher('go', { onPresence: () => sendMessage('go') }),
  ]
  const errors = (): unknown[] => records.splice(0).filter(({ level }) => level === 'error')
    .map(({ message, fields }) => [message, (fields.reason as Error).message])
  t.equal(await endOf(program), reason, 'whoever started the ground VM is told')
  t.strictSame(new Set(errors().map(String)), new Set(['process 3 failed,a failure of its own']))
  t.equal(await endOf(() => [nestedVm(program), spawn(() => undefined)]), 'resolved')
  t.strictSame(new Set(errors().map(String)), new Set([
    'process 4 (supervisor) of VM 1 failed,gave up', 'process 3 of VM 1 failed,a failure of its own',
  ]), 'of the one in a nested VM the log tells, once')
})
