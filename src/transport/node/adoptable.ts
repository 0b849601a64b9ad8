/**
 * Whether a descriptor of others can be adopted, as far as it can be known without the addon: Linux lists all sockets
 * in files. Elsewhere, and for sockets of another network namespace, Node finds out. Owns the list of those that are
 * in use here.
 */
import { fstatSync, readFileSync } from 'node:fs'
import { constants } from 'node:os'
import type { SocketError } from '../seam/transport.js'

const { EBADF, EEXIST, EINVAL, ENOTCONN, ENOTSOCK, EPROTOTYPE } = constants.errno

/** Of the thread: Node would adopt one twice, and close it twice. */
const inUse = new Set<number>()

/** It was adopted. */
export function adopted(fd: number): void {
  inUse.add(fd)
}

/** It was closed. */
export function closed(fd: number | undefined): void {
  if (fd !== undefined) inUse.delete(fd)
}

/** Rows of one of the kernel's lists of sockets, as columns. */
function rows(name: string): string[][] {
  try {
    return readFileSync(`/proc/self/net/${name}`, 'latin1').split('\n').slice(1).map((row) => row.trim().split(/ +/))
  } catch {
    return []
  }
}

const LISTENING = '0A'
const CONNECTED = ['01', '08', '04', '05', '06', '09', '0B']
const ACCEPTS = 0x10000

/** Of TCP: 'listening', 'connected' or 'neither'; undefined: it is no such socket. */
function tcpState(inode: string): string | undefined {
  for (const name of ['tcp', 'tcp6']) {
    const state = rows(name).find((row) => row[9] === inode)?.[3]
    if (state === LISTENING) return 'listening'
    if (state !== undefined) return CONNECTED.includes(state) ? 'connected' : 'neither'
  }
  return undefined
}

/** Of a Unix socket the same; 'other' for one that is no stream. */
function unixState(inode: string): string | undefined {
  const row = rows('unix').find((columns) => columns[6] === inode)
  if (row === undefined) return undefined
  if (row[4] !== '0001') return 'other'
  if ((parseInt(row[3], 16) & ACCEPTS) !== 0) return 'listening'
  return row[5] === '03' ? 'connected' : 'neither'
}

function isDatagrams(inode: string): boolean {
  return ['udp', 'udp6'].some((name) => rows(name).some((row) => row[9] === inode))
}

/**
 * Why it can't be adopted: a negative errno, as the native transport has it; 0: nothing is known against it.
 *
 * @param as a 'bound' one may listen already
 */
export function adoptable(fd: number, as: 'listener' | 'bound' | 'connection'): number {
  if (inUse.has(fd)) return -EEXIST
  let inode: string
  try {
    const status = fstatSync(fd)
    if (!status.isSocket()) return -ENOTSOCK
    inode = String(status.ino)
  } catch (error) {
    return (error as SocketError).errno ?? -EBADF
  }
  const state = tcpState(inode) ?? unixState(inode)
  if (state === undefined) return isDatagrams(inode) ? -EPROTOTYPE : 0
  if (state === 'other') return -EPROTOTYPE
  if (as === 'bound') return state === 'connected' ? -EINVAL : 0
  if (as === 'listener') return state === 'listening' ? 0 : -EINVAL
  if (state === 'listening') return -EINVAL
  return state === 'connected' ? 0 : -ENOTCONN
}
