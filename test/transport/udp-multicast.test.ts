/** Multicast through both transports, on the loopback interface; skipped where the kernel refuses it. */
import { networkInterfaces, type NetworkInterfaceInfo } from 'node:os'
import type { Test } from 'tap'
import type { SocketError } from '../../src/transport/seam/transport.js'
import type { UdpSocketOptions } from '../../src/transport/seam/udp-transport.js'
import { sleep, until } from '../support/util.js'
import { onEveryUdpTransport, type Station } from './udp-station.js'

const LOOPBACK = Object.entries(networkInterfaces())
  .find(([, entries]) => entries?.some(({ address }) => address === '127.0.0.1'))?.[0]

/** An interface to the outside with a link-local IPv6 address, and one with an IPv4 address. */
const external = (has: (entry: NetworkInterfaceInfo) => boolean): string | undefined =>
  Object.entries(networkInterfaces()).find(([, entries]) => entries?.some((e) => !e.internal && has(e)))?.[0]
const LINK = external((e) => e.family === 'IPv6' && e.scopeid > 0)
const OUTSIDE = external((e) => e.family === 'IPv4')

interface Case {
  readonly name: string
  readonly group: string
  /** As members name the interface: by address or by name. */
  readonly by: string
  readonly options: Partial<UdpSocketOptions>
  /** To which the sender sends. */
  readonly to: string
}

const CASES: readonly Case[] = [
  {
    name: 'IPv4, the interface by its address',
    group: '239.10.20.30', by: '127.0.0.1', to: '239.10.20.30',
    options: { type: 'udp4', host: '0.0.0.0', multicastInterface: '127.0.0.1' },
  },
  {
    name: 'IPv4, the interface by its name',
    group: '239.10.20.31', by: LOOPBACK ?? 'lo', to: '239.10.20.31',
    options: { type: 'udp4', host: '0.0.0.0', multicastInterface: LOOPBACK },
  },
  {
    name: 'IPv4 on a socket for both families',
    group: '239.10.20.32', by: '127.0.0.1', to: '239.10.20.32',
    options: { host: undefined, multicastInterface: '127.0.0.1' },
  },
  {
    name: 'IPv6 on the loopback interface',
    group: 'ff12::1234', by: LOOPBACK ?? 'lo', to: `ff12::1234%${LOOPBACK}`,
    options: { type: 'udp6', host: '::', multicastInterface: LOOPBACK },
  },
  {
    // No hops: what is sent doesn't leave this machine.
    name: 'IPv6', group: 'ff12::1235', by: LINK ?? '', to: `ff12::1235%${LINK}`,
    options: { type: 'udp6', host: '::', multicastInterface: LINK, multicastTTL: 0 },
  },
]

/** Joins and leaves; returns why that is not possible here. */
async function joinAndLeave(t: Test, station: Station, one: Case): Promise<string | undefined> {
  const { group, by, options, to } = one
  let bound
  try {
    bound = await station.bind(options)
    bound[0].join(group, by)
  } catch (error) {
    return `the kernel refuses to join: ${(error as Error).message}`
  }
  const [member, log, port] = bound
  const [sender, senderLog] = await station.bind(options)
  sender.send('first', to, port)
  for (let i = 0; i < 100 && log.received.length + senderLog.failures.length === 0; i++) await sleep(5)
  if (senderLog.failures.length > 0) return `the kernel refuses to send: ${senderLog.codes.join()}`
  if (log.received.length === 0) return 'the loopback interface does not carry multicast'
  t.strictSame(log.texts, ['first'])
  member.leave(group, by)
  sender.send('second', to, port)
  sender.send('unicast', options.type === 'udp6' ? '::1' : '127.0.0.1', port)
  await until(() => log.received.length === 2)
  t.strictSame(log.texts, ['first', 'unicast'])
  const error = { code: 'EADDRNOTAVAIL', syscall: 'dropMembership', address: group }
  t.throws(() => { member.leave(group, by) }, error)
  return undefined
}

for (const one of CASES) {
  onEveryUdpTransport(`joining and leaving, ${one.name}`, async (t, open) => {
    const refusal = await joinAndLeave(t, open(), one)
    if (refusal !== undefined) t.pass(`skipped: ${refusal}`, { skip: refusal })
  }, LOOPBACK === undefined ? 'no loopback interface' : false)
}

onEveryUdpTransport('memberships that cannot be', async (t, open) => {
  const station = open()
  const [socket] = await station.bind({ type: 'udp4', host: '0.0.0.0' })
  const refused = (group: string, by?: string): string | undefined => {
    try {
      socket.join(group, by)
      return undefined
    } catch (error) {
      return (error as SocketError).code
    }
  }
  t.equal(refused('not an address'), 'EINVAL')
  t.equal(refused('127.0.0.1', '127.0.0.1'), 'EINVAL')
  t.equal(refused('239.1.2.3', 'no-such-interface'), 'ENODEV')
})

onEveryUdpTransport('without multicastLoopback the own machine hears nothing', async (t, open) => {
  const station = open()
  const options = {
    type: 'udp4', host: '0.0.0.0', multicastInterface: OUTSIDE, multicastTTL: 0,
  } as const
  const [member, log, port] = await station.bind(options)
  try {
    member.join('239.10.20.33', OUTSIDE)
  } catch (error) {
    t.pass('skipped', { skip: `the kernel refuses to join: ${(error as Error).message}` })
    return
  }
  const [loud] = await station.bind(options)
  loud.send('heard', '239.10.20.33', port)
  const [sender] = await station.bind({ ...options, multicastLoopback: false })
  sender.send('unheard', '239.10.20.33', port)
  sender.send('unicast', '127.0.0.1', port)
  await until(() => log.received.length > 1)
  await sleep(20)
  t.strictSame(log.texts, ['heard', 'unicast'])
}, OUTSIDE === undefined ? 'no interface to the outside' : false)
