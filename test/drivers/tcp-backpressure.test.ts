/** Backpressure of the flow-controlled driver: a sender of 100 MB blocks until it is let through. */
import { CreditSession, onBothWithCredit, type Opened } from './credit-session.js'
import { endsByItself, host, onBoth, server, type Program } from './tcp-program.js'
import { spawn } from 'node:child_process'
import { createHash } from 'node:crypto'
import type { Test } from 'tap'
import { deleteEndpoint, eof, tcpCredit } from 'marketplace-native'
import { client, collectGarbage, pattern, readAll, until } from '../support/util.js'

const MEBIBYTE = 1024 * 1024
const CHUNK = 64 * 1024
const TOTAL = 100 * MEBIBYTE

/** Sends TOTAL bytes, counted in every 4 of them; prints how many the kernel has taken, now and then. */
const SENDER = `
  const { connect } = require('node:net')
  const socket = connect(Number(process.argv[1]), '${host}')
  const report = () => console.log(socket.bytesWritten - socket.writableLength)
  let at = 0
  const fill = () => {
    while (at < ${TOTAL}) {
      const chunk = Buffer.allocUnsafe(${CHUNK})
      for (let i = 0; i < ${CHUNK}; i += 4) chunk.writeUInt32LE(at + i, i)
      at += ${CHUNK}
      if (!socket.write(chunk)) return
    }
    socket.end()
  }
  socket.on('connect', fill).on('drain', fill)
  const timer = setInterval(report, 50)
  socket.on('finish', () => { clearInterval(timer); report() })
  socket.resume()
`

/** The hash of what the sender sends. */
function expectedHash(): string {
  const hash = createHash('sha1')
  const words = new Uint32Array(CHUNK / 4)
  for (let at = 0; at < TOTAL; at += CHUNK) {
    for (let i = 0; i < words.length; i++) words[i] = at + i * 4
    hash.update(words)
  }
  return hash.digest('hex')
}

/** Starts the sender; its last report is `sent`, and `same` counts how often that was said in a row. */
function startSender(t: Test, port: number) {
  const state = { sent: 0, same: 0 }
  const child = spawn(process.execPath, ['-e', SENDER, `${port}`], { env: { PATH: process.env['PATH'] } })
  t.teardown(() => child.kill('SIGKILL'))
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    for (const line of text.trim().split('\n')) {
      state.same = Number(line) === state.sent ? state.same + 1 : 0
      state.sent = Number(line)
    }
  })
  return state
}

onBoth('a sender of 100 MB blocks until it is granted credit; then all gets through', async (t, start) => {
  const hash = createHash('sha1')
  let received = 0
  let granted = 0
  let most = 0
  const session = new CreditSession((data, own) => {
    hash.update(data)
    received += data.length
    most = Math.max(most, received - granted)
    granted += data.length
    return own.feedback(tcpCredit(data.length))
  })
  const boot = (p: Program) => server((them, us) => session.boot(p, them, us))
  const program = start(boot, { driver: 'tcp' })
  const port = await program.port()
  collectGarbage()
  const before = process.memoryUsage()
  const sender = startSender(t, port)
  await until(() => sender.sent > 0 && sender.same >= 6)
  t.ok(sender.sent < 16 * MEBIBYTE, `blocked after ${(sender.sent / MEBIBYTE).toFixed(1)} MiB`)
  t.equal(received, 0, 'nothing was delivered')
  const [{ metrics }] = program.transports
  t.ok(metrics.bytesIn < MEBIBYTE, `${metrics.bytesIn} bytes were read from the kernel`)
  const now = process.memoryUsage()
  t.ok(now.rss - before.rss < 12 * MEBIBYTE, `resident memory grew by ${now.rss - before.rss} bytes`)

  granted = 2 * MEBIBYTE
  session.credit(granted)
  await until(() => received >= 20 * MEBIBYTE)
  collectGarbage()
  const middle = process.memoryUsage().rss
  await until(() => session.got.includes(eof))
  t.equal(received, TOTAL)
  t.equal(hash.digest('hex'), expectedHash(), 'intact')
  t.ok(most <= 0, 'never more than the credit')
  collectGarbage()
  const after = process.memoryUsage().rss
  t.ok(after - middle < 48 * MEBIBYTE, `resident memory grew by ${after - middle} bytes while it came`)
})

async function echoedLines({ session, socket }: Opened): Promise<string> {
  session.mode('lines', 2)
  socket.write('one\ntwo\nthree\n')
  await until(() => session.got.length === 2)
  for (const line of session.got) session.remote.do(session.send(Buffer.from(`${String(line)};`)))
  session.remote.do(session.send(eof))
  return (await readAll(socket)).toString()
}

onBothWithCredit('in a nested VM, through a relay', async (t, open) => {
  for (const depth of [1, 2]) {
    const opened = await open({ depth })
    t.equal(await echoedLines(opened), 'one;two;')
    await until(() => opened.session.accepted === 8)
    const { program, session, socket } = opened
    t.strictSame(session.got, ['one', 'two'], 'the third waits for credit')
    session.credit(1)
    await until(() => session.got.length === 3)
    socket.end()
    await program.reason('in')
    program.do(deleteEndpoint('server'))
    session.remote.letGo()
    program.letGo()
    t.ok(await endsByItself(program), `the ground VM ends, depth ${depth}`)
  }
})

onBoth('one connection without credit holds up no other', async (t, start) => {
  const sessions: CreditSession[] = []
  const program = start((p) => server((them, us) => {
    sessions.push(new CreditSession((data, own) => [own.send(data), own.feedback(tcpCredit(data.length))]))
    return sessions.at(-1)?.boot(p, them, us)
  }), { driver: 'tcp' })
  const port = await program.port()
  const blocked = await client(port)
  blocked.write(pattern(4 * MEBIBYTE))
  await until(() => sessions.length === 1)
  const served = await client(port)
  await until(() => sessions.length === 2)
  sessions[1].credit(1000)
  const bytes = pattern(MEBIBYTE, 5)
  served.end(bytes)
  t.ok((await readAll(served)).equals(bytes))
  t.equal(program.connections, 1)
  blocked.destroy()
})
