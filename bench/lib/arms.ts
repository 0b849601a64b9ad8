/**
 * The arms: one entry per server that is measured. To add a peer, add an entry.
 *
 * Each arm is a program of its own that binds to 127.0.0.1, takes `--port 0`, and prints
 * `listening on HOST:PORT`; before that `version: TEXT`, if it likes, or `skip: REASON` instead.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { benchCertificate, benchKey, benchBuild, benchServers, benchSources } from './paths.js'
import { bun, deno, installedProgram, packageProgram, type Found } from './peers.js'
import type { ArmKind } from './result.js'
import type { Service } from './scenarios.js'

/** What a server is given that has to be configured. */
export interface Surroundings {
  /** A free port of 127.0.0.1. */
  readonly port: number
  /** An empty folder of its own, which goes with it. */
  readonly folder: string
  /** The port of the server behind a balancer; 0 for others. */
  readonly backend: number
  readonly program: string
}

/** How a server is started that needs more than arguments that are known beforehand. */
export interface Launch {
  readonly args: readonly string[]
  /** Where it listens, if it doesn't say so: then it is ready when it can be connected to. */
  readonly port?: number
}

export type Arguments = readonly string[] | ((surroundings: Surroundings) => Launch)

export interface Arm {
  readonly name: string
  /** As the tables show it. */
  readonly title: string
  readonly kind: ArmKind
  /** The arm that this one is identical to; the two measure the noise. */
  readonly twinOf?: string
  /** What runs the server: Node, another runtime, the server itself. Asked once, before it is needed. */
  readonly runtime: () => Found | Promise<Found>
  /** Arguments of the runtime, for each service that the arm has; or what makes them when a server is started. */
  readonly servers: Partial<Record<Service, Arguments>>
  readonly environment?: Readonly<Record<string, string>>
  /** It is here for the reason that it can't be measured. */
  readonly never?: boolean
  /** An arm that this machine may lack: that it doesn't start is no failure. */
  readonly optional?: boolean
}

const bind = ['--host', '127.0.0.1', '--port', '0']
const peer = (file: string): string => join(benchSources, 'peers', file)
const secured = ['--cert', benchCertificate, '--key', benchKey]
const node = (): Found => ({ program: process.execPath })

/** One of our servers, run with these options: by default the one for TCP echoes. */
function ours(
  name: string, title: string, options: readonly string[], services: readonly Service[] = ['echo'],
): Arm {
  const files: Partial<Record<Service, string>> = {
    echo: 'echo.js', chat: 'chat.js', udp: 'udp-echo.js', frames: 'frames.js', tls: 'echo.js',
  }
  const servers = Object.fromEntries(services.map((service) => {
    const program = [join(benchServers, files[service] ?? ''), ...bind, ...options]
    return [service, service === 'tls' ? [...program, ...secured] : program]
  }))
  return { name, title, kind: 'ours', runtime: node, servers }
}

const nodeTls = [peer('node-tls-echo.mjs'), ...secured, ...bind]

const ALL_SERVICES: readonly Service[] = ['echo', 'chat', 'udp', 'frames', 'tls']

/** A C program of ours, built by bench/Makefile. */
function limit(name: string, title: string, file: string, service: Service = 'echo'): Arm {
  const program = join(benchBuild, file)
  return {
    name,
    title,
    kind: 'limit',
    runtime: () => (existsSync(program) ? { program } : { reason: `${file} could not be built` }),
    servers: { [service]: bind },
  }
}

/** One scheduler, as there is one CPU; and none that spins when idle, as CPU is what is measured. */
const ERLANG_FLAGS = '+S 1:1 +sbwt none +sbwtdcpu none +sbwtdio none'

export const arms: readonly Arm[] = [
  ours('epoll', 'marketplace, epoll', ['--backend', 'epoll'], ALL_SERVICES),
  {
    ...ours('io_uring', 'marketplace, io_uring', ['--backend', 'io_uring'], ALL_SERVICES),
    optional: true,
  },
  ours('node', "marketplace on Node's sockets", ['--transport', 'node'], ALL_SERVICES),
  ours('borrowed', 'marketplace, epoll, borrowed', ['--backend', 'epoll', '--buffers', 'borrowed']),
  {
    ...ours('busy-poll', 'marketplace, busy-poll 50 us', ['--busy-poll', '50']),
    optional: true,
  },
  ours('nested-1', 'marketplace, epoll, 1 VM deep', ['--backend', 'epoll', '--depth', '1']),
  ours('nested-2', 'marketplace, epoll, 2 VMs deep', ['--backend', 'epoll', '--depth', '2']),
  ours('nested-5', 'marketplace, epoll, 5 VMs deep', ['--backend', 'epoll', '--depth', '5']),
  // It listens, and nobody looks.
  {
    ...ours('inspected', 'marketplace, epoll, with an inspector', ['--backend', 'epoll']),
    environment: { MARKETPLACE_INSPECT: '1' },
  },
  ours('tcp', 'marketplace, epoll, flow-controlled', ['--backend', 'epoll', '--driver', 'tcp']),
  {
    name: 'node-tls',
    title: 'node:tls, no VM',
    kind: 'peer',
    runtime: node,
    servers: { tls: nodeTls },
  },
  {
    name: 'tls-over-net',
    title: 'node:tls over marketplace-native/net, no VM',
    kind: 'peer',
    runtime: node,
    servers: { tls: [...nodeTls, '--over', 'marketplace-native/net'] },
  },
  {
    name: 'tls-module',
    title: 'marketplace-native/tls, no VM',
    kind: 'peer',
    runtime: node,
    servers: { tls: [...nodeTls, '--module', 'marketplace-native/tls'] },
  },
  {
    ...limit('c-tls', 'C epoll, OpenSSL', 'c-tls-echo', 'tls'),
    servers: { tls: [...secured, ...bind] },
  },
  ours('unframed', 'marketplace, epoll, bytes as they come', ['--backend', 'epoll', '--unframed'], ['frames']),
  {
    ...ours('unframed-io_uring', 'marketplace, io_uring, bytes as they come',
      ['--backend', 'io_uring', '--unframed'], ['frames']),
    optional: true,
  },
  {
    name: 'node-net',
    title: 'node:net, no VM',
    kind: 'peer',
    runtime: node,
    servers: {
      echo: [peer('node-net-echo.mjs'), ...bind],
      chat: [peer('node-net-chat.mjs'), ...bind],
      frames: [peer('node-net-frames.mjs'), ...bind],
    },
  },
  {
    name: 'net',
    title: 'marketplace-native/net, no VM',
    kind: 'ours',
    runtime: node,
    servers: { echo: [peer('node-net-echo.mjs'), ...bind, '--module', 'marketplace-native/net'] },
  },
  {
    name: 'bun',
    title: 'Bun.listen',
    kind: 'peer',
    runtime: () => packageProgram(bun),
    servers: { echo: [peer('bun-echo.mjs'), ...bind] },
  },
  {
    name: 'deno',
    title: 'Deno.listen',
    kind: 'peer',
    runtime: () => packageProgram(deno),
    servers: { echo: ['run', '--quiet', '--allow-net', peer('deno-echo.mjs'), ...bind] },
  },
  {
    name: 'python',
    title: 'Python asyncio',
    kind: 'peer',
    runtime: () => installedProgram('python3', 'Debian: python3'),
    servers: {
      echo: ['-B', peer('python-echo.py'), ...bind],
      chat: ['-B', peer('python-chat.py'), ...bind],
    },
  },
  {
    name: 'erlang',
    title: 'Erlang gen_tcp',
    kind: 'peer',
    runtime: () => {
      const erl = installedProgram('erl', 'Debian: erlang-base')
      return 'program' in erl ? installedProgram('escript', 'Debian: erlang-base') : erl
    },
    servers: {
      echo: [peer('erlang-echo.erl'), ...bind],
      chat: [peer('erlang-chat.erl'), ...bind],
    },
    environment: { ERL_FLAGS: ERLANG_FLAGS },
  },
  {
    name: 'uws',
    title: 'uWebSockets.js',
    kind: 'peer',
    runtime: () => ({
      reason: 'it is not on npm, and speaks WebSocket and HTTP only: there is no raw TCP to compare',
    }),
    servers: { echo: [] },
    never: true,
  },
  ours('udp-bare', 'the transport alone, epoll', ['--backend', 'epoll', '--bare'], ['udp']),
  {
    ...ours('udp-bare-io_uring', 'the transport alone, io_uring', ['--backend', 'io_uring', '--bare'], ['udp']),
    optional: true,
  },
  {
    name: 'node-dgram',
    title: 'node:dgram, no VM',
    kind: 'peer',
    runtime: node,
    servers: { udp: [peer('node-dgram-echo.mjs'), ...bind] },
  },
  limit('c-mmsg', 'C recvmmsg, sendmmsg', 'c-mmsg-echo', 'udp'),
  { ...limit('c-mmsg-twin', 'C recvmmsg, sendmmsg, again', 'c-mmsg-echo', 'udp'), twinOf: 'c-mmsg' },
  limit('c-epoll', 'C epoll', 'c-epoll-echo'),
  { ...limit('c-epoll-twin', 'C epoll, again', 'c-epoll-echo'), twinOf: 'c-epoll' },
  { ...limit('c-io_uring', 'C io_uring', 'c-uring-echo'), optional: true },
]

/** The scenario's arms, or those asked for that can serve it; twins with their originals. */
export function selectArms(
  usual: readonly string[],
  service: Service,
  names: readonly string[] | undefined,
  all: readonly Arm[] = arms,
): Arm[] {
  const wanted = names ?? usual
  return all.filter(
    (arm) =>
      arm.servers[service] !== undefined &&
      (wanted.includes(arm.name) || wanted.includes(arm.twinOf ?? '')),
  )
}
