/** `pg` over the connections of a net module, against PostgreSQL; plain and with TLS. */
import { once } from 'node:events'
import type { TLSSocket } from 'node:tls'
import ourNet from 'marketplace-native/net'
import tls from 'marketplace-native/tls'
import { Client, Connection, Pool, type ClientConfig, type Notification } from 'pg'
import t, { type Test } from 'tap'
import { pattern, until } from '../support/util.js'
import { makeCertificates } from './lib/certificates.js'
import { onEachNet, type Net } from './lib/nets.js'
import { missingPostgres, postgresServer } from './lib/programs.js'

const skip = missingPostgres()
if (skip !== false) t.test('the suite', { skip }, () => undefined)
else await suite()

async function suite(): Promise<void> {
  const certificates = makeCertificates()
  const server = await postgresServer(t, certificates)

  const config = (net: Net): ClientConfig => ({
    host: '127.0.0.1', port: server.port, user: 'postgres', database: 'postgres',
    stream: () => new net.Socket(),
  })

  const client = async (t: Test, net: Net, options: ClientConfig = {}): Promise<Client> => {
    const made = new Client({ ...config(net), ...options })
    t.teardown(() => made.end())
    await made.connect()
    return made
  }

  onEachNet('queries, prepared statements, a transaction, errors', async (t, net) => {
    const db = await client(t, net)
    t.same((await db.query('SELECT 1 + 1 AS sum')).rows, [{ sum: 2 }])
    for (let i = 0; i < 10; i += 1) {
      const { rows } = await db.query({ name: 'double', text: 'SELECT $1::int * 2 AS twice', values: [i] })
      t.same(rows, [{ twice: 2 * i }])
    }
    await t.rejects(db.query('SELECT * FROM nowhere'), { code: '42P01' })
    await db.query('CREATE TEMPORARY TABLE things (id int PRIMARY KEY, body bytea)')
    await db.query('BEGIN')
    await db.query('INSERT INTO things VALUES (1, $1)', [Buffer.from('one')])
    await t.rejects(db.query('INSERT INTO things VALUES (1, NULL)'), { code: '23505' })
    await db.query('ROLLBACK')
    t.same((await db.query('SELECT count(*)::int AS n FROM things')).rows, [{ n: 0 }])
  })

  onEachNet('a result of 200,000 rows, and a value of 16 MiB there and back', async (t, net) => {
    const db = await client(t, net)
    const { rows } = await db.query<{ n: number, text: string }>(
      "SELECT n, repeat('x', n % 100) AS text FROM generate_series(1, 200000) AS n",
    )
    t.equal(rows.length, 200_000)
    t.ok(rows.every(({ n, text }, i) => n === i + 1 && text.length === n % 100))
    const bytes = pattern(16 << 20)
    const echoed = await db.query<{ bytes: Buffer }>('SELECT $1::bytea AS bytes', [bytes])
    t.ok(echoed.rows[0]?.bytes.equals(bytes))
  })

  onEachNet('LISTEN and NOTIFY', async (t, net) => {
    const [listening, notifying] = [await client(t, net), await client(t, net)]
    const got: (string | undefined)[] = []
    listening.on('notification', ({ payload }: Notification) => { got.push(payload) })
    await listening.query('LISTEN news')
    const sent = Array.from({ length: 100 }, (_, i) => `message ${i}`)
    for (const text of sent) await notifying.query('SELECT pg_notify($1, $2)', ['news', text])
    await until(() => got.length === sent.length)
    t.same(got, sent)
  })

  onEachNet('a pool: 500 queries over 5 connections', async (t, net) => {
    const pool = new Pool({ ...config(net), max: 5 })
    t.teardown(() => pool.end())
    const numbers = Array.from({ length: 500 }, (_, i) => i)
    const results = await Promise.all(
      numbers.map((n) => pool.query<{ n: number }>('SELECT $1::int AS n', [n])),
    )
    t.same(results.map(({ rows }) => rows[0]?.n), numbers)
    t.equal(pool.totalCount, 5)
  })

  onEachNet('TLS: asked for on the plain connection, then on top of it', async (t, net) => {
    const ssl = { ca: certificates.ca.toString(), servername: 'localhost' }
    const db = await client(t, net, { ssl })
    const { rows } = await db.query('SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()')
    t.same(rows, [{ ssl: true }])
    const bytes = pattern(4 << 20)
    const echoed = await db.query<{ bytes: Buffer }>('SELECT $1::bytea AS bytes', [bytes])
    t.ok(echoed.rows[0]?.bytes.equals(bytes))
  })

  /** As docs/net-clients.md has it. What is protected there has no types. */
  class SecureConnection extends Connection {
    declare stream: TLSSocket
    declare readonly ssl: object
    declare attachListeners: (stream: TLSSocket) => void

    constructor(config: ClientConfig) {
      super({ ...config, stream: () => new ourNet.Socket() })
    }

    upgradeToSSL(host: string, failed: (error: Error) => void): void {
      this.stream = tls.connect({ host, ...this.ssl, socket: this.stream })
      this.attachListeners(this.stream)
      this.stream.on('error', failed)
      this.emit('sslconnect')
    }
  }

  class SecureClient extends Client {
    readonly secure: SecureConnection

    constructor(config: ClientConfig) {
      const connection = new SecureConnection(config)
      super({ ...config, connection } as ClientConfig)
      this.secure = connection
    }
  }

  const secured: ClientConfig = {
    host: '127.0.0.1', port: server.port, user: 'postgres', database: 'postgres',
    ssl: { ca: certificates.ca.toString(), servername: 'localhost' },
  }

  t.test('marketplace-native/tls: a pool whose TLS is in the engine', async (t) => {
    const pool = new Pool({ ...secured, max: 3, Client: SecureClient } as ClientConfig)
    t.teardown(() => pool.end())
    const numbers = Array.from({ length: 300 }, (_none, i) => i)
    const results = await Promise.all(numbers.map((n) => pool.query<{ n: number, ssl: boolean }>(
      'SELECT $1::int AS n, ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()', [n],
    )))
    t.same(results.map(({ rows }) => rows[0]), numbers.map((n) => ({ n, ssl: true })))
    const client = await pool.connect()
    t.type((client as unknown as SecureClient).secure.stream, tls.TLSSocket)
    const bytes = pattern(4 << 20)
    const echoed = await client.query<{ bytes: Buffer }>('SELECT $1::bytea AS bytes', [bytes])
    t.ok(echoed.rows[0]?.bytes.equals(bytes))
    client.release()
  })

  t.test('marketplace-native/tls: a server that is not believed, and one that ends the connection', async (t) => {
    const wary = new SecureClient({ ...secured, ssl: { servername: 'localhost' } })
    await t.rejects(wary.connect(), { code: 'UNABLE_TO_VERIFY_LEAF_SIGNATURE' })
    const victim = new SecureClient(secured)
    victim.on('error', () => undefined)
    await victim.connect()
    const failed = once(victim, 'error')
    const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    const killer = await client(t, ourNet)
    await killer.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
    t.match((await failed)[0], { code: '57P01' })
    await t.rejects(victim.query('SELECT 1'))
  })

  onEachNet('a connection that the server ends: an error, and the next query fails', async (t, net) => {
    const [victim, killer] = [new Client(config(net)), await client(t, net)]
    // It says so more than once.
    victim.on('error', () => undefined)
    await victim.connect()
    const failed = once(victim, 'error')
    const { rows } = await victim.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
    await killer.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
    t.match((await failed)[0], { code: '57P01' })
    await t.rejects(victim.query('SELECT 1'))
  })
}
