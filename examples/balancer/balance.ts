/** The balancer's processes: one for each backend, one for each client, one that chooses. */
import {
  _, endpoint, quit, spawn, tcpAddress, tcpChannel, tcpError, tcpListener, tcpListening, type Action, type ActionTree,
  type FlowControlledTcpOptions, type TcpAddress,
} from 'marketplace-native'
import { backend } from './backend.js'
import { chooser, type Strategy } from './choose.js'
import { Forward, type ForwardOptions } from './forward.js'
import { addBackend, nameOf } from './records.js'
import { stopping } from '../support/run.js'

export interface BalancerOptions extends ForwardOptions {
  readonly backends: readonly TcpAddress[]
  readonly strategy?: Strategy
  /** Milliseconds between checks of a backend. */
  readonly interval?: number
}

/**
 * What the TCP driver has to be told. Half-closed connections stay open, for that is passed on; and nobody is
 * cut off for reading slowly: how much waits is bounded by the window.
 */
export const driverOptions: FlowControlledTcpOptions = {
  allowHalfOpen: true, connectTimeout: 2_000, closeTimeout: 600_000,
}

const listen = (port: number, options: ForwardOptions): ActionTree => {
  let here: TcpAddress
  return [
    endpoint.subscriber(tcpListening(tcpListener(port), _), {
      onPresence: ({ address }) => { here = address },
    }),
    // Who was to say for whom it speaks, and did not, or wrongly.
    endpoint.subscriber(tcpError(tcpListener(port), _, _), {
      onMessage: ({ remote, error }) => {
        if (tcpAddress.is(remote)) options.log(`client ${nameOf(remote)} refused: ${error.message}`)
      },
    }),
    endpoint.subscriber(tcpChannel(_, tcpListener(port), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) =>
        spawn(() => new Forward(them, us, here, options).boot(), { name: 'client' }),
    }),
    endpoint.subscriber(stopping(_), { onPresence: () => quit() }),
  ]
}

/** Starts a balancer. Beside it there have to be the drivers `tcp` and `timer`. */
export const balancer = (port: number, options: BalancerOptions): Action[] => {
  const { backends, strategy = 'round-robin', interval = 1_000, log } = options
  const add = (at: TcpAddress) =>
    spawn(() => backend(at, interval, log), { name: `backend ${nameOf(at)}` })
  return [
    spawn(() => chooser(strategy, log), { name: 'chooser' }),
    spawn(() => endpoint.subscriber(addBackend(_), { onMessage: ({ at }) => add(at) }), { name: 'backends' }),
    ...backends.map(add),
    spawn(() => listen(port, options), { name: 'listener' }),
  ]
}
