/** What the balancer's processes say to each other. A backend is called by its `tcpAddress(host, port)`. */
import { defineRecord, type TcpAddress } from 'marketplace-native'

/** Published while a backend can be reached: who may be sent there follows from presence. */
export const backendUp = defineRecord('backend-up', ['at']).of<[at: TcpAddress]>()

/** Asks for a backend other than those that were tried; published for as long as it is needed. */
export const wantsBackend = defineRecord('wants-backend', ['client', 'tried']).of<
  [client: number, tried: readonly TcpAddress[]]
>()

/** The answer; `undefined`: there is none. */
export const useBackend = defineRecord('use-backend', ['client', 'at']).of<
  [client: number, at: TcpAddress | undefined]
>()

/** A client could not be connected to a backend: it is down, whatever the last check said. */
export const suspectBackend = defineRecord('suspect-backend', ['at', 'why']).of<
  [at: TcpAddress, why: Error]
>()

/** Asks for a backend to be used, and not to be used any more for new clients. */
export const addBackend = defineRecord('add-backend', ['at']).of<[at: TcpAddress]>()
export const drainBackend = defineRecord('drain-backend', ['at']).of<[at: TcpAddress]>()

export type Log = (text: string) => void

/** `127.0.0.1:80`, `[::1]:80` */
export const nameOf = ({ host, port }: TcpAddress) => `${host.includes(':') ? `[${host}]` : host}:${port}`
