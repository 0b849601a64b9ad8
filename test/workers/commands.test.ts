/** The commands with --workers, and signals. */
import t, { type Test } from 'tap'
import { once } from 'node:events'
import { createServer, type AddressInfo } from 'node:net'
import { WebSocket } from 'ws'
import { Cli } from '../support/cli.js'
import { open } from './load.js'
import { skip } from './start.js'
import { until } from '../support/util.js'

function start(t: Test, ...args: string[]): Cli {
  const cli = new Cli(args)
  t.teardown(() => cli.child.kill('SIGKILL'))
  return cli
}

t.test('chat: guests on different workers are in one room', { skip }, async (t) => {
  const cli = start(t, 'chat', '--workers', '2', '--port', '0')
  const port = await cli.listening()
  const [alice, bob] = [await open(port), await open(port)]
  const heard = { alice: '', bob: '' }
  alice.on('data', (text: string) => { heard.alice += text })
  bob.on('data', (text: string) => { heard.bob += text })
  const you = /You are (user\d+\.\d+)/
  await until(() => you.test(heard.alice) && you.test(heard.bob))
  const names = [you.exec(heard.alice)?.[1], you.exec(heard.bob)?.[1]]
  t.not(names[0]?.split('.')[0], names[1]?.split('.')[0], 'they are on different workers')
  await until(() => heard.alice.includes(String(names[1])) && heard.bob.includes(String(names[0])))
  alice.write('hello bob\n')
  await until(() => heard.bob.includes('hello bob'))
  bob.write('hello alice\n')
  await until(() => heard.alice.includes('hello alice'))
  cli.signal('SIGUSR2')
  await until(() => cli.stdout.includes('restarting'))
  alice.end()
  bob.end()
  await until(() => cli.stdout.includes('all workers are new'))
  const carol = await open(port)
  await once(carol, 'data')
  cli.signal('SIGTERM')
  await until(() => cli.stdout.includes('waiting for connections to end'))
  await t.rejects(open(port), { code: 'ECONNREFUSED' })
  carol.end()
  t.equal(await cli.ended(), 0)
  t.equal(cli.stderr, '')
})

t.test('chat: guests with browsers, on all workers', { skip }, async (t) => {
  const cli = start(t, 'chat', '--workers', '2', '--port', '0', '--web-port', '0')
  const port = await cli.listening()
  const address = /http:\/\/localhost:\d+\//
  await until(() => address.test(cli.stdout))
  const [page] = address.exec(cli.stdout) as RegExpExecArray
  t.match(await (await fetch(page)).text(), /<title>.*chat/i)
  const telnet = await open(port)
  let heard = ''
  telnet.on('data', (text: string) => { heard += text })
  const browsers = Array.from({ length: 4 }, () =>
    new WebSocket(`${page.replace('http', 'ws')}room`, { origin: page.replace(/\/$/, '') }))
  t.teardown(() => { for (const browser of browsers) browser.terminate() })
  const told = await Promise.all(browsers.map((browser) => new Promise<string>((resolve) => {
    browser.on('message', (data: Buffer) => {
      const { you } = JSON.parse(data.toString()) as { you?: string }
      if (you !== undefined) resolve(you)
    })
  })))
  t.equal(new Set(told.map((name) => name.split('.')[0])).size, 2, `on both workers: ${told.join(' ')}`)
  await until(() => told.every((name) => heard.includes(`${name} arrived.`)))
  for (const browser of browsers) browser.send('hello')
  await until(() => told.every((name) => heard.includes(`${name}: hello`)))
  const ended = browsers.map((browser) => once(browser, 'close') as Promise<[number]>)
  cli.signal('SIGTERM')
  telnet.end()
  t.strictSame((await Promise.all(ended)).map(([code]) => code), [1001, 1001, 1001, 1001])
  t.equal(await cli.ended(), 0)
  t.equal(cli.stderr, '')
})

t.test('echo: the port is in use; what does not go with workers', { skip }, async (t) => {
  const foreign = createServer().listen(0, '127.0.0.1')
  await once(foreign, 'listening')
  t.teardown(() => foreign.close())
  const { port } = foreign.address() as AddressInfo
  const cli = start(t, 'echo', '--workers', '2', '--port', String(port))
  t.equal(await cli.ended(), 1)
  t.equal(cli.stderr, `marketplace: port ${port} of 127.0.0.1 is in use; choose another one with --port (EADDRINUSE)\n`)
  for (const [args, message] of [
    [['echo', '--workers', '0'], /whole number from 1 to 1024/], [['echo', '--workers', '2', '-t', 'node'], /native/],
    [['chat', '--workers', '2', '--port', '0', '--web-port', String(port)], /port \d+ .* is in use; .* --web-port/],
  ] as const) {
    const wrong = start(t, ...args)
    t.not(await wrong.ended(), 0)
    t.match(wrong.stderr, message)
  }
})
