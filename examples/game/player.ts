/**
 * A player: the process between one connection and the room. It checks what comes, and passes on what the areas around
 * it have to tell. Whatever happens to it concerns its own connection, and nobody else's.
 */
import {
  _, deleteEndpoint, endpoint, quit, sendMessage, transition, wsChannel, wsClose, type ActionTree, type WsEnd,
} from 'marketplace-native'
import { stopping } from '../support/run.js'
import { Pace } from './pace.js'
import { readMove, writeView, writeWelcome } from './protocol.js'
import { areaDelta, areaSnapshot, looks, player, steers } from './records.js'

/** Moves of a player per second, and at once: a network may hold back some, and bring them all together. */
const MOVES = { perSecond: 60, atOnce: 120 }
/** Codes of RFC 6455 for who is sent away. */
const CLOSE = { stops: 1001, text: 1003, wrong: 1008 }

/** The areas that somebody hears: two by two, from this one on. */
interface View {
  readonly column: number
  readonly row: number
}

const areasOf = ({ column, row }: View): View[] =>
  [[0, 0], [1, 0], [0, 1], [1, 1]].map(([right, down]) => ({ column: column + right, row: row + down }))

const isIn = (view: View | undefined, { column, row }: View): boolean =>
  view !== undefined && column >= view.column && column <= view.column + 1 && row >= view.row && row <= view.row + 1

export const playerSession = (number: number, them: WsEnd, us: WsEnd, { areas, rate }: {
  readonly areas: number
  readonly rate: number
}) => {
  const pace = new Pace(MOVES.perSecond, MOVES.atOnce, performance.now())
  const tell = (bytes: Uint8Array): ActionTree => sendMessage(wsChannel(us, them, bytes))
  const end = (code: number, why: string): ActionTree => [sendMessage(wsChannel(us, them, wsClose(code, why))), quit()]

  const heard = (message: string | Buffer): ActionTree => {
    if (!pace.allows(performance.now())) return end(CLOSE.wrong, 'too many moves')
    const move = readMove(message)
    if (move !== undefined) return sendMessage(steers(number, move.x, move.y))
    return typeof message === 'string' ? end(CLOSE.text, 'a move is binary') : end(CLOSE.wrong, 'that is no move')
  }

  /** First what changes, then what is there: whatever happens between is in both, or in neither. */
  const listen = ({ column, row }: View): ActionTree => [
    endpoint.subscriber(areaDelta(column, row, _), {
      name: ['delta', column, row], onMessage: ({ bytes }) => tell(bytes),
    }),
    endpoint.subscriber(areaSnapshot(number, column, row, _), {
      name: ['snapshot', column, row], onMessage: ({ bytes }) => tell(bytes),
    }),
  ]
  const leave = ({ column, row }: View): ActionTree =>
    [deleteEndpoint(['delta', column, row]), deleteEndpoint(['snapshot', column, row])]

  return transition<View | undefined>(
    undefined, // the state: the areas that it hears
    endpoint.subscriber(wsChannel(them, us, _), {
      onMessage: ({ message }) => heard(message),
      onAbsence: () => quit(),
    }),
    tell(writeWelcome(number, areas, rate)),
    endpoint.subscriber(looks(number, _, _), {
      onMessage: ({ column, row }, before: View | undefined) => {
        const now = { column, row }
        return transition<View | undefined>(
          now,
          tell(writeView(column, row)),
          before && areasOf(before).filter((area) => !isIn(now, area)).map(leave),
          areasOf(now).filter((area) => !isIn(before, area)).map(listen),
        )
      },
    }),
    endpoint.publisher(player(number)),
    endpoint.subscriber(stopping(_), { onPresence: () => end(CLOSE.stops, 'the server stops') }),
  )
}
