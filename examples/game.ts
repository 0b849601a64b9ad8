/**
 * A game that is played in browsers: one server knows where everybody is, and says it 30 times a second.
 *
 *   node dist/examples/game.js --port 8090
 */
import { readFileSync } from 'node:fs'
import { pathToFileURL } from 'node:url'
import { webSocket } from 'marketplace-native'
import { gameServer, socketOptions } from './game/server.js'
import { AREA_POINTS, AREAS_MAX } from './game/world.js'
import { numberOf, runExample, type Values } from './support/run.js'

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '8090' },
  areas: { type: 'string', default: '8' },
  rate: { type: 'string', default: '30' },
  spread: { type: 'string', default: String(AREA_POINTS) },
  players: { type: 'string', default: '2000' },
  carrier: { type: 'string', default: 'auto' },
} as const

const usage = `usage: game.js [--host 127.0.0.1] [--port 8090]
  --areas 8         the world is so many areas wide and high, from 2 to ${AREAS_MAX}
  --rate 30         ticks per second, from 1 to 250
  --spread ${AREA_POINTS}     players arrive so far from the middle, in points; an area is ${AREA_POINTS} wide
  --players 2000    more are turned away
  --carrier auto    of WebSockets: uws, ws, or auto`

const between = (values: Values, name: string, least: number, most: number): number => {
  const number = numberOf(values, name, most)
  if (number < least) throw new Error(`--${name} takes a whole number from ${least} to ${most}, not "${number}"`)
  return number
}

const carrierOf = ({ carrier }: Values): 'auto' | 'uws' | 'ws' => {
  if (carrier === 'auto' || carrier === 'uws' || carrier === 'ws') return carrier
  throw new Error(`--carrier takes uws, ws or auto, not "${String(carrier)}"`)
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runExample({
    usage,
    options,
    hint: (host, port) => `in a browser: http://${host}:${port}/`,
    boot: (values) => {
      const players = between(values, 'players', 1, 60_000)
      const world = {
        areas: between(values, 'areas', 2, AREAS_MAX),
        rate: between(values, 'rate', 1, 250),
        spread: numberOf(values, 'spread', AREAS_MAX * AREA_POINTS),
      }
      const page = readFileSync(new URL('../../examples/game/page.html', import.meta.url), 'utf8')
      return [
        webSocket({
          ...socketOptions, host: String(values['host']), carrier: carrierOf(values),
          maxConnections: players, maxConnectionsPerAddress: players,
        }),
        gameServer(numberOf(values, 'port', 65_535), page, world),
      ]
    },
  })
  // Idle connections of HTTP are left to uWebSockets.js, which would keep them, and the process, for ten seconds.
  process.exit()
}
