/** What the tests of TLS share: certificates, an echo server, clients of `node:tls`, and a relay between them. */
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Server, type Socket } from 'node:net'
import { connect as tlsConnect, type ConnectionOptions, type TLSSocket } from 'node:tls'
import t from 'tap'
import {
  _, endpoint, sendMessage, tcpChannel, tcpListener, tcpSecured, quit, type ActionTree, type TcpEnd, type TlsOptions,
} from 'marketplace-native'
import { makeCertificate } from '../support/certificates.js'
import { VARIANTS } from '../support/variants.js'
import { host, onBoth, server, type Body, type Program } from './tcp-program.js'

export const authority = makeCertificate({ name: 'authority of a test', authority: true })
export const own = makeCertificate({ by: authority })
/** What a server is told. */
export const shown: TlsOptions = { key: own.key, cert: own.cert }

/** Registers a test for the engine on each of its backends, and for `node:net`. */
export function onEach(name: string, body: Body): void {
  onBoth(name, async (t, start, transport) => {
    if (transport === 'node') return body(t, start, transport)
    for (const { name: variant, skip } of VARIANTS) {
      if (variant === 'node') continue
      if (skip !== false) {
        t.comment(`${variant}: ${skip}`)
        continue
      }
      const before = process.env['MARKETPLACE_BACKEND']
      process.env['MARKETPLACE_BACKEND'] = variant.replace('native ', '')
      try {
        await t.test(variant, (t) => body(t, start, transport))
      } finally {
        if (before === undefined) delete process.env['MARKETPLACE_BACKEND']
        else process.env['MARKETPLACE_BACKEND'] = before
      }
    }
  })
}

/** A server that sends back what it gets; it listens for `who` as well. */
export function echo(program: Program, more: () => ActionTree = () => undefined): ActionTree {
  return [
    endpoint.subscriber(tcpSecured(_, tcpListener(0), _), {
      interest: 'observer',
      onPresence: (fact) => { facts(program).push(fact.tls) },
    }),
    server((them: TcpEnd, us: TcpEnd) => [
      endpoint.subscriber(tcpChannel(them, us, _), program.notes(
        'session', ({ subpacket }) => sendMessage(tcpChannel(us, them, subpacket)),
      )),
      endpoint.subscriber(tcpChannel(them, us, _), { name: 'end', onAbsence: () => quit() }),
      more(),
    ]),
  ]
}

const told = new WeakMap<Program, unknown[]>()

/** What was told of the connections' TLS. */
export function facts(program: Program): unknown[] {
  const list = told.get(program) ?? []
  told.set(program, list)
  return list
}

/** A client of `node:tls` whose handshake is over. */
export async function secureClient(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  const all = { port, host, ca: authority.cert, servername: 'localhost', allowHalfOpen: true, ...options }
  const socket = tlsConnect(all)
  await once(socket, 'secureConnect')
  return socket
}

/** The error that a client of `node:tls` ends with; undefined if it just ends. */
export function refusedClient(port: number, options: ConnectionOptions = {}): Promise<Error | undefined> {
  const socket = tlsConnect({ port, host, ca: authority.cert, servername: 'localhost', ...options })
  return new Promise((resolve) => {
    socket.on('error', resolve)
    socket.on('close', () => { resolve(undefined) })
    // With TLS 1.3 a client is done before the server has looked at its certificate.
    socket.on('secureConnect', () => { socket.resume() })
  })
}

/** One direction of a relay: what becomes of a piece. `undefined`: the connection is cut off here. */
export type Pass = (data: Buffer, from: Socket, to: Socket) => void

/** Stands between a client and a port, and passes what comes as it is told. @returns its port */
export async function relay(
  t: { teardown(end: () => void): void }, port: number, there: Pass, back: Pass,
): Promise<number> {
  const open = new Set<Socket>()
  const between: Server = createServer({ allowHalfOpen: true }, (near) => {
    const far = connect({ port, host, allowHalfOpen: true, noDelay: true })
    for (const [from, to, pass] of [[near, far, there], [far, near, back]] as const) {
      open.add(from)
      from.on('data', (data) => { pass(data, from, to) })
      from.on('end', () => { to.end() })
      from.on('error', () => undefined)
      from.on('close', () => { to.destroy() })
    }
  })
  between.listen(0, host)
  await once(between, 'listening')
  t.teardown(() => {
    between.close()
    for (const socket of open) socket.destroy()
  })
  return (between.address() as AddressInfo).port
}

export const straight: Pass = (data, _from, to) => { to.write(data) }

export { t }
