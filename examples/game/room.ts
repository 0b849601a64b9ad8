/**
 * The room: the one process that knows the world. It hears who plays by presence and where they steer by messages, lets
 * time go on, and tells what has changed, area by area. It knows no connections.
 */
import { _, endpoint, every, quit, sendMessage, type ActionTree } from 'marketplace-native'
import { stopping } from '../support/run.js'
import { writeArea } from './protocol.js'
import { areaDelta, areaSnapshot, looks, player, steers, ticked } from './records.js'
import { World, type Entity, type WorldOptions } from './world.js'

const tellView = ({ number, viewColumn, viewRow }: Entity): ActionTree =>
  sendMessage(looks(number, viewColumn, viewRow))

export const room = (options: WorldOptions): ActionTree => {
  const world = new World(options)
  const frames = every(1000 / options.rate)
  let last = 0

  const tick = (number: number): ActionTree => {
    const began = performance.now()
    const views: ActionTree[] = []
    const changed = world.step(number - last, (entity) => { views.push(tellView(entity)) })
    last = number
    const deltas = changed.map((area) => {
      const bytes = writeArea('delta', area)
      area.forget()
      return sendMessage(areaDelta(area.column, area.row, bytes))
    })
    // Views after deltas: a snapshot that somebody gets for a new view has these steps in it already.
    return [deltas, views, sendMessage(ticked(number, began, world.size))]
  }

  return [
    endpoint.subscriber(player(_), {
      interest: 'observer',
      onPresence: ({ number }) => tellView(world.add(number)),
      onAbsence: ({ number }) => { world.remove(number) },
    }),
    endpoint.subscriber(steers(_, _, _), {
      onMessage: ({ number, x, y }) => { world.steer(number, x, y) },
    }),
    endpoint.publisher(areaSnapshot(_, _, _, _), {
      interest: 'observer',
      onPresence: ({ number, column, row }) => {
        const area = world.area(column, row)
        return area && sendMessage(areaSnapshot(number, column, row, writeArea('snapshot', area.everything)))
      },
    }),
    endpoint.subscriber([frames, _], { onMessage: ([, number]) => tick(number) }),
    endpoint.subscriber(stopping(_), { onPresence: () => quit() }),
  ]
}
