/**
 * The benchmarks' own servers and load generator, together: every arm that this machine has passes the
 * checks that come before timing. Arms that would have to be fetched are left to the benchmark itself.
 */
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { arms } from '../../bench/lib/arms.js'
import { loadGenerator } from '../../bench/lib/paths.js'
import { bun, deno, installedProgram } from '../../bench/lib/peers.js'
import { Skipped, startServer } from '../../bench/lib/server.js'
import { checkArm, noCompiler } from './check-arm.js'

const run = promisify(execFile)
const fetchedOnDemand: readonly string[] = [bun.name, deno.name]

t.test('arms give right answers', { skip: noCompiler }, async (t) => {
  for (const arm of arms) if (!fetchedOnDemand.includes(arm.name)) await checkArm(t, arm)
})

t.test('a server that says what the machine lacks is skipped, one that fails is not', async (t) => {
  const saying = (text: string) => [process.execPath, '-e', `console.log(${JSON.stringify(text)})`]
  await t.rejects(startServer({ command: saying('skip: no such kernel') }, []), new Skipped('no such kernel'))
  const failing = startServer({ command: saying('went wrong') }, [])
  await t.rejects(failing, { message: /ended with 0 before it listened: went wrong/ })
  t.notOk((await failing.catch((error: unknown) => error)) instanceof Skipped)
})

t.test('the load generator sees a wrong answer', { skip: noCompiler }, async (t) => {
  const wrong = `require('net').createServer((socket) => socket.on('error', () => {}).on('data', (data) => {
    data[data.length - 1] ^= 1
    socket.write(data)
  })).listen(0, '127.0.0.1', function () { console.log('listening on 127.0.0.1:' + this.address().port) })`
  const server = await startServer({ command: [process.execPath, '-e', wrong] }, [])
  t.teardown(() => server.stop())
  const args = ['--mode', 'pingpong', '--port', String(server.port), '--duration', '0.05']
  await t.rejects(run(loadGenerator, args), { message: /wrong byte at position 63 of the reply/ })
})

/** A UDP server in Node that does so with each datagram: `data`, its count `n` from 1, `reply(bytes)`. */
function datagramServer(body: string): readonly string[] {
  const program = `let n = 0; const socket = require('dgram').createSocket('udp4')
  socket.on('message', (data, { address, port }) => {
    const reply = (bytes) => socket.send(bytes, port, address)
    n += 1; ${body}
  })
  socket.bind(0, '127.0.0.1', () => console.log('listening on 127.0.0.1:' + socket.address().port))`
  return [process.execPath, '-e', program]
}

async function runDatagrams(t: Test, body: string, ...args: string[]): Promise<{ stdout: string }> {
  const server = await startServer({ command: datagramServer(body) }, [])
  t.teardown(() => server.stop())
  const load = ['--mode', 'datagrams', '--port', String(server.port), '--warmup', '0', '--duration', '0.2']
  return run(loadGenerator, [...load, ...args])
}

t.test('the load generator counts datagrams that are lost, and goes on', { skip: noCompiler }, async (t) => {
  const lossy = 'if (n !== 2) reply(data)'
  const { stdout } = await runDatagrams(t, lossy, '--connections', '3', '--stall', '30')
  const { lost, messages, unfinished } = JSON.parse(stdout) as Record<string, number>
  t.strictSame([lost, unfinished], [1, 0])
  t.ok(messages > 0, 'the other peers went on')
})

t.test('and does not take an answer that is late for one to the next datagram', { skip: noCompiler }, async (t) => {
  const late = 'if (n !== 1) reply(data); else setTimeout(() => reply(data), 1500)'
  const { stdout } = await runDatagrams(t, late, '--duration', '2', '--stall', '30')
  const { lost, messages, verified_bytes: verified } = JSON.parse(stdout) as Record<string, number>
  t.equal(lost, 1)
  t.ok(messages > 0 && verified > messages * 64, 'it was looked at')
})

t.test('and ends when nothing comes back, or the wrong thing', { skip: noCompiler }, async (t) => {
  await t.rejects(runDatagrams(t, '', '--stall', '0.3'), { message: /no reply for 0\.3 s/ })
  const wrong = 'data[63] ^= 1; reply(data)'
  await t.rejects(runDatagrams(t, wrong), { message: /peer 0: wrong byte at position 63 of the reply/ })
  const short = 'reply(data.subarray(1))'
  await t.rejects(runDatagrams(t, short), { message: /a datagram of 63 bytes came back; sent were 64/ })
})

t.test('the runtimes of peers are looked for on the PATH', async (t) => {
  t.match(installedProgram('node', 'it runs this test'), { program: /node$/ })
})
