/** The servers that can encrypt, as their users run them, with the clients that people have. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import { connect } from 'node:tls'
import t, { type Test } from 'tap'
import { certificateFiles, makeCertificate } from '../support/certificates.js'
import { cleanEnvironment } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { missing, runProgram, until } from '../support/util.js'

const authority = makeCertificate({ name: 'authority of a test', authority: true })
const own = certificateFiles(makeCertificate({ by: authority }))
const { certFile: caFile } = certificateFiles(authority)
const timeout = patient(20_000)
const nothing = Buffer.alloc(0)

/** Starts an example with TLS. @returns its port */
async function start(t: Test, name: string): Promise<number> {
  const path = fileURLToPath(new URL(`../../examples/${name}.js`, import.meta.url))
  const args = [path, '--port', '0', '--tls', '--key', own.keyFile, '--cert', own.certFile]
  const child = spawn(process.execPath, args, { env: cleanEnvironment(), stdio: ['ignore', 'pipe', 'inherit'] })
  t.teardown(() => child.kill('SIGKILL'))
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
  await until(() => /^listening on .*:\d+$/m.test(out))
  return Number(/^listening on .*:(\d+)$/m.exec(out)?.[1])
}

t.test('redis: node:tls', { timeout }, async (t) => {
  const port = await start(t, 'redis')
  const socket = connect({ port, host: '127.0.0.1', ca: authority.cert, servername: 'localhost' })
  socket.write('PING\r\n')
  const [reply] = await once(socket, 'data') as [Buffer]
  t.equal(reply.toString(), '+PONG\r\n')
  socket.destroy()
})

t.test('redis: redis-cli --tls', { timeout, skip: missing('redis-cli') }, async (t) => {
  const port = await start(t, 'redis')
  const args = ['--tls', '--cacert', caFile, '-h', 'localhost', '-p', String(port)]
  for (const [command, answer] of [['set a b', 'OK'], ['get a', 'b']] as const) {
    const { stdout, stderr } = await runProgram('redis-cli', [...args, ...command.split(' ')], nothing)
    t.equal(stdout.toString().trim(), answer, stderr)
  }
})

t.test('redis: openssl s_client', { timeout, skip: missing('openssl') }, async (t) => {
  const port = await start(t, 'redis')
  const child = spawn('openssl', [
    's_client', '-connect', `127.0.0.1:${port}`, '-servername', 'localhost', '-CAfile', caFile, '-verify_return_error',
    '-quiet', '-no_ign_eof',
  ])
  let out = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => { out += text })
  child.stdin.write('PING\r\n')
  await until(() => out.includes('+PONG'))
  child.stdin.end()
  const [code] = await once(child, 'close') as [number]
  t.equal(code, 0)
})

t.test('mqtt: mosquitto_sub and mosquitto_pub --cafile', { timeout, skip: missing('mosquitto_pub') }, async (t) => {
  const port = await start(t, 'mqtt')
  const args = ['--cafile', caFile, '-h', 'localhost', '-p', String(port), '-t', 'a/b']
  const hears = spawn('mosquitto_sub', [...args, '-C', '1', '-v'])
  t.teardown(() => hears.kill('SIGKILL'))
  let heard = ''
  hears.stdout.setEncoding('utf8').on('data', (text: string) => { heard += text })
  const over = once(hears, 'close')
  // Until somebody has subscribed, what is published is for nobody.
  const publishing = (async () => {
    while (heard === '') {
      const { code } = await runProgram('mosquitto_pub', [...args, '-m', 'hello'], nothing)
      t.equal(code, 0)
    }
  })()
  await over
  await publishing
  t.equal(heard.trim(), 'a/b hello')
})
