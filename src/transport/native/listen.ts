/**
 * How a listener of the native transport comes to listen: its name is looked up without blocking, and
 * its address is bound. Owns nothing; a listener that was closed meanwhile is left alone.
 */
import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import { listenWords } from './options.js'
import type { NativeListener, SocketAccount } from './socket.js'
import { UNIX_PORT } from './layout.js'
import type { ListenOptions, SocketError } from '../seam/transport.js'

/** Binds and listens, now or when the name is known. The options were checked. */
export function startListener(
  account: SocketAccount, listener: NativeListener, options: ListenOptions,
): void {
  const { host, path, ipv6Only = false } = options
  if (path !== undefined) {
    const id = account.link.listen(account.number, path, UNIX_PORT, listenWords(options))
    if (id > 0) listener.opened(id)
    else listener.failed(socketError(id, 'listen', path))
    return
  }
  if (host === undefined || isIP(host) !== 0) {
    bind(account, listener, options, host)
    return
  }
  lookup(host, { family: ipv6Only ? 6 : 0 }, (error, address) => {
    if (listener.closed || account.closing) return
    if (error === null) bind(account, listener, options, address)
    else listener.failed(error as SocketError)
  })
}

function bind(
  account: SocketAccount, listener: NativeListener, options: ListenOptions, host: string | undefined,
): void {
  const { link, number } = account
  const { port = 0, ipv6Only = false } = options
  const words = listenWords(options)
  let address = host ?? '::'
  let id = link.listen(number, address, port, words)
  // No IPv6 on this machine, or it is switched off.
  const { EAFNOSUPPORT, EADDRNOTAVAIL, EINVAL } = constants.errno
  const noIPv6 = id === -EAFNOSUPPORT || id === -EADDRNOTAVAIL || id === -EINVAL
  if (host === undefined && !ipv6Only && noIPv6) {
    address = '0.0.0.0'
    id = link.listen(number, address, port, words)
  }
  if (id > 0) listener.opened(id)
  else listener.failed(socketError(id, 'listen', address, port))
}
