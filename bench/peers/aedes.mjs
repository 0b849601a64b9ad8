/**
 * The MQTT broker aedes, as its documentation starts it.
 *
 * usage: node aedes.mjs [--host ADDRESS] [--port PORT]; prints `listening on HOST:PORT`.
 */
import { readFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { parseArgs } from 'node:util'
import { Aedes } from 'aedes'

const { values } = parseArgs({
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '0' },
  },
})

const { version } = JSON.parse(readFileSync(new URL('../../node_modules/aedes/package.json', import.meta.url), 'utf8'))
const broker = await Aedes.createBroker()
const server = createServer({ noDelay: true }, broker.handle)
server.listen({ host: values.host, port: Number(values.port), backlog: 4096 }, () => {
  console.log(`version: ${version}`)
  console.log(`listening on ${server.address().address}:${server.address().port}`)
})
