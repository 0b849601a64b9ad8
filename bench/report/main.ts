/**
 * `npm run bench:report -- FILE.json [--out DIRECTORY]`: draws the results that `npm run bench` kept.
 * Wrong usage: one line on stderr, exit code 2; a file that can't be read or written: exit code 1.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { benchBuild } from '../lib/paths.js'

const command = new Command('bench:report')
  .description('Draws charts of the results that `npm run bench -- --json FILE` wrote.')
  .argument('<file>', 'results in JSON')
  .option('--out <directory>', 'where the files go', join(benchBuild, 'report'))
  .allowExcessArguments(false)
  .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : 2))
command.parse()
// Vega takes a while to load; wrong usage is told at once.
const { readResults, writeReport } = await import('./write.js')
try {
  const written = await writeReport(readResults(command.args[0]), command.opts<{ out: string }>().out)
  process.stdout.write(`${written.join('\n')}\n`)
} catch (error) {
  process.stderr.write(`bench:report: ${(error as Error).message}\n`)
  process.exitCode = 1
}
