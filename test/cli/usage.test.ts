/** Command lines that make no sense, and those that ask for help: one clear line, the right exit code. */
import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync } from 'node:fs'
import t from 'tap'
import { explain, formatAddress, formatBytes, formatStatus } from '../../src/cli/messages.js'
import { metricsSum } from '../../src/transport/seam/metrics.js'
import { Cli, MAIN } from '../support/cli.js'
import { patient } from '../support/patience.js'

const TIMEOUT = patient(20_000)

/** Runs a command that is to end by itself. */
async function ended(...args: string[]): Promise<Cli> {
  const cli = new Cli(args)
  cli.child.stdin.end()
  await cli.ended()
  return cli
}

const ONE_LINE = /^marketplace: [^\n]+\n$/

const MISTAKES: readonly (readonly [string, readonly string[], RegExp])[] = [
  ['no command', [], /missing command/],
  ['an unknown command', ['chatt'], /unknown command 'chatt'.*chat/],
  ['an unknown option', ['chat', '--prot', '1'], /unknown option '--prot'.*--port/],
  ['an unknown option of the program', ['--verbose'], /unknown option '--verbose'/],
  ['too many arguments', ['echo', 'echo'], /too many arguments/],
  ['a port that is no number', ['chat', '--port', 'http'], /'http' is invalid.*0 to 65535/],
  ['a port that is too high', ['echo', '--port', '65536'], /'65536' is invalid/],
  ['a negative port', ['echo', '--port=-1'], /'-1' is invalid/],
  ['a port with a fraction', ['echo', '--port', '1.5'], /'1\.5' is invalid/],
  ['a bad port to connect to', ['connect', 'localhost', 'x'], /'x' is invalid/],
  ['a port without a value', ['chat', '--port'], /argument missing/],
  ['an empty host', ['chat', '--host', ''], /host/],
  ['a port behind the host', ['connect', 'localhost:5999'], /'localhost:5999' is invalid.*said apart, with --port/],
  ['an unknown transport', ['chat', '--transport', 'pigeon'], /'pigeon' is invalid.*native, node, auto/],
]

void t.test('mistakes', { timeout: TIMEOUT * 2 }, async (t) => {
  for (const [name, args, message] of MISTAKES) {
    const cli = await ended(...args)
    t.equal(cli.result, 2, name)
    t.match(cli.stderr, message, name)
    t.match(cli.stderr, ONE_LINE, `${name}: one line`)
    t.equal(cli.stdout, '', name)
  }
})

void t.test('help and version', { timeout: TIMEOUT }, async (t) => {
  const help = await ended('--help')
  t.equal(help.result, 0)
  for (const command of ['chat', 'echo', 'connect']) {
    t.match(help.stdout, new RegExp(`^ +${command} `, 'm'))
    const own = await ended(command, '--help')
    t.equal(own.result, 0)
    for (const option of ['--port', '--host', '--transport', '--help']) t.match(own.stdout, option, command)
    t.equal(own.stderr, '')
  }
  const version = await ended('--version')
  t.equal(version.result, 0)
  t.match(version.stdout, /^\d+\.\d+\.\d+\S*\n$/)
})

void t.test('nobody reads the help, or it can not be written', { timeout: TIMEOUT }, async (t) => {
  for (const args of [['--help'], ['echo', '--help'], ['--version']]) {
    const cli = new Cli(args)
    cli.child.stdout.destroy()
    t.equal(await cli.ended(), 0, args.join(' '))
    t.equal(cli.stderr, '', args.join(' '))
  }
  if (!existsSync('/dev/full')) {
    t.comment('skipped the full disk: there is no /dev/full')
    return
  }
  for (const args of [['--help'], ['echo', '--port', '0']]) {
    const full = openSync('/dev/full', 'w')
    const stdio = ['ignore', full, 'pipe'] as const
    const { status, stderr } = spawnSync(process.execPath, [MAIN, ...args], { stdio: [...stdio] })
    closeSync(full)
    t.equal(status, 1, args.join(' '))
    t.match(String(stderr), /^marketplace: can't write to standard output: ENOSPC[^\n]+\n$/, args.join(' '))
  }
})

void t.test('how things are put', (t) => {
  t.equal(formatAddress('127.0.0.1', 1), '127.0.0.1:1')
  t.equal(formatAddress('::1', 5999), '[::1]:5999')
  t.strictSame(
    [0, 999, 1000, 9_940, 9_960, 999_499, 999_500, 34e6, 5e15].map(formatBytes),
    ['0 B', '999 B', '1.0 kB', '9.9 kB', '10 kB', '999 kB', '1.0 MB', '34 MB', '5000 TB'],
  )
  const metrics = { ...metricsSum([]), connections: 1, accepts: 5, bytesOut: 2500, chunksIn: 9 }
  t.equal(formatStatus(metrics, 1234.4), '1 connection, 1,234 messages/s, 0 B in, 2.5 kB out')
  t.match(formatStatus({ ...metrics, connections: 2 }, 0), /^2 connections, 0 messages/)
  t.equal(explain('odd', 'h', 1), 'odd')
  t.equal(explain(new Error('first\nsecond'), 'h', 1), 'first')
  t.match(explain(Object.assign(new Error('x'), { code: 'ENOSYS' }), 'h', 1), /^x \(ENOSYS\)$/)
  t.end()
})
