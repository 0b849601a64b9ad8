/** What is known of a descriptor that this process was given. Owns nothing. */
import { adoptability } from '../transport/descriptors.js'
import type { SocketAddress } from '../transport/seam/transport.js'

/** A descriptor that this process was started with, or has taken over. It is the caller's, until it is adopted. */
export interface InheritedSocket {
  /** As whoever gave it calls it; several may have the same name. */
  readonly name: string
  /** For `fdListener`, `fdAddress`, `listen({ fd })` or `new Socket({ fd })`. */
  readonly fd: number
  /** 'other': neither, but datagrams, a pipe, or anything else. */
  readonly kind: 'listener' | 'connection' | 'other'
  /** Where it listens, if whoever gave it said so. */
  readonly address?: SocketAddress | undefined
}

/** Which of these it is. */
export function kindOf(fd: number): InheritedSocket['kind'] {
  if (typeof adoptability(fd, 'listener') === 'string') return 'listener'
  return typeof adoptability(fd, 'connection') === 'string' ? 'connection' : 'other'
}
