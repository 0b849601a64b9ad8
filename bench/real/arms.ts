/** The servers of `examples/`, and those that do the same: of Debian's packages, and on Node. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { arms as echoArms, type Arm } from '../lib/arms.js'
import { benchSources, benchServers, root } from '../lib/paths.js'
import { installedProgram, type Found } from '../lib/peers.js'
import { haproxy, mosquitto, nginxHttp, nginxStream, redis } from './configurations.js'

const here = ['--host', '127.0.0.1', '--port', '0']
const node = (): Found => ({ program: process.execPath })
const example = (name: string): string => join(root, 'dist', 'examples', `${name}.js`)
const peer = (file: string): string => join(benchSources, 'peers', file)

const ours: Arm = {
  name: 'ours',
  title: 'marketplace, epoll',
  kind: 'ours',
  runtime: node,
  environment: { MARKETPLACE_BACKEND: 'epoll' },
  servers: {
    redis: [example('redis'), ...here],
    balancer: ({ backend }) => ({
      args: [example('balancer'), ...here, '--quiet', '--backend', `127.0.0.1:${backend}`],
    }),
    mqtt: [example('mqtt'), ...here],
    http: [example('http'), ...here, '--quiet'],
    chat: [join(benchServers, 'chat.js'), ...here],
  },
}

/** Debian's package of a program, in `sbin` as well, where a user's PATH may not look. */
const debian = (program: string, ...packages: string[]) => (): Found => {
  const path = process.env.PATH ?? ''
  const hint = `apt-get install ${packages.join(' ')}`
  const found = installedProgram(program, hint, `${path}:/usr/sbin:/usr/local/sbin`)
  if ('reason' in found) return found
  // Some print it on stderr, and some only with the help.
  const { stdout, stderr } = spawnSync(found.program, [program === 'mosquitto' ? '-h' : '-v'], { encoding: 'utf8' })
  const version = /\d+\.\d+(\.\d+)?/.exec(stdout + stderr)?.[0]
  return version === undefined ? found : { ...found, version }
}

export const realArms: readonly Arm[] = [
  ours,
  { ...ours, name: 'ours-twin', title: 'marketplace, epoll, again', twinOf: 'ours' },
  {
    ...ours, name: 'ours-io_uring', title: 'marketplace, io_uring',
    environment: { MARKETPLACE_BACKEND: 'io_uring' }, optional: true,
  },
  {
    name: 'redis-server',
    title: 'redis-server',
    kind: 'peer',
    runtime: debian('redis-server', 'redis-server'),
    servers: { redis },
  },
  {
    name: 'haproxy',
    title: 'haproxy',
    kind: 'peer',
    runtime: debian('haproxy', 'haproxy'),
    servers: { balancer: haproxy },
  },
  {
    name: 'nginx',
    title: 'nginx',
    kind: 'peer',
    runtime: debian('nginx', 'nginx', 'libnginx-mod-stream'),
    servers: { balancer: nginxStream, http: nginxHttp },
  },
  {
    name: 'mosquitto',
    title: 'mosquitto',
    kind: 'peer',
    runtime: debian('mosquitto', 'mosquitto'),
    servers: { mqtt: mosquitto },
  },
  {
    name: 'node-net',
    title: 'node:net, no VM',
    kind: 'peer',
    runtime: node,
    servers: {
      redis: [join(root, 'dist', 'bench', 'peers', 'redis-net.js'), '0'],
      balancer: ({ backend }) => ({ args: [peer('node-net-balancer.mjs'), ...here, '--backend', String(backend)] }),
      chat: [peer('node-net-chat.mjs'), ...here],
    },
  },
  {
    name: 'node-http',
    title: 'node:http',
    kind: 'peer',
    runtime: node,
    servers: { http: [peer('node-http.mjs'), ...here] },
  },
  {
    name: 'aedes',
    title: 'aedes',
    kind: 'peer',
    runtime: node,
    servers: { mqtt: [peer('aedes.mjs'), ...here] },
  },
  // As in the other benchmarks.
  ...echoArms.filter(({ name }) => name === 'erlang'),
]
