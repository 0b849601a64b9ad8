/**
 * The child processes of this run, so that none of them survives it.
 */
import type { ChildProcess } from 'node:child_process'

const running = new Set<ChildProcess>()

/** With the processes that it has started itself, if it leads a group of its own (`detached`). */
export function killGroup(child: ChildProcess): void {
  try {
    process.kill(-(child.pid as number), 'SIGKILL')
  } catch {
    child.kill('SIGKILL') // it leads none
  }
}

process.on('exit', () => {
  for (const child of running) killGroup(child)
})

/** Kills the child when this process exits, unless it has ended by then. Returns it. */
export function track<C extends ChildProcess>(child: C): C {
  running.add(child)
  child.once('exit', () => running.delete(child))
  child.once('error', () => running.delete(child))
  return child
}

export function hasExited(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null
}
