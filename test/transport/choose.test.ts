/** Choosing a transport by name. */
import t from 'tap'
import { openTransport, type TransportName } from '../../src/transport/choose.js'
import { loadNative } from '../../src/transport/native/transport.js'

const native = loadNative()

t.equal(openTransport('node').name, 'node')

t.throws(() => openTransport('carrier-pigeon' as TransportName), {
  name: 'TypeError', code: 'ERR_INVALID_ARG_TYPE', message: /'node' or 'auto'; got 'carrier-pigeon'/,
})
t.throws(() => openTransport(undefined as unknown as TransportName), { name: 'TypeError' })

void t.test('where the addon loads', { skip: native.ok ? false : native.reason }, (t) => {
  t.equal(openTransport('native').name, 'native')
  t.equal(openTransport('auto').name, 'native')
  t.end()
})

const loads = native.ok ? 'the addon loads here' : false

void t.test('where the addon does not load', { skip: loads }, async (t) => {
  t.throws(() => openTransport('native'), /native transport can't be loaded: ./)
  const warnings: Error[] = []
  const listen = (warning: Error): void => { warnings.push(warning) }
  process.on('warning', listen)
  t.teardown(() => process.off('warning', listen))
  t.equal(openTransport('auto').name, 'node')
  t.equal(openTransport('auto').name, 'node')
  await new Promise(setImmediate)
  const ours = warnings.filter(({ name }) => name === 'MarketplaceWarning')
  t.equal(ours.length, 1, 'one warning per process')
  t.notMatch(ours[0]?.message, /\n/, 'of one line')
})
