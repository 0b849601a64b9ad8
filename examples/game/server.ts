/** The game's server: who connects is a player; the page, the room, the figures. It needs `webSocket` beside it. */
import {
  _, endpoint, quit, spawn, wsChannel, wsListener, wsPeer, type ActionTree, type WebSocketOptions,
} from 'marketplace-native'
import { ownPageOnly, webPage } from '../support/page.js'
import { stopping } from '../support/run.js'
import { playerSession } from './player.js'
import { MOVE_MAX, NUMBER_MAX } from './protocol.js'
import { room } from './room.js'
import { tickMeter } from './ticks.js'
import type { WorldOptions } from './world.js'

/**
 * Of the driver. A player that doesn't read is let go when 128 KiB wait for it: what is so late is of no use to
 * anybody, and it holds up nobody else.
 */
export const socketOptions: WebSocketOptions = {
  origins: ownPageOnly,
  maxPayload: MOVE_MAX,
  maxInboxBytes: 64 * 1024,
  highWaterMark: 32 * 1024,
  maxQueuedBytes: 128 * 1024,
  maxQueuedBytesTotal: 64 * 1024 * 1024,
  maxBody: 1024,
  closeTimeout: 2000,
}

/** Numbers for connections, until these are gone. None is used again soon: what is on its way may speak of it yet. */
class Numbers {
  readonly #taken = new Map<number, number>()
  readonly #used = new Set<number>()
  #latest = 0

  /** @returns undefined if there is none left */
  give(connection: number): number | undefined {
    if (this.#used.size >= NUMBER_MAX) return undefined
    do this.#latest = this.#latest % NUMBER_MAX + 1
    while (this.#used.has(this.#latest))
    this.#used.add(this.#latest)
    this.#taken.set(connection, this.#latest)
    return this.#latest
  }

  free(connection: number): void {
    const number = this.#taken.get(connection)
    this.#taken.delete(connection)
    if (number !== undefined) this.#used.delete(number)
  }
}

const door = (port: number, world: WorldOptions): ActionTree => {
  const numbers = new Numbers()
  return [
    endpoint.subscriber(wsChannel(_, wsListener(port, '/play'), _), {
      interest: 'observer',
      onPresence: ({ source: them, destination: us }) => {
        const number = wsPeer.is(them) ? numbers.give(them.id) : undefined
        return number !== undefined
          && spawn(() => playerSession(number, them, us, world), { name: `player ${number}` })
      },
      onAbsence: ({ source: them }) => { if (wsPeer.is(them)) numbers.free(them.id) },
    }),
    endpoint.subscriber(stopping(_), { onPresence: () => quit() }),
  ]
}

export const gameServer = (port: number, page: string, world: WorldOptions): ActionTree => [
  spawn(() => tickMeter(world.rate), { name: 'ticks' }),
  spawn(() => room(world), { name: 'room', essential: true }),
  spawn(() => webPage(page), { name: 'page' }),
  spawn(() => door(port, world), { name: 'door', essential: true }),
]
