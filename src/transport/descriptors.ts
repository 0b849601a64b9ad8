/**
 * What can be asked of any descriptor of this process, by way of the addon: whether it can be adopted, and a further
 * one of the same. Owns nothing; who gets a descriptor closes it.
 */
import { constants } from 'node:os'
import { addonOrReason } from './native/addon.js'
import { isEngines, ownFile } from './native/engine.js'
import { Adoptable } from './native/layout.js'
import { adoptionError, fileGoesWith } from './seam/adoption.js'

export { adoptionError }

const { EEXIST, ENOTSUP } = constants.errno

/** As what it is wanted: listening, or bound at least, or connected. */
export type AdoptableAs = keyof typeof Adoptable

/** Whether it can be adopted: 'tcp' or 'unix', or why not, as a negative errno. */
export function adoptability(fd: unknown, as: AdoptableAs): 'tcp' | 'unix' | number {
  const loaded = addonOrReason()
  if (!loaded.ok) return -ENOTSUP
  if (!Number.isInteger(fd) || (fd as number) < 0 || (fd as number) > 0x7fffffff) return -constants.errno.EBADF
  if (isEngines(fd as number)) return -EEXIST
  const result = loaded.addon.checkAdoptable(fd as number, Adoptable[as])
  return result < 0 ? result : result === 1 ? 'unix' : 'tcp'
}

/** A further descriptor of the same, which is the caller's; or a negative errno. */
export function duplicateDescriptor(fd: number): number {
  const loaded = addonOrReason()
  return loaded.ok ? loaded.addon.duplicateDescriptor(fd) : -ENOTSUP
}

/** Programs that this one starts don't get it. @returns 0, or a negative errno */
export function closeOnExec(fd: number): number {
  const loaded = addonOrReason()
  return loaded.ok ? loaded.addon.closeOnExec(fd) : -ENOTSUP
}

/** The listener on a Unix socket has been handed over to this process: its file goes when it closes. */
export function takeFile(fd: number): void {
  if (!ownFile(fd)) fileGoesWith(fd)
}
