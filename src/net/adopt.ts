/**
 * Sockets and servers of node:net's own, such as another process has sent, become this module's. Owns nothing: the
 * engine gets a further descriptor of the kernel's socket, and Node's is closed.
 */
import { closeSync } from 'node:fs'
import type * as nodeNet from 'node:net'
import { adoptability, duplicateDescriptor } from '../transport/descriptors.js'
import { argumentError, socketError } from '../support/errors.js'
import { nodeError, socketClosed } from './errors.js'
import { Server } from './server.js'
import { Socket } from './socket.js'

interface Handled {
  readonly _handle?: { readonly fd?: number } | null
}

/** A further descriptor of what libuv has. */
function descriptorOf(of: Handled, as: 'bound' | 'connection'): number {
  const fd = of._handle?.fd
  if (fd === undefined || fd < 0) throw socketClosed()
  const own = duplicateDescriptor(fd)
  if (own < 0) throw socketError(own, 'dup')
  const kind = adoptability(own, as)
  if (typeof kind === 'string') return own
  closeSync(own)
  throw socketError(kind, as === 'bound' ? 'listen' : 'open')
}

function adoptSocket(theirs: nodeNet.Socket): Socket {
  if (theirs.writableLength > 0) {
    throw nodeError(Error, 'ERR_INVALID_STATE', 'adopt: the socket has output that was not sent')
  }
  const fd = descriptorOf(theirs as unknown as Handled, 'connection')
  theirs.pause()
  const unread: Buffer[] = []
  for (let chunk = theirs.read() as unknown; chunk !== null; chunk = theirs.read() as unknown) {
    unread.push(Buffer.from(chunk as string, theirs.readableEncoding ?? 'utf8'))
  }
  const ours = new Socket({ fd, allowHalfOpen: theirs.allowHalfOpen })
  if (unread.length > 0) ours.unshift(Buffer.concat(unread))
  theirs.destroy()
  return ours
}

function adoptServer(theirs: nodeNet.Server): Server {
  const { allowHalfOpen, pauseOnConnect, noDelay, keepAlive, keepAliveInitialDelay, highWaterMark } =
    theirs as unknown as Record<string, never>
  const fd = descriptorOf(theirs as unknown as Handled, 'bound')
  const delay = Number(keepAliveInitialDelay) * 1000
  const ours = new Server({
    allowHalfOpen, pauseOnConnect, noDelay, keepAlive, keepAliveInitialDelay: delay, highWaterMark,
  })
  // Not by `listen`, which in a worker of a cluster takes it for a descriptor of the primary's.
  ours._listen2(null, 0, 0, 0, fd)
  theirs.close()
  return ours
}

/** As exports.ts has it. */
export function adopt(theirs: unknown, Node: typeof nodeNet): Socket | Server {
  if (theirs instanceof Socket || theirs instanceof Server) return theirs
  if (theirs instanceof Node.Socket) return adoptSocket(theirs)
  if (theirs instanceof Node.Server) return adoptServer(theirs)
  throw argumentError('adopt', 'handle', 'a Socket or a Server of node:net', theirs)
}
