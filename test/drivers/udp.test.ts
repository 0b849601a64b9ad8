/** The driver `udp` in ground and nested VMs, over both transports, against plain sockets. */
import { createSocket, type Socket } from 'node:dgram'
import { readdirSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInThisContext } from 'node:vm'
import t, { type Test } from 'tap'
import { endpoint } from '../../src/dsl/index.js'
import { eventRelay } from '../../src/drivers/event-relay.js'
import { udp } from '../../src/drivers/udp.js'
import {
  udpBound, udpHandle, udpListener, udpMembership, udpPacket, udpRemoteAddress,
} from '../../src/drivers/udp-records.js'
import { _ } from '../../src/topic/index.js'
import {
  deleteEndpoint, groundVm, nestedVm, sendMessage, spawn, type ActionTree,
} from '../../src/vm/index.js'
import type { UdpTransport } from '../../src/transport/seam/udp-transport.js'
import { missing, pattern, runProgram, sleep, until } from '../support/util.js'
import { both, echo, host, onBoth, plainClient } from './udp-program.js'
import { anyUdpAddress, anyUdpListener } from '../support/unchecked.js'

setFlagsFromString('--allow-natives-syntax')
const detachNatively = runInThisContext('(buffer) => %ArrayBufferDetach(buffer)') as (buffer: ArrayBufferLike) => void

onBoth('a listener echoes', async (t, run) => {
  const program = run((program) => spawn(() => both(program, udpListener(0), echo)))
  const client = plainClient(t)
  await until(() => program.port(0) > 0)
  for (const text of ['hi', 'x']) {
    client.send(text, program.port(0))
    await until(() => client.got.includes(`re:${text}`))
  }
  t.strictSame(client.got, ['re:hi', 're:x'])
  t.strictSame(program.trace, [
    'i: presence local>local', 'o: presence local>local', 'i: presence remote>local',
    'o: presence local>remote', 'i: message hi', 'i: message x',
  ])
})

onBoth('a handle asks, and its socket goes with one of its participants', async (t, run) => {
  const server = createSocket('udp4')
  server.on('message', (data: Buffer, from) => {
    server.send(`${data.toString()}!`, from.port, from.address)
  })
  await new Promise<void>((resolve) => server.bind(0, host, resolve))
  t.teardown(() => { server.close() })
  const handle = udpHandle('h')
  const to = udpRemoteAddress(host, server.address().port)
  const program = run((program) => spawn(() => [
    program.when('delete', () => deleteEndpoint('i', 'stop')),
    program.when('again', () => endpoint.subscriber(udpPacket(_, handle, _), program.prints('i'))),
    program.when('send', () => sendMessage(udpPacket(handle, to, 'q'))),
    both(program, handle),
  ]))
  await until(() => program.port('h') > 0)
  program.signal('send')
  await until(() => program.trace.includes('i: message q!'))
  program.trace.length = 0
  program.signal('delete')
  await until(() => program.bound.size === 0)
  t.strictSame(program.trace, [
    'o: absence local>local stop', 'i: absence local>local stop', 'i: absence remote>local stop',
    'o: absence local>remote undefined',
  ])
  program.signal('send')
  await sleep(20)
  t.equal(program.trace.length, 4)
  program.signal('again')
  await until(() => program.port('h') > 0)
  program.signal('send')
  await until(() => program.trace.includes('i: message q!'))
  t.strictSame(program.errors, [])
})

onBoth('a listener is closed, and opened again at once', async (t, run) => {
  let port = 0
  const program = run((program) => spawn(() => {
    const add = (): ActionTree =>
      endpoint.subscriber(udpPacket(_, udpListener(port), _), program.prints('i'))
    return [
      program.when('open', add),
      program.when('close', () => deleteEndpoint('i', 'stop')),
      program.when('both', () => [deleteEndpoint('i', 'stop'), add()]),
    ]
  }))
  const occupant = createSocket('udp4')
  await new Promise<void>((resolve) => occupant.bind(0, host, resolve))
  port = occupant.address().port
  const second = plainClient(t)
  await sleep(5)
  program.signal('open')
  await until(() => program.errors.length === 1)
  t.match(program.errors[0], {
    local: udpListener(port), remote: undefined, error: { code: 'EADDRINUSE', port },
  })
  program.signal('close')
  await new Promise<void>((resolve) => occupant.close(resolve))
  for (const [index, how] of ['open', 'both', 'both'].entries()) {
    program.signal(how)
    // Until the new socket is there nobody hears it.
    await until(() => {
      second.send(`${index}`, port)
      return program.trace.includes(`i: message ${index}`)
    })
  }
  program.signal('close')
  await until(() => program.bound.size === 0)
  second.send('unheard', port)
  await sleep(10)
  program.signal('open')
  await until(() => program.bound.size === 1)
  second.send('3', port)
  await until(() => program.trace.includes('i: message 3'))
  t.notOk(program.trace.includes('i: message unheard'))
  t.equal(program.errors.length, 1)
})

onBoth('a wildcard local address only observes', async (t, run) => {
  const program = run((program) => [
    spawn(() => [
      endpoint.subscriber(udpPacket(_, _, _), program.prints('x')),
      program.when('leave', () => deleteEndpoint('x')),
    ]),
    spawn(() => endpoint.subscriber(udpPacket(_, udpHandle(_), _), program.prints('h'))),
    spawn(() => endpoint.subscriber(udpPacket(_, udpListener(0), _), program.prints('i', echo))),
  ])
  const client = plainClient(t)
  await until(() => program.port(0) > 0)
  t.equal(program.bound.size, 1)
  client.send('1', program.port(0))
  await until(() => client.got.length === 1)
  t.match(program.trace, [
    'x: presence remote>local', 'i: presence remote>local', 'x: message 1', 'i: message 1',
  ])
  // Its going is not the going of a participant in the conversation.
  program.signal('leave')
  client.send('2', program.port(0))
  await until(() => client.got.length === 2)
  t.notOk(program.trace.some((line) => line.startsWith('h:')))
})

onBoth('observers count as demand, and the last of them closes', async (t, run) => {
  const observer = (name: string): ActionTree =>
    endpoint.subscriber(udpPacket(_, udpListener(0), _), { name, interest: 'observer' })
  const program = run((program) => spawn(() => [
    observer('a'), observer('b'),
    program.when('a', () => deleteEndpoint('a')), program.when('b', () => deleteEndpoint('b')),
  ]))
  await until(() => program.bound.size === 1)
  program.signal('a')
  await sleep(10)
  t.equal(program.bound.size, 1)
  program.signal('b')
  await until(() => program.bound.size === 0)
})

onBoth('what cannot be sent is reported, and the socket lives', async (t, run) => {
  const handle = udpHandle(7)
  const to = udpRemoteAddress(host, 9)
  const wrong: [string, unknown][] = [
    ['EMSGSIZE', udpPacket(handle, to, Buffer.alloc(65_508))],
    ['ERR_INVALID_ARG_TYPE', udpPacket(handle, to, 5 as never)],
    ['ERR_OUT_OF_RANGE', udpPacket(handle, udpRemoteAddress(host, 0), 'x')],
    ['ERR_OUT_OF_RANGE', udpPacket(handle, anyUdpAddress(host, 65_536), 'x')],
    ['ERR_INVALID_ARG_TYPE', udpPacket(handle, anyUdpAddress(5, 9), 'x')],
    ['EACCES', udpPacket(handle, udpRemoteAddress('255.255.255.255', 9), 'x')],
  ]
  const program = run((program) => spawn(() => [
    both(program, handle, () => undefined),
    wrong.map(([, body], i) => program.when(`${i}`, () => sendMessage(body))),
    program.when('right', () => {
      return sendMessage(udpPacket(handle, udpRemoteAddress(host, program.port(7)), 'right'))
    }),
  ]), { host: '0.0.0.0' })
  await until(() => program.port(7) > 0)
  for (const [i, [code]] of wrong.entries()) {
    program.signal(`${i}`)
    await until(() => program.errors.length === i + 1)
    t.match(program.errors[i], { local: handle, error: { code } }, code)
    t.ok(udpRemoteAddress.is(program.errors[i]?.remote))
  }
  program.signal('right')
  await until(() => program.trace.includes('i: message right'))
})

onBoth('65,507 bytes and none at all', async (t, run) => {
  const got: Buffer[] = []
  const handle = udpHandle('big')
  const program = run((program) => spawn(() => [
    both(program, handle, ({ body }) => { got.push(body) }),
    program.when('send', () => [pattern(65_507), new Uint8Array(0), 'h\u00e9'].map((body) =>
      sendMessage(udpPacket(handle, udpRemoteAddress(host, program.port('big')), body)))),
  ]))
  await until(() => program.port('big') > 0)
  program.signal('send')
  await until(() => got.length === 3)
  t.strictSame(got, [pattern(65_507), Buffer.alloc(0), Buffer.from('h\u00e9')])
})

onBoth('what is too long for maxDatagramSize is reported', async (t, run) => {
  const program = run((program) => spawn(() => both(program, udpListener(0))), { maxDatagramSize: 10 })
  const client = plainClient(t)
  await until(() => program.port(0) > 0)
  client.send('longer than ten', program.port(0))
  client.send('short', program.port(0))
  await until(() => program.trace.includes('i: message short'))
  t.match(program.errors, [{ local: udpListener(0), error: { code: 'EMSGSIZE' } }])
  t.ok(udpRemoteAddress.is(program.errors[0]?.remote))
})

onBoth('local addresses that cannot be', async (t, run) => {
  const wrong = [65_536, -1, 1.5, '80']
  const program = run(() => wrong.map((port) =>
    spawn(() => endpoint.subscriber(udpPacket(_, anyUdpListener(port), _)))))
  await until(() => program.errors.length === wrong.length)
  t.strictSame(program.errors.map(({ error }) => error.code), wrong.map(() => 'ERR_OUT_OF_RANGE'))
})

onBoth('the driver in a nested VM, two levels deep', async (t, run) => {
  const program = run(
    (program) => spawn(() => both(program, udpListener(0), echo)), {},
    (inside) => nestedVm(() => [eventRelay(), nestedVm(() => [eventRelay(), inside])]),
  )
  await until(() => program.port(0) > 0)
  const client = plainClient(t)
  // The outer VM has a relay as well: sources pass through both.
  client.send('deep', program.port(0))
  await until(() => client.got.length === 1)
  t.strictSame(client.got, ['re:deep'])
})

onBoth('membership is presence', async (t, run) => {
  const group = '239.40.50.60'
  const listener = udpListener(0)
  const program = run((program) => [
    spawn(() => both(program, listener)),
    spawn(() => {
      const join = (): ActionTree =>
        endpoint.subscriber(udpMembership(listener, group, host), program.prints('m'))
      return [program.when('join', join), program.when('leave', () => deleteEndpoint('m', 'done'))]
    }),
    spawn(() => endpoint.subscriber(udpMembership(listener, 'nonsense', undefined))),
    spawn(() => endpoint.subscriber(udpMembership(_, _, _), { interest: 'observer' })),
  ], { host: '0.0.0.0', type: 'udp4', multicastInterface: host })
  await until(() => program.port(0) > 0 && program.errors.length === 1)
  t.match(program.errors[0], { local: listener, error: { code: 'EINVAL' } })
  program.signal('join')
  await until(() => program.trace.length > 2 || program.errors.length > 1)
  if (program.errors.length > 1) {
    t.pass('skipped', { skip: `the kernel refuses to join: ${program.errors[1]?.error.message}` })
    return
  }
  const sender = plainClient(t)
  await new Promise<void>((resolve) => sender.socket.bind(0, resolve))
  sender.socket.setMulticastInterface(host)
  const port = program.port(0)
  sender.socket.send('first', port, group)
  await until(() => program.trace.includes('i: message first'))
  program.signal('leave')
  await until(() => program.trace.some((line) => line.startsWith('m: absence')))
  sender.socket.send('unheard', port, group)
  sender.send('unicast', port)
  await until(() => program.trace.includes('i: message unicast'))
  t.notOk(program.trace.includes('i: message unheard'))
  t.equal(program.errors.length, 1)
})

onBoth('a member of a socket that comes later, and again', async (t, run) => {
  const group = '239.40.50.61'
  const listener = udpListener(0)
  const program = run((program) => [
    spawn(() => endpoint.subscriber(udpMembership(listener, group, host), program.prints('m'))),
    spawn(() => [
      program.when('open', () => endpoint.subscriber(udpPacket(_, listener, _), { name: 'i' })),
      program.when('close', () => deleteEndpoint('i')),
    ]),
  ], { host: '0.0.0.0', type: 'udp4' })
  await sleep(5)
  for (let i = 0; i < 2; i++) {
    program.signal('open')
    await until(() => program.trace.length === 2 * i + 1 || program.errors.length > 0)
    if (program.errors.length > 0) {
      t.pass('skipped', { skip: `the kernel refuses to join: ${program.errors[0]?.error.message}` })
      return
    }
    program.signal('close')
    await until(() => program.trace.length === 2 * i + 2)
  }
  const kinds = program.trace.map((line) => line.split(' ')[1])
  t.strictSame(kinds, ['presence', 'absence', 'presence', 'absence'])
})

onBoth('the ground VM ends when no socket is wanted, with nothing open', async (t, _run, { transport }) => {
  const descriptors = (): number => (process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0)
  const once = async (): Promise<void> => {
    await groundVm(() => [
      udp({ transport, host }),
      spawn(() => Array.from({ length: 20 }, (_unused, i) => [
        endpoint.subscriber(udpPacket(_, udpHandle(i), _), {
          name: i,
          onMessage: () => deleteEndpoint(i),
        }),
        endpoint.subscriber(udpBound(udpHandle(i), _), {
          onPresence: ({ address }) => sendMessage(udpPacket(udpHandle(i), address, 'to myself')),
        }),
      ])),
    ])
  }
  await once()
  const before = descriptors()
  for (let i = 0; i < 5; i++) await once()
  t.equal(descriptors(), before)
})

onBoth('demand that goes at once', async (t, run) => {
  const listener = udpListener(0)
  const program = run((program) => spawn(() => [
    Array.from({ length: 10 }, () => [
      endpoint.subscriber(udpPacket(_, listener, _), program.prints('i')), deleteEndpoint('i'),
    ]),
    program.when('open', () => endpoint.subscriber(udpPacket(_, listener, _), program.prints('i'))),
  ]))
  await sleep(20)
  t.equal(program.bound.size, 0)
  program.signal('open')
  await until(() => program.bound.size === 1)
  t.strictSame(program.errors, [])
})

const PYTHON = `
import socket, sys
client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(10)
for i in range(200):
    client.sendto(b'%d' % i, ('127.0.0.1', int(sys.argv[1])))
    assert client.recvfrom(65536)[0] == b're:%d' % i
print('done')
`

/** Takes memory away from everyone, as a program could. False if this Node doesn't let it. */
function detach(buffer: ArrayBufferLike): boolean {
  const prototype = ArrayBuffer.prototype as { transfer?: (this: ArrayBufferLike) => unknown }
  try {
    if (prototype.transfer === undefined) detachNatively(buffer)
    else prototype.transfer.call(buffer)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
  }
  return buffer.byteLength === 0
}

onBoth('a datagram whose memory was detached before is an error, not an empty one', async (t, run) => {
  let detached = 0
  let left = 0
  const onTransport = (transport: UdpTransport): void => {
    const open = transport.open.bind(transport)
    transport.open = (sink) => {
      open((events) => {
        // As a handler of an earlier turn's does while these wait for the VM.
        for (const { data } of events) {
          if (data === undefined || data.length !== 5) continue
          if (detach(data.buffer)) detached++
          else left++
        }
        sink(events)
      })
    }
  }
  const program = run((program) => spawn(() => both(program, udpListener(0), echo)), { onTransport })
  const client = plainClient(t)
  await until(() => program.port(0) > 0)
  client.send('gone!', program.port(0))
  await until(() => detached + left === 1)
  await until(() => program.errors.length === detached)
  t.notOk(program.trace.includes('i: message '))
  if (detached > 0) {
    const [{ remote, error }] = program.errors
    t.match(error, { code: 'EFAULT', syscall: 'recvmsg', message: /detached the memory/ })
    t.strictSame(remote, udpRemoteAddress(host, client.socket.address().port))
  }
  // An empty one is none of that, and the socket lives on.
  client.send('', program.port(0))
  await until(() => client.got.includes('re:'))
  t.equal(program.errors.length, detached)
})

onBoth('echo to python3', async (t, run) => {
  const program = run((program) => spawn(() => both(program, udpListener(0), echo)))
  await until(() => program.port(0) > 0)
  const args = ['-c', PYTHON, `${program.port(0)}`]
  const { stdout, stderr } = await runProgram('python3', args, Buffer.alloc(0))
  t.equal(stdout.toString(), 'done\n', stderr)
}, missing('python3'))

/** Sends in this turn: a plain client looks its address up first. */
async function connected(t: Test, port: number): Promise<Socket> {
  const socket = createSocket('udp4')
  t.teardown(() => { socket.close() })
  await new Promise<void>((resolve) => { socket.connect(port, host, resolve) })
  return socket
}

onBoth('datagrams that are on their way when a socket is opened again are not the new one\'s', async (t, run) => {
  const lives: string[][] = []
  const life = (): ActionTree => {
    const heard: string[] = []
    const name = lives.push(heard)
    return endpoint.subscriber(udpPacket(_, udpListener(port), _), {
      name,
      onMessage: ({ body }) => {
        heard.push(String(body))
        // Gone and there again, with more of them waiting.
        return heard.length === 1 && name < ROUNDS ? [deleteEndpoint(name), life()] : undefined
      },
    })
  }
  const ROUNDS = 20
  const port = await freeUdpPort()
  const program = run(() => spawn(() => life()))
  for (let round = 1; round < ROUNDS; round++) {
    await until(() => program.bound.size === 1 && lives.length === round)
    const client = await connected(t, port)
    for (let i = 0; i < 40; i++) client.send(`${round}`)
    await until(() => lives.length === round + 1)
  }
  await until(() => program.bound.size === 1)
  const last = await connected(t, port)
  last.send(`${ROUNDS}`)
  await until(() => lives[ROUNDS - 1].length > 0)
  t.same(lives.map((heard) => [...new Set(heard)]), lives.map((_heard, i) => [`${i + 1}`]))
})

onBoth('one remote address, two local ones', async (t, run) => {
  const heard = new Map<string, string[]>([['a', []], ['b', []]])
  const program = run(() => spawn(() => [...heard].map(([name, list]) => (
    endpoint.subscriber(udpPacket(_, udpHandle(name), _), {
      onMessage: (packet) => {
        list.push(String(packet.body))
        return echo(packet)
      },
    })
  ))))
  await until(() => program.bound.size === 2)
  const client = plainClient(t)
  for (let i = 0; i < 5; i++) for (const name of heard.keys()) client.send(`${name}${i}`, program.port(name))
  await until(() => client.got.length === 10)
  t.same(heard.get('a'), ['a0', 'a1', 'a2', 'a3', 'a4'])
  t.same(heard.get('b'), ['b0', 'b1', 'b2', 'b3', 'b4'])
})

async function freeUdpPort(): Promise<number> {
  const socket = createSocket('udp4')
  await new Promise<void>((resolve) => { socket.bind(0, host, resolve) })
  const { port } = socket.address()
  await new Promise<void>((resolve) => { socket.close(resolve) })
  return port
}

void t.test('options are checked', async (t) => {
  const wrong: [object, RegExp][] = [
    [{ nonsense: 1 }, /unknown option 'nonsense'; there are transport, host/],
    [{ maxSlabBytes: 1000 }, /options.maxSlabBytes must be/],
    [{ busyPoll: 2000 }, /options.busyPoll must be/],
    [{ multicastTtl: 1 }, /unknown option 'multicastTtl'; did you mean 'multicastTTL'/],
    [{ transport: 'other' }, /options.transport must be 'native', 'node' or 'auto'/],
    [{ host: '' }, /options.host/], [{ type: 'udp5' }, /options.type/], [{ ttl: 0 }, /options.ttl/],
    [{ broadcast: 1 }, /options.broadcast must be a boolean/],
    [{ maxDatagramSize: 65_508 }, /maxDatagramSize/],
    [{ type: 'udp4', ipv6Only: true }, /ipv6Only/], [{ multicastTTL: 256 }, /multicastTTL/],
  ]
  for (const [options, message] of wrong) t.throws(() => udp(options), { message })
  t.throws(() => udp(null as never), /options must be an object/)
})

onBoth('isolated: each datagram is in memory of its own', async (t, run) => {
  const bodies: Buffer[] = []
  const program = run((program) => spawn(() => both(program, udpListener(0), ({ body }) => {
    bodies.push(body)
    return undefined
  })), { buffers: 'isolated' })
  const client = plainClient(t)
  await until(() => program.port(0) > 0)
  const sizes = [0, 1, 64, 65, 1400, 20_000]
  for (const [index, size] of sizes.entries()) {
    client.send(Buffer.alloc(size, index), program.port(0))
    await until(() => bodies.length === index + 1)
  }
  t.strictSame(bodies.map(({ length }) => length), sizes)
  t.strictSame(bodies.map(({ buffer }) => buffer.byteLength), sizes)
  t.ok(bodies.every((body, index) => body.every((byte) => byte === index)))
  for (const body of bodies) structuredClone(body, { transfer: [body.buffer as ArrayBuffer] })
  t.ok(bodies.every(({ length }) => length === 0))
  t.throws(() => udp({ buffers: 'borrowed' as never }), /buffers must be 'owned' or 'isolated'/)
})
