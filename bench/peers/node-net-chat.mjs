/**
 * The chat server of examples/chat.ts on plain node:net.
 *
 * usage: node node-net-chat.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

const members = new Map()
let arrivals = 0

function takeLine(user, line) {
  const what = line.replace(/\r$/, '')
  for (const socket of members.values()) socket.write(`${user}: ${what}\n`)
}

function depart(user) {
  if (!members.delete(user)) return
  for (const socket of members.values()) socket.write(`${user} departed.\n`)
}

const server = createServer({ noDelay: true }, (socket) => {
  const user = `user${++arrivals}`
  let pending = ''
  socket.setEncoding('utf8')
  socket.write(`You are ${user}.\n`)
  for (const [other, theirs] of members) {
    socket.write(`${other} arrived.\n`)
    theirs.write(`${user} arrived.\n`)
  }
  members.set(user, socket)
  socket.on('data', (text) => {
    const lines = (pending + text).split('\n')
    pending = lines.pop()
    for (const line of lines) takeLine(user, line)
  })
  socket.on('end', () => depart(user))
  socket.on('close', () => depart(user))
  socket.on('error', () => socket.destroy())
})

server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: Node ${process.version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
