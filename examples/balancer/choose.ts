/**
 * Who gets which backend. All that is known comes by presence: which backends there are, and, as each
 * client's process is there for as long as it needs one, how many clients each of them has.
 */
import { _, endpoint, sendMessage, type ActionTree, type TcpAddress } from 'marketplace-native'
import { backendUp, nameOf, useBackend, wantsBackend, type Log } from './records.js'

export const STRATEGIES = ['round-robin', 'least-connections'] as const
export type Strategy = (typeof STRATEGIES)[number]

interface Known {
  readonly at: TcpAddress
  up: boolean
  clients: number
  /** When it was chosen last, counted in choices: whose turn it is, and what decides between equals. */
  last: number
}

export const chooser = (strategy: Strategy, log: Log): ActionTree => {
  const backends = new Map<string, Known>()
  const chosen = new Map<number, Known>()
  let choices = 0

  const forget = (backend: Known): void => {
    if (backend.up || backend.clients > 0) return
    backends.delete(nameOf(backend.at))
    log(`backend ${nameOf(backend.at)} has no clients left`)
  }
  const release = (client: number): void => {
    const backend = chosen.get(client)
    if (backend === undefined) return
    chosen.delete(client)
    backend.clients--
    forget(backend)
  }
  const choose = (client: number, tried: readonly TcpAddress[]): TcpAddress | undefined => {
    const names = tried.map(nameOf)
    const order = (a: Known, b: Known) =>
      (strategy === 'least-connections' ? a.clients - b.clients : 0) || a.last - b.last
    const free = [...backends.values()].filter(({ at, up }) => up && !names.includes(nameOf(at)))
    const [best] = free.sort(order)
    if (best === undefined) return undefined
    chosen.set(client, best)
    best.clients++
    best.last = ++choices
    return best.at
  }
  return [
    endpoint.subscriber(backendUp(_), {
      onPresence: ({ at }) => {
        const known = backends.get(nameOf(at))
        if (known === undefined) backends.set(nameOf(at), { at, up: true, clients: 0, last: 0 })
        else known.up = true
      },
      onAbsence: ({ at }) => {
        const known = backends.get(nameOf(at))
        if (known === undefined) return
        known.up = false
        forget(known)
      },
    }),
    endpoint.subscriber(wantsBackend(_, _), {
      onMessage: ({ client, tried }) => {
        release(client)
        return sendMessage(useBackend(client, choose(client, tried)))
      },
      onAbsence: ({ client }) => { release(client) },
    }),
  ]
}
