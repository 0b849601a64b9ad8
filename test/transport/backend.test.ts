/** The native engine's backend: by option, by environment, and what it says of itself. */
import t from 'tap'
import { loadNative, nativeTransport } from '../../src/transport/native/transport.js'
import type { TransportBackend, TransportInfo } from '../../src/transport/seam/transport.js'

const native = loadNative()
const skip = native.ok ? false : native.reason

/** What a transport says of itself while it is open. */
async function infoOf(backend?: TransportBackend): Promise<TransportInfo | undefined> {
  const transport = nativeTransport({ backend })
  t.equal(transport.info, undefined, 'it says nothing before it is open')
  transport.open(() => undefined)
  const { info } = transport
  await transport.close()
  t.equal(transport.info, undefined, 'nor after it was closed')
  return info
}

t.test('epoll, where it is asked for', { skip }, async (t) => {
  t.match(await infoOf('epoll'), { backend: 'epoll', requested: 'epoll', reason: '' })
})

t.test('io_uring, where it is asked for: it, or an error with the reason', { skip }, async (t) => {
  try {
    const info = await infoOf('io_uring')
    t.match(info, { backend: 'io_uring', requested: 'io_uring' })
  } catch (error) {
    t.match(error, { message: /the engine can't be opened with the backend 'io_uring': \S/ })
  }
})

t.test('the best that works, where nothing is asked for', { skip }, async (t) => {
  const before = process.env.MARKETPLACE_BACKEND
  delete process.env.MARKETPLACE_BACKEND
  t.teardown(() => { if (before !== undefined) process.env.MARKETPLACE_BACKEND = before })
  t.match(await infoOf(), { requested: 'auto', backend: /^(epoll|io_uring)$/ })
  process.env.MARKETPLACE_BACKEND = 'epoll'
  t.match(await infoOf(), { requested: 'epoll' }, 'the environment is asked')
  t.match(await infoOf('auto'), { requested: 'auto' }, 'the option comes first')
  process.env.MARKETPLACE_BACKEND = 'kqueue'
  t.throws(() => nativeTransport(), { message: /MARKETPLACE_BACKEND/ })
  process.env.MARKETPLACE_BACKEND = ''
  t.match(await infoOf(), { requested: 'auto' }, 'set to nothing is as good as not set')
  delete process.env.MARKETPLACE_BACKEND
})

t.test('a backend that there is not', { skip }, (t) => {
  t.throws(() => nativeTransport({ backend: 'select' as TransportBackend }), TypeError)
  t.end()
})
