/** `--inspect` and `marketplace inspect`, as their users run them. */
import t, { type Test } from 'tap'
import { Cli } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { client, until } from '../support/util.js'

const TIMEOUT = 60_000

function start(t: Test, ...args: string[]): Cli {
  const cli = new Cli(args)
  t.teardown(() => cli.child.kill('SIGKILL'))
  return cli
}

/** A chat with somebody in it, and the address of its inspector. */
async function chat(t: Test): Promise<{ readonly server: Cli, readonly url: string, say(text: string): void }> {
  const server = start(t, 'chat', '--port', '0', '--inspect')
  const port = await server.listening()
  await until(() => /^inspector: (\S+)$/m.test(server.stderr))
  const url = /^inspector: (\S+)$/m.exec(server.stderr)?.[1] ?? ''
  const joe = await client(port)
  joe.resume()
  t.teardown(() => joe.destroy())
  return { server, url, say: (text) => joe.write(`${text}\n`) }
}

/** What a command prints that ends by itself. */
async function prints(t: Test, ...args: string[]): Promise<string> {
  const cli = start(t, 'inspect', ...args)
  t.equal(await cli.ended(), 0, args.slice(1).join(' '))
  t.equal(cli.stderr, '')
  return cli.stdout
}

t.test('tree, top, who, chain, process', { timeout: patient(TIMEOUT) }, async (t) => {
  const { url, say } = await chat(t)
  const tree = await prints(t, url, 'tree')
  t.match(tree, /^1 inspector: /m)
  t.match(tree, / \(driver\): /)
  t.match(tree, / \(vm\): /)
  t.match(await prints(t, url, 'top', '--once'), /^ +process +msgs\/s +messages/)
  t.match(await prints(t, url, 'who', "['nobody', 1]"), /^nobody gets it\n/)
  t.match(JSON.parse(await prints(t, url, 'process', '1')), { path: '1', name: 'inspector' })
  const trace = start(t, 'inspect', url, 'trace')
  await until(() => { say('hello'); return /'hello'|hello/.test(trace.stdout) })
  const id = /#(\d+) <- .*hello/.exec(trace.stdout)?.[1] ?? ''
  trace.signal('SIGINT')
  t.equal(await trace.ended(), 0)
  t.match(await prints(t, url, 'chain', id), new RegExp(`^#${id} `, 'm'))
})

t.test('pause and step; what makes no sense; a program that has ended', { timeout: patient(TIMEOUT) }, async (t) => {
  const { server, url } = await chat(t)
  const vm = /^(\d+) .*\(vm\)/m.exec(await prints(t, url, 'tree'))?.[1] ?? ''
  const pause = start(t, 'inspect', url, 'pause', vm)
  await until(() => pause.stdout.includes('is paused'))
  t.match(await prints(t, url, 'tree'), /paused, \d+ held/)
  pause.child.stdin.write('\n')
  await until(() => pause.stdout.includes('events wait'))
  pause.signal('SIGINT')
  t.equal(await pause.ended(), 0)
  t.notMatch(await prints(t, url, 'tree'), /paused/, 'with the client it goes on')
  const wrong = async (expected: RegExp, code: number, ...args: string[]): Promise<void> => {
    const cli = start(t, 'inspect', ...args)
    t.equal(await cli.ended(), code, args.join(' '))
    t.match(cli.stderr, expected)
    t.equal(cli.stderr.trim().split('\n').length, 1, 'in one line')
  }
  await wrong(/there is no process 99/, 1, url, 'kill', '99')
  await wrong(/missing a message/, 2, url, 'who')
  await wrong(/the token is missing, or wrong/, 1, url.replace(/token=./, 'token=x'))
  await wrong(/It is an address as the inspector prints it/, 2, 'nonsense')
  await wrong(/Allowed choices are top, tree/, 2, url, 'tre')
  server.signal('SIGINT')
  await server.ended()
  await wrong(/no inspector answers at 127\.0\.0\.1:\d+: .*ECONNREFUSED/, 1, url)
})
