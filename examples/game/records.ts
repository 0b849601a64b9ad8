/** What the processes of the game say to each other. Players go by their numbers. */
import { defineRecord } from 'marketplace-native'

/** Published by a player's process while it plays: to appear in the world is to be present. */
export const player = defineRecord('player', ['number']).of<[number: number]>()

/** A player's process to the room: from now on it goes in this direction. */
export const steers = defineRecord('steers', ['number', 'x', 'y']).of<[number: number, x: number, y: number]>()

/** The room to a player's process: these are the areas around it, two by two from this one on. */
export const looks = defineRecord('looks', ['number', 'column', 'row']).of<
  [number: number, column: number, row: number]
>()

/** What has changed in an area, as it is sent to players. To be told of an area is to subscribe to this. */
export const areaDelta = defineRecord('area-delta', ['column', 'row', 'bytes']).of<
  [column: number, row: number, bytes: Uint8Array]
>()

/** All that is in an area, for one player. Whoever appears as a subscriber is sent it. */
export const areaSnapshot = defineRecord('area-snapshot', ['number', 'column', 'row', 'bytes']).of<
  [number: number, column: number, row: number, bytes: Uint8Array]
>()

/** Of a tick, for who measures: its number, when it began (`performance.now()`), and how many play. */
export const ticked = defineRecord('ticked', ['tick', 'began', 'players']).of<
  [tick: number, began: number, players: number]
>()
