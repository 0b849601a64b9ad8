/** `mysql2` over the connections of a net module, against MariaDB; plain and with TLS. */
import { createConnection, createPool, type Connection, type ConnectionOptions } from 'mysql2/promise'
import type { RowDataPacket } from 'mysql2'
import t, { type Test } from 'tap'
import { freePort, missing, pattern } from '../support/util.js'
import { makeCertificates } from './lib/certificates.js'
import { onEachNet, type Net } from './lib/nets.js'
import { mariadbServer } from './lib/programs.js'

const skip = missing('mariadbd') || missing('mariadb-install-db') || missing('openssl')
if (skip !== false) t.test('the suite', { skip }, () => undefined)
else await suite()

async function suite(): Promise<void> {
  const certificates = makeCertificates()
  const server = await mariadbServer(t, certificates)

  const config = (net: Net): ConnectionOptions => ({
    user: 'root', stream: () => net.connect({ host: '127.0.0.1', port: server.port, noDelay: true }),
  })

  const client = async (t: Test, net: Net, options: ConnectionOptions = {}): Promise<Connection> => {
    const made = await createConnection({ ...config(net), ...options })
    t.teardown(() => made.end())
    await made.query('CREATE DATABASE IF NOT EXISTS things')
    await made.query('USE things')
    return made
  }

  onEachNet('queries, prepared statements, a transaction, errors', async (t, net) => {
    const db = await client(t, net)
    const rows = async (sql: string, ...values: unknown[]): Promise<unknown> =>
      (await db.query<RowDataPacket[]>(sql, values))[0]
    t.same(await rows('SELECT 1 + 1 AS sum'), [{ sum: 2 }])
    for (let i = 0; i < 10; i += 1) {
      const [twice] = await db.execute<RowDataPacket[]>('SELECT ? * 2 AS twice', [i])
      t.equal(Number(twice[0]?.twice), 2 * i)
    }
    await t.rejects(rows('SELECT * FROM nowhere'), { code: 'ER_NO_SUCH_TABLE' })
    await db.query('CREATE TEMPORARY TABLE one (id int PRIMARY KEY) ENGINE=InnoDB')
    await db.beginTransaction()
    await rows('INSERT INTO one VALUES (?)', 1)
    await t.rejects(rows('INSERT INTO one VALUES (?)', 1), { code: 'ER_DUP_ENTRY' })
    await db.rollback()
    t.same(await rows('SELECT count(*) AS n FROM one'), [{ n: 0 }])
  })

  onEachNet('a blob of 20 MiB, more than a packet, there and back', async (t, net) => {
    const db = await client(t, net)
    const blob = pattern(20 << 20)
    await db.query('CREATE TEMPORARY TABLE blobs (body LONGBLOB)')
    await db.query('INSERT INTO blobs VALUES (?)', [blob])
    const [rows] = await db.query<RowDataPacket[]>('SELECT body FROM blobs')
    t.ok((rows[0]?.body as Buffer).equals(blob))
  })

  onEachNet('a result of 100,000 rows', async (t, net) => {
    const db = await client(t, net)
    const [rows] = await db.query<RowDataPacket[]>(
      "SELECT seq, repeat('x', seq % 50) AS text FROM seq_1_to_100000",
    )
    t.equal(rows.length, 100_000)
    t.ok(rows.every((row, i) => row.seq === i + 1 && (row.text as string).length === (i + 1) % 50))
  })

  onEachNet('a pool: 500 queries over 5 connections', async (t, net) => {
    const pool = createPool({ ...config(net), connectionLimit: 5 })
    t.teardown(() => pool.end())
    const numbers = Array.from({ length: 500 }, (_, i) => i)
    const results = await Promise.all(numbers.map((n) => pool.query<RowDataPacket[]>('SELECT ? AS n', [n])))
    t.same(results.map(([rows]) => rows[0]?.n as number), numbers)
  })

  onEachNet('TLS: asked for on the plain connection, then on top of it', async (t, net) => {
    const db = await client(t, net, { ssl: { ca: certificates.ca.toString(), verifyIdentity: false } })
    const [rows] = await db.query<RowDataPacket[]>("SHOW STATUS LIKE 'Ssl_cipher'")
    t.match(rows[0]?.Value, /TLS|AES/)
  })

  onEachNet('a connection that the server ends, and an address where nobody listens', async (t, net) => {
    const [victim, killer] = [await createConnection(config(net)), await client(t, net)]
    victim.on('error', () => undefined)
    const waiting = victim.query('SELECT sleep(60)')
    await killer.query('KILL ?', [victim.threadId])
    await t.rejects(waiting, { code: /PROTOCOL_CONNECTION_LOST|ECONNRESET|ER_CONNECTION_KILLED/ })
    victim.destroy()
    const port = await freePort()
    const nobody = { user: 'root', stream: () => net.connect({ host: '127.0.0.1', port }) }
    await t.rejects(createConnection(nobody), {
      code: 'ECONNREFUSED', syscall: 'connect', address: '127.0.0.1', port,
    })
  })
}
