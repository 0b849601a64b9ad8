/** The PROXY protocol as HAProxy and nginx speak it, where they are installed. */
import { onBoth, server } from './tcp-program.js'
import { spawn, spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type AddressInfo } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import {
  _, endpoint, sendMessage, tcpAddress, tcpChannel, tcpProxied, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { readAll, sleep } from '../support/util.js'

/** Why a program can't be run; false if it can. */
function missing(program: string, ...version: readonly string[]): string | false {
  return spawnSync(program, version).error === undefined ? false : `${program} is not installed`
}

async function freePort(): Promise<number> {
  const listener = createServer().listen(0, '127.0.0.1')
  await once(listener, 'listening')
  const { port } = listener.address() as AddressInfo
  await new Promise((resolve) => listener.close(resolve))
  return port
}

/** Says who the client is and what the balancer has said of it, and ends. */
const teller = (them: TcpEnd, us: TcpEnd): ActionTree => {
  let version = 0
  return [
    endpoint.subscriber(tcpProxied(them, us, _), { onPresence: ({ header }) => { version = header.version } }),
    endpoint.subscriber(tcpChannel(them, us, _), {
      onMessage: ({ subpacket }) => typeof subpacket !== 'symbol' && [
        sendMessage(tcpChannel(us, them, `v${version} ${tcpAddress.is(them) ? them.port : '?'} ${String(subpacket)}`)),
      ],
    }),
  ]
}

/**
 * A balancer with this configuration.
 *
 * @param run its command, with the file's path in the place of %
 * @returns whether it has ended
 */
function balancer(t: Test, config: (folder: string) => string, run: readonly string[]): () => boolean {
  const folder = mkdtempSync(join(tmpdir(), 'marketplace-'))
  const file = join(folder, 'config')
  // HAProxy wants its last line to end.
  writeFileSync(file, `${config(folder)}\n`)
  const [command, ...args] = run.map((word) => (word === '%' ? file : word))
  const child = spawn(command, args, { stdio: 'ignore' })
  const over = once(child, 'exit')
  t.teardown(async () => {
    child.kill('SIGTERM')
    await over
    rmSync(folder, { recursive: true })
  })
  return () => child.exitCode !== null
}

/** What the server says to a client of the balancer, and the port that the client has. */
async function ask(port: number, isOver: () => boolean): Promise<{ said: string, mine: number }> {
  while (!isOver()) {
    const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true })
    const connected = await new Promise<boolean>((resolve) => {
      socket.on('connect', () => { resolve(true) }).on('error', () => { resolve(false) })
    })
    if (!connected) {
      await sleep(20) // it is not there yet
      continue
    }
    const { port: mine } = socket.address() as AddressInfo
    socket.write('hello')
    const said = await new Promise<string>((resolve) => socket.once('data', (data) => { resolve(data.toString()) }))
    socket.end()
    await readAll(socket)
    return { said, mine }
  }
  throw new Error('the balancer has ended')
}

for (const [version, word] of [[1, 'send-proxy'], [2, 'send-proxy-v2']] as const) {
  onBoth(`haproxy, version ${version}`, async (t, start) => {
    const program = start(() => server(teller), { proxy: { from: ['127.0.0.1'] } })
    const [there, here] = [await program.port(), await freePort()]
    const isOver = balancer(t, () => `
      defaults
        mode tcp
        timeout connect 5s
        timeout client 30s
        timeout server 30s
      frontend in
        bind 127.0.0.1:${here}
        default_backend out
      backend out
        server one 127.0.0.1:${there} ${word}
    `, ['haproxy', '-f', '%'])
    for (let i = 0; i < 3; i++) {
      const { said, mine } = await ask(here, isOver)
      t.equal(said, `v${version} ${mine} hello`)
    }
    t.strictSame(program.errors, [])
  }, missing('haproxy', '-v'))
}

onBoth('nginx', async (t, start) => {
  const program = start(() => server(teller), { proxy: { from: ['127.0.0.1'] } })
  const [there, here] = [await program.port(), await freePort()]
  const isOver = balancer(t, (folder) => `
    daemon off;
    pid ${folder}/pid;
    error_log ${folder}/errors;
    include /usr/share/nginx/modules-available/mod-stream.conf;
    events {}
    stream {
      server {
        listen 127.0.0.1:${here};
        proxy_pass 127.0.0.1:${there};
        proxy_protocol on;
      }
    }
  `, ['nginx', '-c', '%'])
  const { said, mine } = await ask(here, isOver)
  t.equal(said, `v1 ${mine} hello`)
}, missing('nginx', '-v'))
