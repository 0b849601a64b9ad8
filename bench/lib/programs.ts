/**
 * The benchmark's C programs: the load generator and the servers in C. And a certificate for those with TLS.
 */
import { spawnSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { makeCertificate } from '../../test/support/certificates.js'
import { benchBuild, benchCertificate, benchKey, benchSources } from './paths.js'

/** For the servers with TLS; anew each time, so that it has not expired. */
export function writeCertificate(): void {
  const { key, cert } = makeCertificate()
  writeFileSync(benchKey, key)
  writeFileSync(benchCertificate, cert)
}

/**
 * Without a C compiler the C programs are missing, and nothing can be measured over sockets. The
 * io_uring server needs a recent kernel's headers; without it, its arm is skipped.
 */
export function buildPrograms(): void {
  const make = (...targets: string[]) =>
    spawnSync('make', ['-s', '-C', benchSources, `BUILD=${benchBuild}`, ...targets], {
      encoding: 'utf8',
    })
  const needed = make()
  if (needed.status === 0) {
    make('uring')
    writeCertificate()
    return
  }
  const why = needed.error?.message ?? `${needed.stdout}${needed.stderr}`.trim()
  process.stderr.write(`bench: can't build the C programs in ${benchSources}: ${why}\n`)
  process.exit(1)
}
