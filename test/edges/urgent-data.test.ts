/** Out-of-band data: ignored, and no hindrance to what comes around it. */
import { onEveryTransport, portOf } from '../support/transports.js'
import { until } from '../support/util.js'
import { NO_PYTHON, QUIET_TURNS, python, turnsIn } from './peers.js'
import { recorder } from './recorder.js'

onEveryTransport('urgent bytes are not part of the stream', async (t, open) => {
  const seen = recorder({ end: (connection) => { connection.shutdown() } })
  const listener = await open().listen(seen.handlers)
  const peer = python(t, `
peer = dial()
peer.send(b'!', socket.MSG_OOB)
wait()
peer.sendall(b'hello ')
wait()
peer.send(b'!', socket.MSG_OOB)
peer.sendall(b'world')
wait()
peer.sendall(b', goodbye')
peer.shutdown(socket.SHUT_WR)
assert peer.recv(10) == b''
`, portOf(listener))
  await seen.opened
  t.ok(await turnsIn(200) < QUIET_TURNS, 'urgent data alone makes nothing turn')
  peer.go()
  await until(() => seen.text() === 'hello ')
  t.ok(await turnsIn(200) < QUIET_TURNS, 'nor after it was passed')
  // One at a time: a byte stops being urgent when another one becomes it.
  peer.go()
  await until(() => seen.text() === 'hello world')
  peer.go()
  t.equal(await seen.closed, undefined)
  t.equal(seen.text(), 'hello world, goodbye')
  t.equal(await peer.ended(), 0)
}, { skip: NO_PYTHON })
