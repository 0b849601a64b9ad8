/**
 * Certificates for tests and benchmarks, made here, so that no tool is needed and no date comes when a file in the
 * repository has expired: X.509 version 3, as DER, signed by `node:crypto`.
 */
import { createPrivateKey, generateKeyPairSync, randomBytes, sign, type KeyObject } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A certificate and its key, as PEM. */
export interface Certificate {
  readonly key: string
  readonly cert: string
  readonly name: string
}

export interface CertificateOptions {
  /** The common name, and the first of the names that it is for. Default 'localhost'. */
  readonly name?: string
  /** Of what it is besides: names or IPv4 addresses. Default 127.0.0.1. */
  readonly also?: readonly string[]
  /** Who signs it. Default: itself. */
  readonly by?: Certificate
  /** It may sign others. Default false. */
  readonly authority?: boolean
  /** Days from now until it begins and until it ends. Default -1 and 2. */
  readonly from?: number
  readonly to?: number
  readonly type?: 'ec' | 'rsa'
  /** Bytes of an extension that means nothing, to make it long. */
  readonly padding?: number
}

const DAY = 24 * 60 * 60 * 1000

function der(tag: number, ...parts: readonly (Buffer | readonly number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as Buffer)))
  const size = body.length
  if (size < 0x80) return Buffer.concat([Buffer.from([tag, size]), body])
  const bytes: number[] = []
  for (let rest = size; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256)
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), body])
}

function oid(text: string): Buffer {
  const [first, second, ...others] = text.split('.').map(Number)
  const bytes = [first * 40 + second]
  for (const number of others) {
    const groups = [number & 0x7f]
    for (let rest = number >>> 7; rest > 0; rest >>>= 7) groups.unshift(0x80 | (rest & 0x7f))
    bytes.push(...groups)
  }
  return der(0x06, bytes)
}

const sequence = (...parts: readonly Buffer[]): Buffer => der(0x30, ...parts)
const utf8 = (text: string): Buffer => der(0x0c, Buffer.from(text))
const nameOf = (name: string): Buffer => sequence(der(0x31, sequence(oid('2.5.4.3'), utf8(name))))
const time = (days: number): Buffer =>
  der(0x18, Buffer.from(new Date(Date.now() + days * DAY).toISOString().replace(/[-:T]|\.\d+/g, '')))
const extension = (id: string, value: Buffer, critical = false): Buffer =>
  sequence(oid(id), ...critical ? [der(0x01, [0xff])] : [], der(0x04, value))

function alternative(name: string): Buffer {
  const isAddress = /^\d+\.\d+\.\d+\.\d+$/.test(name)
  return isAddress ? der(0x87, name.split('.').map(Number)) : der(0x82, Buffer.from(name))
}

const isRSA = (key: KeyObject): boolean => key.asymmetricKeyType === 'rsa'
const algorithmOf = (key: KeyObject): Buffer => isRSA(key)
  ? sequence(oid('1.2.840.113549.1.1.11'), der(0x05))
  : sequence(oid('1.2.840.10045.4.3.2'))

const pem = (what: string, bytes: Buffer): string =>
  `-----BEGIN ${what}-----\n${bytes.toString('base64').replace(/.{64}/g, '$&\n').trimEnd()}\n-----END ${what}-----\n`

export function makeCertificate(options: CertificateOptions = {}): Certificate {
  const { name = 'localhost', also = ['127.0.0.1'], by, authority = false, from = -1, to = 2, type = 'ec' } = options
  const { privateKey, publicKey } = type === 'rsa'
    ? generateKeyPairSync('rsa', { modulusLength: 2048 })
    : generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
  const signer = by === undefined ? privateKey : createPrivateKey(by.key)
  const { padding = 0 } = options
  const extensions = [
    extension('2.5.29.19', sequence(...authority ? [der(0x01, [0xff])] : []), true),
    ...authority ? [extension('2.5.29.15', der(0x03, [2, 0x04]), true)] : [],
    ...authority ? [] : [extension('2.5.29.17', sequence(...[name, ...also].map(alternative)))],
    ...padding > 0 ? [extension('1.3.6.1.4.1.99999.1', der(0x04, Buffer.alloc(padding)))] : [],
  ]
  const content = sequence(
    der(0xa0, der(0x02, [2])),
    der(0x02, [1], randomBytes(15)),
    algorithmOf(signer),
    nameOf(by?.name ?? name),
    sequence(time(from), time(to)),
    nameOf(name),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(0xa3, sequence(...extensions)),
  )
  const signature = sign('sha256', content, signer)
  const cert = pem('CERTIFICATE', sequence(content, algorithmOf(signer), der(0x03, [0], signature)))
  return { name, cert, key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string }
}

export interface CertificateFiles {
  readonly keyFile: string
  readonly certFile: string
}

/** The same as files, for programs; they go with the process. */
export function certificateFiles({ key, cert }: Certificate): CertificateFiles {
  const folder = mkdtempSync(join(tmpdir(), 'certificate-'))
  process.once('exit', () => { rmSync(folder, { recursive: true, force: true }) })
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')]
  writeFileSync(keyFile, key)
  writeFileSync(certFile, cert)
  return { keyFile, certFile }
}
