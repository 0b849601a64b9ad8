/** Stacks of errors point into the program; `NODE_DEBUG=marketplace` says what goes on. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import {
  endpoint, fromChannel, groundVm, hexDump, httpReply, prometheusText, serve, spawn, spy, supervise, tcpAddress,
  tcpBare, tlsCredentials, udp,
} from 'marketplace-native'
import net from 'marketplace-native/net'
import tls from 'marketplace-native/tls'

const run = promisify(execFile)
const ROOT = fileURLToPath(new URL('../../..', import.meta.url))

/** The place that an error's stack begins with. */
function firstFrame(call: () => unknown): string {
  try {
    call()
  } catch (error) {
    return /^ +at .*$/m.exec((error as Error).stack ?? '')?.[0] ?? 'no frame'
  }
  return 'no error'
}

void t.test('errors of wrong arguments begin where the mistake is', async (t) => {
  const wrong = 5 as never
  const socket = new net.Socket()
  const calls: Record<string, () => unknown> = {
    spawn: () => spawn(wrong),
    groundVm: () => groundVm(wrong),
    subscriber: () => endpoint.subscriber('x', { onMessage: wrong }),
    tcpBare: () => tcpBare({ backlog: -1 }),
    'tcpBare, unknown': () => tcpBare({ baklog: 1 } as never),
    udp: () => udp(wrong),
    fromChannel: () => fromChannel(wrong, wrong, wrong),
    prometheusText: () => prometheusText(wrong),
    hexDump: () => hexDump(wrong),
    tlsCredentials: () => tlsCredentials(wrong),
    'supervise, in a list': () => supervise([{ name: 'x', boot: () => [], restart: wrong }]),
    tcpAddress: () => tcpAddress(wrong, wrong),
    'spy, unknown': () => spy('SPY', { prnt: 1 } as never),
    'httpReply, of what Node checks': () => httpReply([1, 1], 200, '', { 'a b': '' }),
    'net.connect': () => net.connect({} as never),
    'net.connect, port': () => net.connect(70_000),
    'net.Socket.setTimeout': () => socket.setTimeout('x' as never),
    'net.Socket.connect': () => socket.connect({ port: 1, localAddress: 'x' }),
    'tls.connect': () => tls.connect({ port: 70_000 }),
    'tls.Server.setTicketKeys': () => { tls.createServer().setTicketKeys(Buffer.alloc(1)) },
    'serve, without its module': () => serve({ module: './there-is-none.js' }),
  }
  for (const [name, call] of Object.entries(calls)) {
    t.match(firstFrame(call), /stacks\.test\.[jt]s/, name)
  }
})

void t.test('what the program itself has called us from is kept', async (t) => {
  t.match(firstFrame(() => [5].map((value) => spawn(value as never))), /stacks\.test\.[jt]s/)
  t.match(firstFrame(() => [5].map(spawn as never)), /Array\.map/)
})

const PROGRAM = `
  import { groundVm, spawn, endpoint, sendMessage } from 'marketplace-native'
  const oops = () => { throw new Error('oops') }
  await groundVm(() => spawn(() => [endpoint.subscriber('x', { onMessage: oops }), sendMessage('x')]))
`

async function stderrOf(env: NodeJS.ProcessEnv): Promise<string> {
  const args = ['--input-type=module', '--eval', PROGRAM]
  const clean = { ...process.env, NODE_DEBUG: '', MARKETPLACE_LOG: '', NODE_OPTIONS: '', ...env }
  const { stderr } = await run(process.execPath, args, { env: clean, cwd: ROOT })
  return stderr
}

void t.test('an error in a handler begins in the handler', async (t) => {
  const stderr = await stderrOf({})
  t.match(stderr, /^\S+Z marketplace error: process 1 failed .* reason=Error: oops\n +at .*\[eval1?\]/)
})

void t.test('NODE_DEBUG=marketplace', async (t) => {
  t.notMatch(await stderrOf({}), /starting/)
  t.notMatch(await stderrOf({ NODE_DEBUG: 'net' }), /MARKETPLACE/)
  const stderr = await stderrOf({ NODE_DEBUG: 'marketplace' })
  t.match(stderr, /^MARKETPLACE \d+: debug: process 0 \(main\) starting$/m)
  t.match(stderr, /^MARKETPLACE \d+: error: process 1 failed .* reason=Error: oops$/m)
})
