/**
 * Node's own modules that only some programs need, loaded when one does: together they take longer than all of this
 * package, and everybody would wait for them. Owns nothing.
 */
import type * as crypto from 'node:crypto'
import type * as http from 'node:http'
import type * as https from 'node:https'
import type * as inspector from 'node:inspector'
import { createRequire } from 'node:module'
import type * as tls from 'node:tls'

export const cryptoModule = (): typeof crypto => createRequire(import.meta.url)('node:crypto') as typeof crypto
export const httpModule = (): typeof http => createRequire(import.meta.url)('node:http') as typeof http
export const httpsModule = (): typeof https => createRequire(import.meta.url)('node:https') as typeof https
export const inspectorModule = (): typeof inspector =>
  createRequire(import.meta.url)('node:inspector') as typeof inspector
export const tlsModule = (): typeof tls => createRequire(import.meta.url)('node:tls') as typeof tls
