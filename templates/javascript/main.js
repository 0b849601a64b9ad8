/** Starts the server: `node main.js [PORT]`, or `--port PORT`. */
import { parseArgs } from 'node:util'
import { serve } from './server.js'

function portOf(args) {
  const options = { port: { type: 'string' } }
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  const text = values.port ?? positionals[0] ?? '5998'
  if (/^\d+$/.test(text) && Number(text) <= 65535) return Number(text)
  throw new Error(`a port is a number from 0 to 65535; got ${text}`)
}

try {
  const vm = serve(portOf(process.argv.slice(2)), (port) => console.log(`listening on 127.0.0.1:${port}`))
  // SIGTERM lets conversations end by themselves, for a while; Ctrl-C does not.
  process.once('SIGTERM', () => void vm.shutdown({ drainMs: 5000 }))
  process.once('SIGINT', () => void vm.stop())
  await vm
} catch (error) {
  // Whatever started this sees by the exit code that the server has failed.
  // What the system refused, such as the port, the log has told.
  if (!(error instanceof Error && 'syscall' in error)) console.error(String(error))
  process.exitCode = 1
}
