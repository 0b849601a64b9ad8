/**
 * The file of a recording: where `MARKETPLACE_RECORD` says.
 *
 * Owns when it is written, and how. It is for its owner only, whatever was there before, and there is the whole of it
 * or what was there before. It is written when the ground VM or the program ends, also by Ctrl-C and the other signals
 * that end programs which don't mind them; a program that does mind them ends as it pleases.
 */
import { chmodSync, closeSync, openSync, realpathSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { log } from '../support/log.js'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const

/**
 * Has a file written at the end of the program.
 *
 * @returns what writes it now
 */
export function writesAtEnd(file: string, text: () => string): () => void {
  let isOver = false
  const stops: (() => void)[] = []
  const end = (): void => {
    if (isOver) return
    isOver = true
    process.off('exit', end)
    for (const stop of stops) stop()
    write(file, text)
  }
  process.on('exit', end)
  for (const signal of SIGNALS) stops.push(whenEndedBy(signal, end))
  return end
}

/**
 * Calls back before a signal ends the program. It listens only as long as nobody else does: programs that look who
 * listens would not end otherwise.
 */
function whenEndedBy(signal: NodeJS.Signals, end: () => void): () => void {
  const ours = (): void => {
    end()
    process.kill(process.pid, signal)
  }
  const added = (name: string | symbol, listener: unknown): void => {
    if (name !== signal || listener === ours) return
    // Not before it is there: without any listener Node would cease to catch the signal, and not begin again.
    process.nextTick(() => {
      if (process.listenerCount(signal) > 1) process.off(signal, ours)
    })
  }
  const removed = (name: string | symbol, listener: unknown): void => {
    if (name === signal && listener !== ours && process.listenerCount(signal) === 0) process.on(signal, ours)
  }
  if (process.listenerCount(signal) === 0) process.on(signal, ours)
  process.on('newListener', added)
  process.on('removeListener', removed)
  return () => {
    process.off('newListener', added)
    process.off('removeListener', removed)
    process.off(signal, ours)
  }
}

/** Says at once that a file can't be written: at the end it would be too late. */
export function mayWrite(file: string): boolean {
  try {
    const { path, isPlain } = placeOf(file)
    if (!isPlain) return true
    closeSync(openSync(partOf(path), 'w', OWNER_ONLY))
    rmSync(partOf(path), { force: true })
    return true
  } catch (error) {
    cannot(file, error)
    return false
  }
}

const OWNER_ONLY = 0o600

function write(file: string, text: () => string): void {
  try {
    const { path, isPlain } = placeOf(file)
    if (!isPlain) {
      writeFileSync(path, text())
      return
    }
    const part = partOf(path)
    try {
      // It has all that the program has heard, passwords too.
      writeFileSync(part, text(), { mode: OWNER_ONLY })
      chmodSync(part, OWNER_ONLY)
      renameSync(part, path)
    } catch (error) {
      rmSync(part, { force: true })
      throw error
    }
  } catch (error) {
    cannot(file, error)
  }
}

function cannot(file: string, error: unknown): void {
  log('error', 'the file that MARKETPLACE_RECORD asks for can\'t be written', { file, reason: error })
}

function partOf(path: string): string {
  return `${path}.${process.pid}.part`
}

/** Where it is, behind links; `isPlain` is false of pipes and devices. */
function placeOf(file: string): { readonly path: string, readonly isPlain: boolean } {
  const known = statSync(file, { throwIfNoEntry: false })
  if (known === undefined) return { path: file, isPlain: true }
  return known.isFile() ? { path: realpathSync(file), isPlain: true } : { path: file, isPlain: false }
}
