/** Names: lookup of hosts, families, several addresses, and what is said of them. */
import { ADDRCONFIG } from 'node:dns'
import { once } from 'node:events'
import { setDefaultAutoSelectFamily, type LookupFunction } from 'node:net'
import { inspect } from 'node:util'
import { both, closed, failure, portOf, text, trace, type Behaviour } from './both.js'
import { nodeMajor } from '../support/util.js'

type Address = readonly [address: string, family: number]

/** A lookup that finds these. */
function finds(...addresses: Address[]): LookupFunction {
  return (_host, options, done) => {
    const all = addresses.map(([address, family]) => ({ address, family }))
    process.nextTick(() => {
      if (options.all === true) (done as (error: null, all: object[]) => void)(null, all)
      else done(null, all[0].address, all[0].family)
    })
  }
}

async function greeter(env: Behaviour, host = '127.0.0.1'): ReturnType<Behaviour['listen']> {
  return env.listen((socket) => socket.end('hello'), { host })
}

both('isip isipv4 isipv6', 'isIP, isIPv4, isIPv6', (t, { net }) => {
  for (const [text, version] of [
    ['127.0.0.1', 4], ['0.0.0.0', 4], ['::1', 6], ['fe80::1%lo', 6], ['::ffff:1.2.3.4', 6], 
    ['1.2.3', 0], ['', 0],
    ['01.2.3.4', 0], ['256.1.1.1', 0], [':::1', 0], ['x', 0], [undefined, 0], [null, 0], [1, 0],
  ] as [string, number][]) {
    t.equal(net.isIP(text), version, inspect(text))
    t.equal(net.isIPv4(text), version === 4)
    t.equal(net.isIPv6(text), version === 6)
  }
})

both('dns-lookup', 'lookup tells host, address and family', async (t, env) => {
  const server = await greeter(env)
  const socket = env.own(env.net.connect({ port: portOf(server), host: 'localhost', family: 4 }))
  const [error, address, family, host] = await once(socket, 'lookup') as unknown[]
  t.strictSame([error, address, family, host], [null, '127.0.0.1', 4, 'localhost'])
  t.equal(await text(socket), 'hello')
})

both('dns-lookup-skip', 'an address is not looked up', async (t, env) => {
  const server = await greeter(env)
  const socket = env.connect(server, { lookup: () => t.fail('lookup') })
  socket.on('lookup', () => t.fail('lookup'))
  t.equal(await text(socket), 'hello')
})

both('dns-error', 'a name that is none is an error', async (t, env) => {
  const lookup: LookupFunction = (host, _options, done) => {
    const about = { code: 'ENOTFOUND', syscall: 'getaddrinfo' }
    const error = Object.assign(new Error(`getaddrinfo ENOTFOUND ${host}`), about)
    process.nextTick(done, error, undefined, undefined)
  }
  for (const autoSelectFamily of [false, true]) {
    const socket = env.own(env.net.connect({ port: 1, host: 'nowhere.invalid', lookup, autoSelectFamily }))
    const looked = once(socket, 'lookup')
    const error = await failure(socket)
    t.match(error, { code: 'ENOTFOUND', syscall: 'getaddrinfo' })
    t.equal((await looked)[0], error)
  }
  const long = env.own(env.net.connect({ port: 1, host: '*'.repeat(500) }))
  t.match(await failure(long), { code: /^(EINVAL|ENOTFOUND|EAI_AGAIN|EAI_FAIL)$/, syscall: 'getaddrinfo' })
})

both('dns-custom-lookup options-lookup', 'a lookup of the program', async (t, env) => {
  const server = await greeter(env)
  const asked: unknown[] = []
  const socket = env.own(env.net.connect({
    port: portOf(server), host: 'made-up.example', family: 4,
    lookup: (host, options, done) => {
      asked.push(host, options)
      finds(['127.0.0.1', 4])(host, options, done)
    },
  }))
  t.equal(await text(socket), 'hello')
  t.match(asked, ['made-up.example', { family: 4 }])
  t.throws(() => env.net.connect({ port: 1, lookup: {} as never }), { code: 'ERR_INVALID_ARG_TYPE' })
  t.throws(() => env.net.connect({ port: 1, host: 'x', hints: ADDRCONFIG | 0x8000_000 }), {
    code: 'ERR_INVALID_ARG_VALUE',
  })
})

both('connect-custom-lookup-non-string-address dns-custom-lookup', 'a lookup that finds nonsense',
  async (t, env) => {
    for (const autoSelectFamily of [false, true]) {
      const options = { port: 1, host: 'x.example', autoSelectFamily }
      const number = env.own(env.net.connect({ ...options, lookup: finds([1 as unknown as string, 4]) }))
      t.match(await failure(number), { code: 'ERR_INVALID_IP_ADDRESS' })
      const family = env.own(env.net.connect({ ...options, lookup: finds(['127.0.0.1', 100]) }))
      t.match(await failure(family), { code: 'ERR_INVALID_ADDRESS_FAMILY', host: 'x.example', port: 1 })
      // What text of it would be an address is none.
      if (!env.ours && nodeMajor < 22) continue
      const list = env.own(env.net.connect({
        ...options, lookup: finds([['127.0.0.1'] as unknown as string, 4]),
      }))
      t.match(await failure(list), { code: 'ERR_INVALID_IP_ADDRESS' })
    }
  })

both('autoselectfamily', 'the first address does not answer, the second does', async (t, env) => {
  const server = await greeter(env)
  const port = portOf(server)
  const socket = env.own(env.net.connect({
    port, host: 'both.example', autoSelectFamily: true, lookup: finds(['::1', 6], ['127.0.0.1', 4]),
  }))
  const events = trace(socket, 'connectionAttempt', 'connectionAttemptFailed', 'connect', 'ready')
  t.equal(await text(socket), 'hello')
  t.strictSame(events, [
    'connectionAttempt', 'connectionAttemptFailed', 'connectionAttempt', 'connect', 'ready',
  ])
  t.strictSame((socket as unknown as { autoSelectFamilyAttemptedAddresses: string[] })
    .autoSelectFamilyAttemptedAddresses, [`::1:${port}`, `127.0.0.1:${port}`])
})

both('autoselectfamily', 'no address answers', async (t, env) => {
  const server = await greeter(env)
  const port = portOf(server)
  server.close()
  await closed(server)
  const socket = env.own(env.net.connect({
    port, host: 'both.example', autoSelectFamily: true, lookup: finds(['::1', 6], ['127.0.0.1', 4]),
  }))
  const error = await failure(socket) as unknown as AggregateError & { code: string }
  t.ok(error instanceof AggregateError)
  t.equal(error.code, 'ECONNREFUSED')
  t.match(error.errors, [
    { code: 'ECONNREFUSED', address: '::1' }, { code: 'ECONNREFUSED', address: '127.0.0.1' },
  ])
  t.equal(error.errors.length, 2)
})

both('autoselectfamily', 'switched off, only the first is tried', async (t, env) => {
  const server = await greeter(env)
  const socket = env.own(env.net.connect({
    port: portOf(server), host: 'both.example', autoSelectFamily: false,
    lookup: finds(['::1', 6], ['127.0.0.1', 4]),
  }))
  t.match(await failure(socket), { code: 'ECONNREFUSED', address: '::1' })
})

both('autoselectfamily-ipv4first', 'the order of the lookup is kept', async (t, env) => {
  const server = await greeter(env)
  const port = portOf(server)
  const socket = env.own(env.net.connect({
    port, host: 'both.example', autoSelectFamily: true, lookup: finds(['127.0.0.1', 4], ['::1', 6]),
  }))
  t.equal(await text(socket), 'hello')
  t.strictSame((socket as unknown as { autoSelectFamilyAttemptedAddresses: string[] })
    .autoSelectFamilyAttemptedAddresses, [`127.0.0.1:${port}`])
})

both('autoselectfamily-default', 'the default is read and set', async (t, env) => {
  const { net } = env
  const before = net.getDefaultAutoSelectFamily()
  t.equal(before, true)
  t.teardown(() => { setDefaultAutoSelectFamily(before) })
  net.setDefaultAutoSelectFamily(false)
  t.equal(net.getDefaultAutoSelectFamily(), false)
  const server = await greeter(env)
  const lookup = finds(['::1', 6], ['127.0.0.1', 4])
  const socket = env.own(env.net.connect({ port: portOf(server), host: 'both.example', lookup }))
  t.match(await failure(socket), { code: 'ECONNREFUSED', address: '::1' })
  net.setDefaultAutoSelectFamily(true)
  const second = env.own(env.net.connect({ port: portOf(server), host: 'both.example', lookup }))
  t.equal(await text(second), 'hello')
  t.throws(() => net.setDefaultAutoSelectFamily('x' as never), { code: 'ERR_INVALID_ARG_TYPE' })
})

both('autoselectfamily-attempt-timeout-default-value', 'time of an attempt', (t, { net }) => {
  const before = net.getDefaultAutoSelectFamilyAttemptTimeout()
  t.teardown(() => { net.setDefaultAutoSelectFamilyAttemptTimeout(before) })
  t.ok(before >= 10)
  net.setDefaultAutoSelectFamilyAttemptTimeout(1)
  t.equal(net.getDefaultAutoSelectFamilyAttemptTimeout(), 10, 'not under 10')
  for (const wrong of [-1, 0]) {
    t.throws(() => net.setDefaultAutoSelectFamilyAttemptTimeout(wrong), { code: 'ERR_OUT_OF_RANGE' })
  }
})

both('socket-connect-invalid-autoselectfamily socket-connect-invalid-autoselectfamilyattempttimeout',
  'wrong options of families', (t, { net }) => {
    for (const wrong of ['x', 1, {}]) {
      t.throws(() => net.connect({ port: 1, autoSelectFamily: wrong as never }), {
        code: 'ERR_INVALID_ARG_TYPE',
      })
    }
    for (const wrong of [-10, 0]) {
      const options = { port: 1, autoSelectFamily: true, autoSelectFamilyAttemptTimeout: wrong }
      t.throws(() => net.connect(options), {
        code: 'ERR_OUT_OF_RANGE',
      })
    }
  })
