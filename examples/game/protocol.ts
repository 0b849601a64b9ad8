/**
 * The bytes between server and players. Every message is binary, numbers are big-endian, and the first byte says what
 * it is.
 *
 *   to the server
 *     1 move      x: int8, y: int8 (a direction; its length is the speed, 127 or more is the full one)
 *   to a player
 *     1 welcome   version: uint8, number: uint16 (which one is you), areas: uint8 (along a side), rate: uint8 (in Hz)
 *     2 view      column: uint8, row: uint8 (the first of two by two areas that are told of; of others nothing holds)
 *     3 delta     column, row: uint8; moved, placed, left: uint16 (how many there are of each), and then
 *                   moved    number: uint16, x: int8, y: int8     a step from where it was
 *                   placed   number: uint16, x: uint16, y: uint16 it is there now, wherever it was
 *                   left     number: uint16                       it is no longer in this area
 *     4 snapshot  the same: all who are in the area; nobody else is
 *
 * Whoever goes from one area to another is placed in the one and leaves the other, in either order.
 */
import type { Changes } from './world.js'

export const VERSION = 1
export const TO_SERVER = { move: 1 } as const
export const TO_PLAYER = { welcome: 1, view: 2, delta: 3, snapshot: 4 } as const

export const MOVE_BYTES = 3
/** No player sends a longer message. */
export const MOVE_MAX = 64
/** Players' numbers are from 1 to this. */
export const NUMBER_MAX = 0xffff
/** What stands before the lists of an area. */
export const AREA_HEAD = 9

export interface Move {
  readonly x: number
  readonly y: number
}

/** @returns undefined for what is no move */
export function readMove(message: string | Buffer): Move | undefined {
  if (typeof message === 'string' || message.length !== MOVE_BYTES || message[0] !== TO_SERVER.move) return undefined
  return { x: message.readInt8(1), y: message.readInt8(2) }
}

/** @param x from -127 to 127, as `y` */
export function writeMove(x: number, y: number): Buffer {
  const bytes = Buffer.allocUnsafe(MOVE_BYTES)
  bytes[0] = TO_SERVER.move
  bytes.writeInt8(x, 1)
  bytes.writeInt8(y, 2)
  return bytes
}

export function writeWelcome(number: number, areas: number, rate: number): Buffer {
  return Buffer.from([TO_PLAYER.welcome, VERSION, number >> 8, number & 0xff, areas, rate])
}

export function writeView(column: number, row: number): Buffer {
  return Buffer.from([TO_PLAYER.view, column, row])
}

/** Made once for all who hear the area. */
export function writeArea(kind: 'delta' | 'snapshot', { column, row, moved, placed, left }: Changes): Buffer {
  const bytes = Buffer.allocUnsafe(AREA_HEAD + 4 * moved.length + 6 * placed.length + 2 * left.length)
  bytes[0] = TO_PLAYER[kind]
  bytes[1] = column
  bytes[2] = row
  let at = bytes.writeUInt16BE(moved.length, 3)
  at = bytes.writeUInt16BE(placed.length, at)
  at = bytes.writeUInt16BE(left.length, at)
  for (const { number, stepX, stepY } of moved) {
    at = bytes.writeUInt16BE(number, at)
    at = bytes.writeInt8(stepX, at)
    at = bytes.writeInt8(stepY, at)
  }
  for (const { number, shownX, shownY } of placed) {
    at = bytes.writeUInt16BE(number, at)
    at = bytes.writeUInt16BE(shownX, at)
    at = bytes.writeUInt16BE(shownY, at)
  }
  for (const number of left) at = bytes.writeUInt16BE(number, at)
  return bytes
}
