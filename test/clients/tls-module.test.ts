/** Libraries on `marketplace-native/tls`, as docs/tls.md says: `ioredis`, `mqtt` and `undici`, against real servers. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer } from 'node:http'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { TLSSocket } from 'node:tls'
import { AbstractConnector, Redis } from 'ioredis'
import { MqttClient } from 'mqtt'
import t, { type Test } from 'tap'
import { Agent, request } from 'undici'
import tls from 'marketplace-native/tls'
import { freePort, missing, pattern, until } from '../support/util.js'
import { readBytes } from './lib/bytes.js'
import { makeCertificates, type Certificates } from './lib/certificates.js'
import { Program, temporaryFolder } from './lib/programs.js'

const none = missing('openssl')
const { ca, key, cert, caFile, certFile, keyFile } = none === false ? makeCertificates() : {} as Certificates
const host = '127.0.0.1'
const trusted = { ca, servername: 'localhost' }

/** Runs until the test ends. */
async function started(t: Test, port: number, command: string, args: readonly string[]): Promise<void> {
  const program = new Program(port, command, args, { asRoot: true })
  t.teardown(() => program.stop())
  await program.start()
}

t.test('ioredis: its connector gives a socket of ours', { skip: none || missing('redis-server') }, async (t) => {
  const port = await freePort()
  await started(t, port, 'redis-server', [
    '--port', '0', '--tls-port', String(port), '--bind', host, '--save', '', '--dir', temporaryFolder(t),
    '--tls-cert-file', certFile, '--tls-key-file', keyFile, '--tls-ca-cert-file', caFile, '--tls-auth-clients', 'no',
  ])
  class Connector extends AbstractConnector {
    constructor({ disconnectTimeout }: { disconnectTimeout: number }) {
      super(disconnectTimeout)
    }

    override connect(): Promise<TLSSocket> {
      this.connecting = true
      const socket = tls.connect({ host, port, ...trusted })
      this.stream = socket
      return Promise.resolve(socket)
    }
  }
  const redis = new Redis({ Connector: Connector as never })
  t.teardown(() => { redis.disconnect() })
  const value = pattern(3 << 20)
  const keys = Array.from({ length: 2000 }, (_none, i) => `key ${i}`)
  await Promise.all(keys.map((name) => redis.set(name, name)))
  t.same(await redis.mget(keys), keys)
  t.equal(await redis.set('big', value), 'OK')
  t.ok((await redis.getBuffer('big'))?.equals(value))
  t.match((redis as unknown as { stream: TLSSocket }).stream.getProtocol(), /^TLSv1\.[23]$/)
  t.equal(await redis.quit(), 'OK')
})

t.test('mqtt: its stream is a socket of ours; it comes back when the broker does', {
  skip: none || missing('mosquitto'),
}, async (t) => {
  const port = await freePort()
  const config = join(temporaryFolder(t), 'mosquitto.conf')
  writeFileSync(config, [
    `listener ${port} ${host}`, `cafile ${caFile}`, `certfile ${certFile}`, `keyfile ${keyFile}`,
    'allow_anonymous true', 'user root', '',
  ].join('\n'))
  const broker = new Program(port, 'mosquitto', ['-c', config], { asRoot: true })
  t.teardown(() => broker.stop())
  await broker.start()
  const client = new MqttClient(() => tls.connect({ host, port, ...trusted }), { reconnectPeriod: 50 })
  t.teardown(() => { client.end(true) })
  client.on('error', () => undefined)
  const connected = (): Promise<unknown> => new Promise((resolve) => { client.once('connect', resolve) })
  const heard: string[] = []
  client.on('message', (topic, payload) => { heard.push(`${topic}: ${payload.toString()}`) })
  await connected()
  await client.subscribeAsync('news/#', { qos: 1 })
  const sent = Array.from({ length: 500 }, (_none, i) => `news/${i % 7}: message ${i}`)
  for (const line of sent) {
    const [topic, payload] = line.split(': ')
    client.publish(topic, payload, { qos: 1 })
  }
  await until(() => heard.length === sent.length)
  t.same([...heard].sort(), [...sent].sort())
  const again = connected()
  await broker.stop('SIGKILL')
  await broker.start()
  await again
  heard.length = 0
  await client.publishAsync('news/x', 'back', { qos: 1 })
  await until(() => heard.length === 1)
  t.same(heard, ['news/x: back'])
  await client.endAsync()
})

t.test('undici: its connect gives a socket of ours, to a server of https on ours', { skip: none }, async (t) => {
  const web = createServer((incoming, response) => {
    void readBytes(incoming).then((body) => { response.end(body) })
  })
  const server = tls.createServer({ key, cert, allowHalfOpen: true }, (socket) => { web.emit('connection', socket) })
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const agent = new Agent({
    connect: (options, done) => {
      const socket = tls.connect({ host, port: Number(options.port), ...trusted })
      const failed = (error: Error): void => { done(error, null) }
      socket.once('error', failed)
      socket.once('secureConnect', () => {
        socket.off('error', failed)
        done(null, socket)
      })
    },
  })
  t.teardown(() => agent.close())
  const body = pattern(1 << 20)
  const answers = await Promise.all(Array.from({ length: 20 }, async () => {
    const { statusCode, body: answer } = await request(`https://localhost:${port}/`, {
      dispatcher: agent, method: 'POST', body,
    })
    return [statusCode, Buffer.from(await answer.arrayBuffer()).equals(body)]
  }))
  t.ok(answers.every(([status, same]) => status === 200 && same === true))
})

t.test('curl', { skip: none || missing('curl') }, async (t) => {
  const web = createServer((_request, response) => { response.end('hello') })
  const server = tls.createServer({ key, cert, allowHalfOpen: true }, (socket) => { web.emit('connection', socket) })
  server.listen(0, host)
  await once(server, 'listening')
  t.teardown(() => server.close())
  const { port } = server.address() as { port: number }
  const curl = spawn('curl', [
    '-s', '--cacert', caFile, '--resolve', `localhost:${port}:${host}`, `https://localhost:${port}/`,
  ])
  t.equal((await readBytes(curl.stdout)).toString(), 'hello')
})
