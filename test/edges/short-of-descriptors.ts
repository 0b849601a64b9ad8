/**
 * A program of its own, run with few descriptors: an echo server on the transport named by its argument.
 * For each line on stdin it prints one line of JSON about itself.
 */
import { performance } from 'node:perf_hooks'
import { createInterface } from 'node:readline'
import { VARIANTS } from '../support/variants.js'

const make = VARIANTS.find(({ name }) => name === process.argv[2])?.make
if (make === undefined) throw new Error(`there is no transport '${process.argv[2]}'`)
const transport = make()
const failures: string[] = []
let accepted = 0
let port = 0
transport.open((events) => {
  for (const { kind, connection, listener, data, error } of events) {
    if (kind === 'listening') port = listener?.address?.port ?? 0
    if (kind === 'accept-failed') failures.push(error?.code ?? '')
    if (kind === 'accepted') accepted += 1
    if (kind === 'data') connection?.write(data ?? '')
    if (kind === 'end') connection?.shutdown()
  }
})
transport.listen({ host: '127.0.0.1', port: 0 })
createInterface({ input: process.stdin }).on('line', () => {
  const turns = performance.nodeTiming.uvMetricsInfo.loopCount
  process.stdout.write(`${JSON.stringify({ port, accepted, failures, turns })}\n`)
})
