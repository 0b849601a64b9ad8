/**
 * How a listener of the native transport comes to listen: its name is looked up without blocking, and its address
 * is bound, or a socket that is there already is adopted. Owns nothing; a listener that was closed meanwhile is left
 * alone.
 */
import { lookup } from 'node:dns'
import { isIP } from 'node:net'
import { constants } from 'node:os'
import { socketError } from '../../support/errors.js'
import { isEngines } from './engine.js'
import { currentLender } from './loan.js'
import { listenWords } from './options.js'
import type { NativeListener, SocketAccount } from './socket.js'
import { Adoptable, UNIX_PORT } from './layout.js'
import { adoptionError, takesFile } from '../seam/adoption.js'
import type { ListenOptions, SocketError } from '../seam/transport.js'

/** Binds and listens, now or when the name is known. The options were checked. */
export function startListener(
  account: SocketAccount, listener: NativeListener, options: ListenOptions,
): void {
  const { host, path, fd, ipv6Only = false } = options
  if (fd !== undefined) {
    adopt(account, listener, options, fd)
    return
  }
  if (path !== undefined) {
    if (borrow(account, listener, options, path, UNIX_PORT)) return
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

/** Listens on a socket that others have opened. */
function adopt(account: SocketAccount, listener: NativeListener, options: ListenOptions, fd: number): void {
  const as = options.bound === true ? Adoptable.bound : Adoptable.listener
  const id = isEngines(fd)
    ? -constants.errno.EEXIST
    : account.link.adoptListener(account.number, fd, listenWords(options), as, takesFile(fd))
  if (id > 0) listener.opened(id)
  else listener.failed(adoptionError(id, 'listen', fd))
}

function bind(
  account: SocketAccount, listener: NativeListener, options: ListenOptions, host: string | undefined,
): void {
  const { link, number } = account
  const { port = 0, ipv6Only = false } = options
  const words = listenWords(options)
  if (borrow(account, listener, options, host, port)) return
  let address = host ?? '::'
  let id = link.listen(number, address, port, words)
  if (host === undefined && !ipv6Only && lacksIPv6(id)) {
    address = '0.0.0.0'
    id = link.listen(number, address, port, words)
  }
  if (id > 0) listener.opened(id)
  else listener.failed(socketError(id, 'listen', address, port))
}

/** What binding to an IPv6 address says where there is no IPv6 on this machine, or it is switched off. */
export function lacksIPv6(result: number): boolean {
  const { EAFNOSUPPORT, EADDRNOTAVAIL, EINVAL } = constants.errno
  return result === -EAFNOSUPPORT || result === -EADDRNOTAVAIL || result === -EINVAL
}

/**
 * In a thread that has its listeners from another one: listens on one of those.
 *
 * @returns whether that is so here, and not a socket of its own was asked for
 */
function borrow(
  account: SocketAccount, listener: NativeListener, options: ListenOptions, host: string | undefined, port: number,
): boolean {
  const lender = currentLender()
  if (lender === undefined || options.reusePort === true || options.reusePort === 'if-supported') return false
  const words = listenWords(options)
  const loan = lender.borrow({ host, port, ipv6Only: options.ipv6Only === true, words })
  if (typeof loan === 'number') {
    listener.failed(socketError(loan, 'listen', host ?? '::', port === UNIX_PORT ? undefined : port))
    return true
  }
  const id = account.link.borrowListener(account.number, loan.descriptors, port === UNIX_PORT, words)
  if (id > 0) {
    listener.borrowed(id, loan)
  } else {
    loan.giveBack()
    listener.failed(socketError(id, 'listen', host ?? '::', port === UNIX_PORT ? undefined : port))
  }
  return true
}
