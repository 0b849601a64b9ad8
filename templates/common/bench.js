/**
 * A server beside the same on node:net: processes of their own, measured in turns, as medians.
 * CPU time is steadier than throughput, which depends on the client and on whatever else runs.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'

const CONNECTIONS = 50
const SIZE = 64
const WARMUP_MS = 300
const ROUNDS = 5
const ROUND_MS = 1000

const plain = `
  const server = require('net').createServer({ noDelay: true }, (socket) => {
    socket.on('data', (data) => socket.write(data)).on('error', () => {})
  })
  server.listen(0, '127.0.0.1', () => console.log('listening on 127.0.0.1:' + server.address().port))
`
/** Prints the CPU microseconds that the server used so far, for each line on its stdin. */
const meter = `data:text/javascript,${encodeURIComponent(`
  process.stdin.on('data', () => {
    const { user, system } = process.cpuUsage()
    console.log('cpu', user + system)
  }).unref()
`)}`

/** A line of the process's output that matches. */
async function said(child, pattern) {
  for (;;) {
    const found = pattern.exec(child.output)
    if (found !== null) return found
    await once(child.stdout, 'data')
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1))

async function start(args) {
  const child = spawn(process.execPath, ['--import', meter, ...args], { stdio: ['pipe', 'pipe', 'inherit'] })
  // However this process ends, the server does, too.
  process.once('exit', () => child.kill('SIGKILL'))
  child.output = ''
  child.stdout.on('data', (text) => { child.output += text })
  child.once('exit', (code) => { if (code !== null) throw new Error(`${args.at(-1)} ended: ${code}`) })
  const [, port] = await said(child, /listening on \S+:(\d+)\s/)
  return { child, port: Number(port) }
}

async function cpu({ child }) {
  child.output = ''
  child.stdin.write('\n')
  return Number((await said(child, /cpu (\d+)\n/))[1])
}

/** Each connection sends a message, and another one when it is back. */
async function pingPong(port, milliseconds, count) {
  const end = Date.now() + milliseconds
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true })
    const message = Buffer.alloc(SIZE, 'x')
    let received = 0
    socket.on('data', ({ length }) => {
      received += length
      if (received < SIZE) return
      received -= SIZE
      count()
      if (Date.now() < end) socket.write(message)
      else socket.end()
    })
    socket.write(message)
    await once(socket, 'close')
  }))
}

async function measure(server) {
  await pingPong(server.port, WARMUP_MS, () => {})
  const before = await cpu(server)
  const begin = performance.now()
  let messages = 0
  await pingPong(server.port, ROUND_MS, () => { messages += 1 })
  const seconds = (performance.now() - begin) / 1000
  return { rate: messages / seconds, cpu: (await cpu(server) - before) / messages }
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1]

const arms = { 'this server': [process.argv[2], '0'], 'node:net': ['-e', plain] }
const results = Object.fromEntries(Object.keys(arms).map((name) => [name, []]))
const servers = {}
for (const [name, args] of Object.entries(arms)) servers[name] = await start(args)
for (let round = 0; round < ROUNDS; round++) {
  for (const name of Object.keys(arms)) results[name].push(await measure(servers[name]))
}
for (const { child } of Object.values(servers)) child.kill('SIGKILL')

const figures = Object.entries(results).map(([name, rounds]) => ({
  server: name,
  'messages/s': Math.round(median(rounds.map(({ rate }) => rate))),
  'CPU us/message': Number(median(rounds.map(({ cpu }) => cpu)).toFixed(2)),
}))
console.table(figures)
const [ours, theirs] = figures.map((row) => row['CPU us/message'])
console.log(`CPU per message: ${(ours / theirs).toFixed(2)} of node:net's`)
console.log(`${CONNECTIONS} connections, ${SIZE} bytes, medians of ${ROUNDS} rounds of ${ROUND_MS} ms`)
