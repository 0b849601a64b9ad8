/**
 * What ends with a process: its linked children (`spawn(..., { link: true })`), and what it has of this package.
 *
 * A parent that has linked children is not idle, even if it has nothing else: otherwise it would be collected as
 * garbage, and its children would end with it. Invariant: a process is among its parent's children as long as
 * both live.
 */
import type { Process } from './process.js'

/** @param failed whether it was a failure that ended the process, or the VM that it was in */
export type AtEnd = (reason: unknown, failed: boolean) => void

/** The ties of a process that has any. */
export interface Ties {
  /** With whose end it ends. */
  parent: Process | undefined
  /** Those that end with it. */
  readonly children: Set<Process>
  /** What is to be done at its end. */
  readonly atEnd: AtEnd[]
}

function tiesOf(process: Process): Ties {
  return (process.ties ??= { parent: undefined, children: new Set(), atEnd: [] })
}

/** Has a function called at the end of a process, whatever that is. It must not throw. */
export function endWith(process: Process, ended: AtEnd): void {
  tiesOf(process).atEnd.push(ended)
}

/** From now on the child ends when the parent does. It is in the parent's VM, or in one around that. */
export function tie(parent: Process, child: Process): void {
  tiesOf(child).parent = parent
  tiesOf(parent).children.add(child)
  keep(parent, child, 1)
}

/** A process has ended. @returns its children, which are to end now: the one that was started last comes first */
export function untie(ended: Process, reason: unknown, failed: boolean): Process[] {
  const { ties } = ended
  if (ties === undefined) return []
  const { parent, children, atEnd } = ties
  ended.ties = undefined
  if (parent?.ties?.children.delete(ended) === true) {
    keep(parent, ended, -1)
    // The parent may have become idle by that. VMs between have no turn now, in which they would collect it.
    for (let { vm } = parent; vm !== ended.vm; { vm } = vm.container as Process) vm.collect()
  }
  for (const child of children) {
    keep(ended, child, -1)
    if (child.ties !== undefined) child.ties.parent = undefined
  }
  for (const end of atEnd) end(reason, failed)
  return [...children].reverse()
}

/** A child in a VM further out keeps the VMs between as well: with them the parent would end. */
function keep(parent: Process, child: Process, by: number): void {
  let process = parent
  for (;;) {
    process.pending += by
    if (by < 0 && process.alive && process.isIdle()) process.vm.collectLater(process)
    if (process.vm === child.vm) return
    process = process.vm.container as Process
  }
}
