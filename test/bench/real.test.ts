/**
 * `npm run bench:servers`: each server, ours and those that are installed, answers its protocol's load rightly; the
 * load generator sees a wrong answer, and counts what the server's children use.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { loadGenerator } from '../../bench/lib/paths.js'
import { startServer } from '../../bench/lib/server.js'
import { realArms } from '../../bench/real/arms.js'
import { realScenarios, realTargets } from '../../bench/real/scenarios.js'
import { checkArm, noCompiler } from './check-arm.js'

const run = promisify(execFile)

t.test('the servers give right answers', { skip: noCompiler }, async (t) => {
  await Promise.all(realArms.map((arm) => checkArm(t, arm)))
})

t.test('loads name servers that there are, and each has its target', async (t) => {
  for (const { name, service, arms } of realScenarios) {
    for (const each of arms) {
      t.ok(realArms.find((arm) => arm.name === each)?.servers[service], `${name}: ${each}`)
    }
  }
  const others = realScenarios.flatMap(({ arms }) => arms.filter((name) => !name.startsWith('ours')))
  t.equal(realTargets.length, others.length)
})

t.test('a package that is missing: how to install it', async (t) => {
  const { PATH } = process.env
  t.teardown(() => { process.env['PATH'] = PATH })
  process.env['PATH'] = '/nowhere'
  const found = await realArms.find(({ name }) => name === 'redis-server')?.runtime()
  t.match(found, { reason: 'redis-server is not installed (apt-get install redis-server)' })
})

/** What the load generator says of a server that answers each piece with this text. */
async function answering(t: Test, text: string, ...load: string[]): Promise<{ stdout: string }> {
  const program = `require('net').createServer((socket) => socket.on('error', () => {}).on('data', () => {
    socket.write(${JSON.stringify(text)})
  })).listen(0, '127.0.0.1', function () { console.log('listening on 127.0.0.1:' + this.address().port) })`
  const server = await startServer({ command: [process.execPath, '-e', program] }, [])
  t.teardown(() => server.stop())
  const times = ['--warmup', '0', '--duration', '0.05', '--stall', '0.3']
  return run(loadGenerator, ['--port', String(server.port), ...times, ...load])
}

t.test('the load generator sees wrong answers', { skip: noCompiler }, async (t) => {
  const requests = (protocol: string) => ['--mode', 'requests', '--protocol', protocol]
  const wrong: [string, string[], RegExp][] = [
    ['+NO\r\n', requests('redis-set'), /wrong reply to request 0: `\+NO/],
    ['+OK\r\n+OK\r\n', requests('redis-set'), /more replies came than there were requests/],
    ['HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nhello, world\n', requests('http'), /wrong reply/],
    ['HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello, World\n', requests('http'), /wrong reply/],
    ['HTTP/1.1 200 OK\r\ncontent-length: 12\r\n\r\nhello, world', requests('http'), /wrong reply/],
    ['HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nhello', requests('http'), /no reply for 0\.3 s/],
    ['\x20\x02\x00\x05', ['--mode', 'mqtt'], /an unexpected packet, 0x20/],
  ]
  await Promise.all(wrong.map(([text, load, message]) => t.rejects(answering(t, text, ...load), { message })))
})

t.test("the CPU of a server's children is the server's", { skip: noCompiler }, async (t) => {
  // The child does the work, the parent none.
  const worker = `require('net').createServer((socket) => socket.on('error', () => {}).on('data', (data) => {
    for (const end = Date.now() + 5; Date.now() < end;);
    socket.write(data)
  })).listen(0, '127.0.0.1', function () { console.log('listening on 127.0.0.1:' + this.address().port) })`
  const parent = `const child = require('child_process').spawn(process.execPath, ['-e', ${JSON.stringify(worker)}], {
    stdio: 'inherit' }); process.on('SIGTERM', () => { child.kill(); process.exit() })`
  const server = await startServer({ command: [process.execPath, '-e', parent] }, [])
  t.teardown(() => server.stop())
  const args = ['--mode', 'pingpong', '--port', String(server.port), '--server-pid', String(server.pid)]
  const { stdout } = await run(loadGenerator, [...args, '--warmup', '0', '--duration', '0.2'])
  const { server: used } = JSON.parse(stdout) as { server: { cpu_us_per_message: number } }
  t.ok(used.cpu_us_per_message > 1000, `${used.cpu_us_per_message} us per message`)
})
