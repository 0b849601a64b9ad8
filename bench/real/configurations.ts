/**
 * How the servers of others are run: as their documentation has it, without what ours don't do (logs, files on
 * disk), with one thread or worker, as there is one CPU.
 */
import { spawnSync } from 'node:child_process'
import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Launch, Surroundings } from '../lib/arms.js'

/** Connections that each of them has to take. */
const CONNECTIONS = 4096

function write(folder: string, name: string, lines: readonly string[]): string {
  // Some of them give up their rights before they read it.
  chmodSync(folder, 0o755)
  const file = join(folder, name)
  writeFileSync(file, `${lines.join('\n')}\n`)
  return file
}

export const redis = ({ port }: Surroundings): Launch => ({
  args: ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', '--daemonize', 'no',
    // The load generator has other addresses of the loopback net, too.
    '--protected-mode', 'no'],
  port,
})

export function haproxy({ port, folder, backend }: Surroundings): Launch {
  const file = write(folder, 'haproxy.cfg', [
    'global',
    `  maxconn ${CONNECTIONS}`,
    '  nbthread 1',
    'defaults',
    '  mode tcp',
    '  timeout connect 2s',
    '  timeout client 10m',
    '  timeout server 10m',
    'listen bench',
    `  bind 127.0.0.1:${port}`,
    `  server backend 127.0.0.1:${backend}`,
  ])
  return { args: ['-db', '-f', file], port }
}

/** Where it has its modules, and what all configurations of it share. */
function nginxHead({ program, folder }: Surroundings): { modules: string, head: string[] } {
  const { stderr } = spawnSync(program, ['-V'], { encoding: 'utf8' })
  const modules = /--modules-path=(\S+)/.exec(stderr)?.[1] ?? '/usr/lib/nginx/modules'
  const head = [
    'daemon off;',
    'worker_processes 1;',
    `pid ${join(folder, 'pid')};`,
    `events { worker_connections ${CONNECTIONS}; }`,
  ]
  return { modules, head }
}

function nginx({ folder, port }: Surroundings, lines: readonly string[]): Launch {
  const file = write(folder, 'nginx.conf', lines)
  return { args: ['-p', folder, '-e', 'stderr', '-c', file], port }
}

export function nginxStream(surroundings: Surroundings): Launch {
  const { modules, head } = nginxHead(surroundings)
  const { port, backend } = surroundings
  return nginx(surroundings, [
    `load_module ${join(modules, 'ngx_stream_module.so')};`,
    ...head,
    `stream { server { listen 127.0.0.1:${port}; proxy_pass 127.0.0.1:${backend}; } }`,
  ])
}

export function nginxHttp(surroundings: Surroundings): Launch {
  return nginx(surroundings, [
    ...nginxHead(surroundings).head,
    'http {',
    '  access_log off;',
    '  keepalive_requests 1000000000;',
    '  default_type text/plain;',
    `  server { listen 127.0.0.1:${surroundings.port}; location / { return 200 "hello, world\\n"; } }`,
    '}',
  ])
}

export function mosquitto({ port, folder }: Surroundings): Launch {
  const file = write(folder, 'mosquitto.conf', [
    `listener ${port} 127.0.0.1`,
    'allow_anonymous true',
    'persistence false',
    'log_dest none',
    'set_tcp_nodelay true',
    // A subscriber may leave more unacknowledged than it does here.
    'max_inflight_messages 0',
    'max_queued_messages 0',
  ])
  return { args: ['-c', file], port }
}
