/** An authority and a certificate of a server, made by openssl for one run. */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Certificates {
  /** Files, for programs. */
  readonly keyFile: string
  readonly certFile: string
  readonly caFile: string
  /** Their contents, for node:tls. */
  readonly key: Buffer
  readonly cert: Buffer
  readonly ca: Buffer
}

const EC = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes']

let made: Certificates | undefined

/** For localhost and 127.0.0.1; the same each time in one process, whose end removes the files. */
export function makeCertificates(): Certificates {
  made ??= newCertificates()
  return made
}

function newCertificates(): Certificates {
  const folder = mkdtempSync(join(tmpdir(), 'certificates-'))
  process.once('exit', () => { rmSync(folder, { recursive: true, force: true }) })
  const file = (name: string) => join(folder, name)
  const openssl = (...args: string[]) => {
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  }
  openssl('req', '-x509', ...EC, '-keyout', file('ca.key'), '-out', file('ca.crt'), '-days', '2',
    '-subj', '/CN=authority of a test', '-addext', 'keyUsage=critical,keyCertSign')
  openssl('req', '-x509', ...EC, '-keyout', file('key'), '-out', file('crt'), '-days', '2',
    '-CA', file('ca.crt'), '-CAkey', file('ca.key'), '-subj', '/CN=localhost',
    '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-addext', 'basicConstraints=critical,CA:FALSE')
  const [keyFile, certFile, caFile] = [file('key'), file('crt'), file('ca.crt')]
  return {
    keyFile, certFile, caFile,
    key: readFileSync(keyFile), cert: readFileSync(certFile), ca: readFileSync(caFile),
  }
}
