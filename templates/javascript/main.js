/** Starts the server: `node main.js [PORT]`, or `--port PORT`. */
import { parseArgs } from 'node:util'
import { serve } from './server.js'

/** Undefined if help is asked for. */
function portOf(args) {
  const options = { port: { type: 'string' }, help: { type: 'boolean', short: 'h' } }
  const { values, positionals } = parseArgs({ args, options, allowPositionals: true })
  if (values.help) return undefined
  const text = values.port ?? positionals[0] ?? '5998'
  if (/^\d+$/.test(text) && Number(text) <= 65535) return Number(text)
  throw new Error(`a port is a number from 0 to 65535; got ${text}`)
}

try {
  const port = portOf(process.argv.slice(2))
  if (port === undefined) {
    console.log('usage: node main.js [--port 5998], where 0 is any free port')
  } else {
    const vm = serve(port, (found) => console.log(`listening on 127.0.0.1:${found}`))
    // SIGTERM lets conversations end by themselves, for a while; Ctrl-C does not.
    process.once('SIGTERM', () => void vm.shutdown({ drainMs: 5000 }))
    process.once('SIGINT', () => void vm.stop())
    await vm
  }
} catch (error) {
  // Whatever started this sees by the exit code that the server has failed.
  // What the system refused, such as the port, the log has told.
  if (!(error instanceof Error && 'syscall' in error)) console.error(String(error))
  process.exitCode = 1
}
