/**
 * Peers that can't be reached and peers that never answer. What the kernel says of those depends on the
 * machine's network, so each program runs in a network namespace of its own, where one can be made.
 */
import { spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { VARIANTS } from '../support/transports.js'
import type { SocketError } from '../../src/transport/seam/transport.js'
import { NO_PYTHON } from './peers.js'
import { patient } from '../support/patience.js'

const PROGRAM = fileURLToPath(new URL('./connect-and-tell.js', import.meta.url))

/** A network with no way out, in which an attempt without an answer is given up after three seconds. */
const SETUP = `
ip link set lo up &&
ip route add unreachable 192.0.2.0/24 &&
ip route add prohibit 198.51.100.0/24 &&
echo 1 > /proc/sys/net/ipv4/tcp_syn_retries || exit 9
if [ -e /proc/sys/net/ipv4/tcp_syn_linear_timeouts ]; then
  echo 0 > /proc/sys/net/ipv4/tcp_syn_linear_timeouts
fi
`

const inNamespace = (script: string, ...args: string[]): SpawnSyncReturns<string> =>
  spawnSync('unshare', ['-rn', 'sh', '-c', script, 'sh', ...args], { encoding: 'utf8', timeout: patient(30_000) })

function whyNot(): string | false {
  const { status, stderr, error } = inNamespace(SETUP)
  if (status === 0) return NO_PYTHON
  const [line] = (error?.message ?? stderr).split('\n', 1)
  return `no network namespace can be made here: ${line}`
}
const skipped = whyNot()

for (const { name, skip } of VARIANTS) {
  void t.test(`${name}: unreachable, prohibited, late`, { skip: skip || skipped, timeout: patient(60_000) }, (t) => {
    const run = inNamespace(`${SETUP} exec "$@"`, process.execPath, PROGRAM, name)
    t.equal(run.status, 0, run.stderr)
    const errors = JSON.parse(run.stdout) as Record<string, SocketError & { turns: number }>
    t.match(errors.network, { code: 'ENETUNREACH', syscall: 'connect', address: '203.0.113.1', port: 80 })
    t.match(errors.host, { code: 'EHOSTUNREACH', syscall: 'connect', address: '192.0.2.1', port: 80 })
    t.match(errors.prohibited, { code: 'EACCES', syscall: 'connect', address: '198.51.100.1', port: 80 })
    t.match(errors.late, { code: 'ETIMEDOUT', syscall: 'connect', address: '127.0.0.1' })
    for (const error of Object.values(errors)) t.ok(error.errno < 0)
    t.ok(errors.late.turns < 100, `waiting for an answer takes ${errors.late.turns} turns`)
    t.end()
  })
}
