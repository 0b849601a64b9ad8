/** The two modules that the suites and measurements run on, by name. */
import * as nodeNet from 'node:net'
import * as ours from '../../../src/net/index.js'

/** What of `node:net` the libraries need. */
export type Net = Pick<typeof nodeNet, 'createServer' | 'connect' | 'Socket'>

/** `node:net` proves the tests right; ours is what they test. */
export const NETS_BY_NAME: ReadonlyMap<string, Net> = new Map<string, Net>([
  ['node:net', nodeNet],
  ['marketplace-native/net', ours],
])

/** Whether ours is a module of its own; where there is no engine it is `node:net`. */
export const nativeHere = ours.Socket !== nodeNet.Socket

/** A connection handler of either module. */
export type OnConnection = (socket: nodeNet.Socket) => void
