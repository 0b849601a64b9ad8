/** What the kernel says of its sockets, and of itself. */
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import type { TransportConnection } from '../../src/transport/seam/transport.js'

/** Whether ::1 is there. */
export const hasIPv6 = Object.values(networkInterfaces()).flat()
  .some((one) => one?.address === '::1')

const hexPort = (port: number | undefined): string =>
  (port ?? 0).toString(16).toUpperCase().padStart(4, '0')

/** Whether a keep-alive timer (kind 2) runs for IPv4 connections; undefined for one that isn't there. */
export async function aliveOf(...connections: TransportConnection[]): Promise<(boolean | undefined)[]> {
  const lines = (await readFile('/proc/net/tcp', 'latin1')).split('\n').slice(1)
  return connections.map(({ local, remote }) => {
    const ends = [`:${hexPort(local?.port)}`, `:${hexPort(remote?.port)}`]
    for (const line of lines) {
      const [, ours = '', theirs = '', , , timer = ''] = line.trim().split(/\s+/)
      if (ours.endsWith(ends[0]) && theirs.endsWith(ends[1])) return timer.startsWith('02:')
    }
    return undefined
  })
}
