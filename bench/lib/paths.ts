/**
 * Where things are. This file runs as dist/bench/lib/paths.js, so the package is three levels up.
 */
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'

export const root = fileURLToPath(new URL('../../../', import.meta.url))

/** The C programs' sources (with their Makefile), and where they are built. */
export const benchSources = join(root, 'bench')
export const benchBuild = join(root, 'build', 'bench')

/** Other runtimes, fetched from npm; not in build/, which a rebuild of the addon empties. */
export const benchPeers = join(root, 'bench', '.peers')
export const benchServers = join(root, 'dist', 'bench', 'servers')

export const loadGenerator = join(benchBuild, 'load')
export const microMain = join(root, 'dist', 'bench', 'micro', 'main.js')
/** What the servers with TLS show to the load generator, which believes them; written with the programs. */
export const benchCertificate = join(benchBuild, 'tls-cert.pem')
export const benchKey = join(benchBuild, 'tls-key.pem')
