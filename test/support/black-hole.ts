/** An address of this machine that answers no connection attempt: a listener whose queue is full. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'

/* Linux queues one connection more than the backlog says, and drops the first packet of others. */
const PROGRAM = `
import socket, sys, time
full = socket.socket()
full.bind((sys.argv[1], int(sys.argv[2])))
full.listen(0)
waiting = []
for _ in range(3):
    s = socket.socket()
    s.setblocking(False)
    s.connect_ex(full.getsockname())
    waiting.append(s)
print(full.getsockname()[1], flush=True)
sys.stdin.read()
`

/** Where nobody answers. @returns its port, which is `port` if that is not 0 */
export async function blackHole(t: Test, address: string, port = 0): Promise<number> {
  const args = ['-c', PROGRAM, address, String(port)]
  const child = spawn('python3', args, { stdio: ['pipe', 'pipe', 'inherit'] })
  t.teardown(() => { child.stdin.end() })
  const [line] = await once(child.stdout, 'data') as [Buffer]
  return Number(line.toString())
}
