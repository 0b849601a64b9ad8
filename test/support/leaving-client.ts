/**
 * TLS clients in a process of their own that send much, say that this was all, and go without having read the answer:
 * so that the server's input ends when sending has failed already.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'

const PROGRAM = `
  const { connect } = require('node:tls')
  const [, port, count] = process.argv
  let left = Number(count)
  const next = () => {
    if (left-- === 0) return
    const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false })
    socket.on('error', () => undefined).on('close', next)
    socket.on('finish', () => socket.destroy())
    socket.write(Buffer.alloc(8000 + Math.random() * 60000 | 0))
    socket.end()
  }
  next()
`

/** @param count one after the other. Resolves when all are gone, to how the process ended. */
export async function leavingClients(
  t: { teardown(end: () => void): void }, port: number, count: number,
): Promise<number | null> {
  const peer = spawn(process.execPath, ['-e', PROGRAM, String(port), String(count)], { stdio: 'inherit' })
  t.teardown(() => { peer.kill('SIGKILL') })
  const [code] = await once(peer, 'exit') as [number | null]
  return code
}
