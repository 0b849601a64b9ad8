/** Directories for what a run writes. */
import { existsSync, mkdirSync } from 'node:fs'
import { dirname } from 'node:path'

/** Like `mkdirSync` with `recursive`, which on some file systems (/proc) tries for ever. */
export function makeDirectories(path: string): void {
  if (existsSync(path)) return
  makeDirectories(dirname(path))
  mkdirSync(path)
}
