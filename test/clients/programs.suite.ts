/** `http` and `tls` over the connections of a net module, with `curl`, `wrk` and `openssl` as peers. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { createServer as createHttps } from 'node:https'
import { pipeline } from 'node:stream'
import * as tls from 'node:tls'
import t, { type Test } from 'tap'
import { freePort, missing, pattern, runProgram, until } from '../support/util.js'
import { serving } from './lib/adapters.js'
import { readBytes } from './lib/bytes.js'
import { makeCertificates, type Certificates } from './lib/certificates.js'
import { listen, onEachNet, type Net } from './lib/nets.js'
import { Program } from './lib/programs.js'

const BIG: Buffer<ArrayBuffer> = Buffer.from(pattern(64 << 20))
/** No byte of it is a command of `openssl s_client`. */
const DIGITS = Buffer.from(BIG.subarray(0, 16 << 20).toString('hex'))
const NOTHING = Buffer.alloc(0)

/** A test that needs programs: `curl`, or `curl and openssl`. */
const needing = (programs: string, name: string, body: (t: Test, net: Net) => Promise<void>): void => {
  const skip = programs.split(' and ').map(missing).find((reason) => reason !== false) ?? false
  if (skip === false) onEachNet(`${programs}: ${name}`, body)
  else t.test(`${programs}: ${name}`, { skip }, () => undefined)
}

/** `/big` is a download, `/echo` answers with what it gets, all else is short. */
const server = () => createServer((asked, answer) => {
  if (asked.url === '/big') answer.end(BIG)
  else if (asked.url === '/echo') pipeline(asked, answer, () => undefined)
  else answer.end('hello')
})

async function curl(args: readonly string[], input = NOTHING): Promise<{ body: Buffer, log: string }> {
  const { code, stdout, stderr } = await runProgram('curl', ['-sS', '--max-time', '60', ...args], input)
  if (code !== 0) throw new Error(`curl ended with ${String(code)}: ${stderr}`)
  return { body: stdout, log: stderr }
}

needing('curl', 'keep-alive', async (t, net) => {
  const { port, accepted } = await listen(t, net, serving(server()))
  const { body } = await curl(Array.from({ length: 20 }, (_, i) => `http://127.0.0.1:${port}/${i}`))
  t.equal(body.toString(), 'hello'.repeat(20))
  t.equal(accepted(), 1)
})

needing('curl', 'a download of 64 MiB', async (t, net) => {
  const { port } = await listen(t, net, serving(server()))
  t.ok((await curl([`http://127.0.0.1:${port}/big`])).body.equals(BIG))
})

needing('curl', 'uploads: of known length after 100-continue, and in chunks', async (t, net) => {
  const { port } = await listen(t, net, serving(server()))
  const url = `http://127.0.0.1:${port}/echo`
  const known = await curl(['-v', '-H', 'Expect: 100-continue', '--data-binary', '@-', url], BIG)
  t.match(known.log, /< HTTP\/1.1 100 Continue/)
  t.ok(known.body.equals(BIG))
  const chunked = await curl(['-v', '-X', 'POST', '-T', '-', url], BIG)
  t.match(chunked.log, /> Transfer-Encoding: chunked/)
  t.ok(chunked.body.equals(BIG))
})

needing('curl', 'a download that it gives up does the server no harm', async (t, net) => {
  const { port } = await listen(t, net, serving(server()))
  const { code } = await runProgram('curl', ['-sS', '-m', '60', '--max-filesize', '1000',
    `http://127.0.0.1:${port}/big`], NOTHING)
  t.equal(code, 63, 'it left')
  t.equal((await curl([`http://127.0.0.1:${port}/`])).body.toString(), 'hello')
})

needing('curl and openssl', 'https', async (t, net) => {
  const { key, cert, caFile } = makeCertificates()
  const https = createHttps({ key, cert }, (_asked, answer) => { answer.end(BIG) })
  const { port } = await listen(t, net, serving(https))
  const { body } = await curl(['-4', '--cacert', caFile, `https://localhost:${port}/`])
  t.ok(body.equals(BIG))
})

needing('wrk', '100 connections for 2 seconds, without an error', async (t, net) => {
  const { port, accepted } = await listen(t, net, serving(server()))
  const args = ['-t1', '-c100', '-d2s', '--timeout', '30s', `http://127.0.0.1:${port}/`]
  const { code, stdout } = await runProgram('wrk', args, NOTHING)
  const report = stdout.toString()
  t.equal(code, 0)
  t.notMatch(report, /Socket errors|Non-2xx/, report)
  t.ok(Number(/(\d+) requests in/.exec(report)?.[1]) > 1000, report)
  // One more than it uses: it asks for the address first.
  t.ok(accepted() <= 101, `${accepted()} connections`)
})

/** `openssl s_client`, connected; with `-quiet` it sends what it reads and prints what it gets. */
function sClient(port: number, { caFile }: Certificates, ...args: string[]): readonly string[] {
  return ['s_client', '-connect', `127.0.0.1:${port}`, '-CAfile', caFile, '-verify_return_error',
    '-servername', 'localhost', '-quiet', '-no_ign_eof', ...args]
}

needing('openssl', 's_client: ALPN, SNI, a download and an end that is announced', async (t, net) => {
  const certificates = makeCertificates()
  const { key, cert } = certificates
  const agreed: unknown[] = []
  const secure = tls.createServer({ key, cert, ALPNProtocols: ['test'] }, (socket) => {
    agreed.push(socket.alpnProtocol, (socket as { servername?: string }).servername)
    socket.end(BIG)
  })
  const { port } = await listen(t, net, serving(secure))
  for (const version of ['-tls1_2', '-tls1_3']) {
    agreed.length = 0
    const args = sClient(port, certificates, '-alpn', 'test', '-ign_eof', version)
    const { code, stdout, stderr } = await runProgram('openssl', args, NOTHING)
    t.equal(code, 0, stderr)
    t.ok(stdout.equals(BIG), version)
    t.same(agreed, ['test', 'localhost'])
    t.notMatch(stderr, /unexpected eof/)
  }
})

needing('openssl', 's_client: an upload, and the end that it announces', async (t, net) => {
  const certificates = makeCertificates()
  const { key, cert } = certificates
  const got: Buffer[] = []
  const secure = tls.createServer({ key, cert }, (socket) => {
    void readBytes(socket).then((bytes) => { got.push(bytes) })
  })
  const { port } = await listen(t, net, serving(secure))
  await runProgram('openssl', sClient(port, certificates), DIGITS)
  await until(() => got.length === 1)
  t.ok(got[0].equals(DIGITS))
})

/** Starts `openssl s_server` with `args`. @returns its port */
async function sServer(t: Test, { keyFile, certFile }: Certificates, ...args: string[]): Promise<number> {
  const port = await freePort()
  const given = ['s_server', '-accept', `127.0.0.1:${port}`, '-key', keyFile, '-cert', certFile, ...args]
  const program = await new Program(port, 'openssl', given, { asRoot: true }).start()
  t.teardown(() => program.stop())
  return port
}

const secureTo = (net: Net, port: number, { ca }: Certificates, protocol = 'http/1.1'): tls.TLSSocket =>
  tls.connect({
    socket: net.connect({ host: '127.0.0.1', port }), ca, servername: 'localhost', ALPNProtocols: [protocol],
  })

needing('openssl', 's_server: ALPN, an answer, and the end that it announces', async (t, net) => {
  const certificates = makeCertificates()
  const port = await sServer(t, certificates, '-www', '-alpn', 'http/1.1')
  const socket = secureTo(net, port, certificates)
  await once(socket, 'secureConnect')
  t.ok(socket.authorized)
  t.equal(socket.alpnProtocol, 'http/1.1')
  socket.write('GET / HTTP/1.0\r\n\r\n')
  t.match((await readBytes(socket)).toString(), /^HTTP\/1.0 200 ok[^]*s_server/)
})

needing('openssl', 's_server -rev: 20,000 lines there and back', async (t, net) => {
  const certificates = makeCertificates()
  const port = await sServer(t, certificates, '-rev')
  const socket = secureTo(net, port, certificates)
  const lines = Array.from({ length: 20_000 }, (_, i) => `line number ${i}`)
  let text = ''
  socket.setEncoding('utf8').on('data', (piece: string) => (text += piece))
  for (const line of lines) socket.write(`${line}\n`)
  const expected = lines.map((line) => `${Buffer.from(line).reverse().toString()}\n`).join('')
  await until(() => text.length >= expected.length)
  t.ok(text === expected)
  socket.destroy()
})

needing('openssl', 's_server: an upload of 64 MiB, which it prints', async (t, net) => {
  const certificates = makeCertificates()
  const port = await freePort()
  const { keyFile, certFile } = certificates
  const child = spawn('openssl', ['s_server', '-accept', `127.0.0.1:${port}`, '-naccept', '1', '-quiet',
    '-key', keyFile, '-cert', certFile], { stdio: ['pipe', 'pipe', 'ignore'] })
  t.teardown(() => { child.kill('SIGKILL') })
  const printed = readBytes(child.stdout)
  const socket = await reaching(() => secureTo(net, port, certificates))
  socket.end(BIG)
  socket.resume()
  t.ok((await printed).equals(BIG))
})

/** Connects again and again until somebody listens. */
async function reaching(connect: () => tls.TLSSocket): Promise<tls.TLSSocket> {
  for (;;) {
    const socket = connect()
    try {
      await once(socket, 'secureConnect')
      return socket
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ECONNREFUSED') throw error
    }
  }
}
