/**
 * The benchmarks' own servers and load generator, together: every arm that this machine has passes the
 * checks that come before timing. Arms that would have to be fetched are left to the benchmark itself.
 */
import { execFile, spawnSync } from 'node:child_process'
import { promisify } from 'node:util'
import t, { type Test } from 'tap'
import { arms } from '../../bench/lib/arms.js'
import { benchBuild, benchSources, loadGenerator } from '../../bench/lib/paths.js'
import { bun, deno, installedProgram } from '../../bench/lib/peers.js'
import { correctnessChecks, type Service } from '../../bench/lib/scenarios.js'
import { Skipped, startServer } from '../../bench/lib/server.js'

const run = promisify(execFile)
const fetchedOnDemand: readonly string[] = [bun.name, deno.name]

const make = spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, 'all'], { encoding: 'utf8' })
const noCompiler = make.status === 0 ? false : `the C programs can't be built: ${make.stderr}`
if (noCompiler === false) spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, 'uring'])

async function check(t: Test, service: Service, command: readonly string[], arm: typeof arms[number]) {
  const { environment = {}, optional = false } = arm
  let server
  try {
    server = await startServer({ command, environment, optional }, [])
  } catch (error) {
    if (!(error instanceof Skipped)) throw error
    t.comment(`${arm.name} skipped: ${error.message}`)
    return
  }
  try {
    for (const load of correctnessChecks[service]) {
      const address = ['--port', String(server.port), '--server-pid', String(server.pid)]
      const times = ['--warmup', '0', '--duration', '0.05', '--stall', '30']
      const { stdout } = await run(loadGenerator, [...load, ...address, ...times])
      const { messages, unfinished } = JSON.parse(stdout) as { messages: number; unfinished: number }
      t.equal(unfinished, 0, `${arm.name}: ${load.join(' ')}: ${messages} messages`)
    }
  } finally {
    await server.stop()
  }
}

t.test('arms give right answers', { skip: noCompiler }, async (t) => {
  for (const arm of arms) {
    if (arm.twinOf !== undefined || fetchedOnDemand.includes(arm.name)) continue
    const runtime = await arm.runtime()
    if ('reason' in runtime) {
      t.comment(`${arm.name} skipped: ${runtime.reason}`)
      continue
    }
    for (const [service, args] of Object.entries(arm.servers)) {
      await check(t, service as Service, [runtime.program, ...args], arm)
    }
  }
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

t.test('the runtimes of peers are looked for on the PATH', async (t) => {
  t.match(installedProgram('node', 'it runs this test'), { program: /node$/ })
})
