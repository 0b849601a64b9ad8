/** For compare.test.ts: builds a commit of a repository, says where, and waits for a signal. */
import { existsSync } from 'node:fs'
import { buildRevision } from '../../bench/compare/worktree.js'

const [repository, commit] = process.argv.slice(2)
process.on('SIGINT', () => process.exit(130))
try {
  const { path } = await buildRevision(repository, commit, (what) => process.stdout.write(`${what}\n`))
  process.stdout.write(`built in ${path}: ${existsSync(`${path}/built`)}\n`)
  setInterval(() => undefined, 1000)
} catch (error) {
  process.stdout.write(`failed: ${(error as Error).message}\n`)
}
