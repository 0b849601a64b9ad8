/**
 * What a process has open, as Node lists it: `process.getActiveResourcesInfo` and `process._getActiveHandles`,
 * by which programs find out what keeps a process alive, ask libuv, which has one handle for all sockets of the
 * engine. Owns the change to these two functions, which add the sockets and servers of this module.
 */
import { openedEngine } from './engine.js'

interface Lists {
  _getActiveHandles: (this: void) => object[]
  getActiveResourcesInfo: (this: void) => string[]
}

/** Without the first `count` immediates: they are the engine's, where libuv has handles that close. */
function withoutImmediates(types: readonly string[], count: number): string[] {
  let left = count
  return types.filter((type) => type !== 'Immediate' || --left < 0)
}

/** Of this thread, from now on. */
export function listOurs(): void {
  const lists = process as unknown as Lists
  const { _getActiveHandles: handles, getActiveResourcesInfo: resources } = lists
  lists._getActiveHandles = function _getActiveHandles() {
    const ours = openedEngine()?.listed() ?? []
    return [...ours.map(({ owner }) => owner), ...handles()]
  }
  lists.getActiveResourcesInfo = function getActiveResourcesInfo() {
    const engine = openedEngine()
    const types = resources()
    if (engine === undefined) return types
    return [...engine.listed().flatMap((one) => one.types), ...withoutImmediates(types, engine.immediates)]
  }
}
