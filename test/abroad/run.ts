/**
 * Runs programs of one theme on one module: `run.js THEME node|ours` all that share a process, and prints a
 * line of JSON for each; `run.js THEME node|ours NAME` one alone, which prints what it prints.
 */
import { writeSync } from 'node:fs'
import nodeNet from 'node:net'
import { environment, type Net, type Program } from './program.js'

/** Milliseconds after which a program that shares a process has hung. */
const PATIENCE = 10_000

const [theme, module, name] = process.argv.slice(2)

async function load(): Promise<Net> {
  return module === 'node' ? nodeNet : (await import('marketplace-native/net')).default
}

const { default: programs } = await import(`./programs/${theme}.js`) as { default: Map<string, Program> }
const net = await load()

/** At once, also if the process ends in this turn. */
function say(line: string): void {
  writeSync(1, `${line}\n`)
}

/** The lines that it prints. */
async function collect({ body }: Program): Promise<string[]> {
  const lines: string[] = []
  const env = environment(net, (line) => { lines.push(line) })
  const uncaught = (error: unknown): void => { env.print('uncaught', error) }
  process.on('uncaughtException', uncaught)
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(() => { env.print('it hangs'); resolve() }, PATIENCE)
  })
  const run = async (): Promise<void> => { await body(env) }
  await Promise.race([late, run().catch((error: unknown) => { env.print('rejected', error) })])
  clearTimeout(timer)
  process.off('uncaughtException', uncaught)
  return lines
}

if (name !== undefined) {
  void programs.get(name)?.body(environment(net, say))
} else {
  for (const [program, what] of programs) {
    if (!what.alone) say(JSON.stringify({ program, lines: await collect(what) }))
  }
  process.exit()
}
