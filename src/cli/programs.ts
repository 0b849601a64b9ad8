/**
 * The one place where the command line meets the programs of `examples/`.
 *
 * STAND-IN: until the drivers exist these run on the bare transport, without the VM. To be wired to
 * `groundVm`; what `StartServer` and `StartClient` promise is all that the commands rely on.
 */
import type { Readable, Writable } from 'node:stream'
import type { Transport, TransportConnection } from '../transport/transport.js'

/** A running program, as `groundVm` returns it: a promise of its end that can be asked to end. */
export interface RunningProgram extends PromiseLike<unknown> {
  stop(reason?: unknown): unknown
}

export interface ServerWiring {
  /** Not opened yet. The program opens it; the command closes it when the program has ended. */
  readonly transport: Transport
  readonly host: string
  readonly port: number
}

export interface ClientWiring extends ServerWiring {
  readonly input: Readable
  readonly output: Writable
}

export type StartServer = (wiring: ServerWiring) => RunningProgram
export type StartClient = (wiring: ClientWiring) => RunningProgram

function program(start: (end: () => void) => () => void): RunningProgram {
  let stop: () => void = () => undefined
  const end = new Promise<void>((resolve) => { stop = start(resolve) })
  return Object.assign(end, { stop: () => { stop() } })
}

function serve(
  { transport, host, port }: ServerWiring,
  said: (connection: TransportConnection, all: Set<TransportConnection>, data: Buffer) => void,
): RunningProgram {
  const all = new Set<TransportConnection>()
  return program((end) => {
    transport.open((events) => {
      for (const { kind, connection, data } of events) {
        if (connection === undefined) continue
        if (kind === 'accepted') all.add(connection)
        else if (kind === 'data' && data !== undefined) said(connection, all, data)
        else if (kind === 'end') connection.close()
        else if (kind === 'closed') all.delete(connection)
      }
    })
    transport.listen({ host, port })
    return () => void transport.close().then(end)
  })
}

export const startEcho: StartServer = (wiring) => serve(wiring, (connection, _all, data) => {
  connection.write(data)
})

export const startChat: StartServer = (wiring) => serve(wiring, (connection, all, data) => {
  for (const other of all) if (other !== connection) other.write(data)
})

export const startChatClient: StartClient = ({ transport, host, port, input, output }) => program((end) => {
  transport.open((events) => {
    for (const { kind, connection, data } of events) {
      if (kind === 'data') output.write(data)
      else if (kind === 'end') connection?.close()
      else if (kind === 'closed') end()
    }
  })
  const connection = transport.connect({ host, port })
  input.on('data', (data: Buffer) => { connection.write(data) })
  input.on('end', () => { connection.shutdown() })
  return () => { connection.close() }
})
