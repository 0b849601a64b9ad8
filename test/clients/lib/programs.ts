/**
 * Servers that others wrote, each started by a test in a folder and on a port of its own, and stopped by its
 * process id. Owns how they are started; as `nobody` where they refuse to run as root.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Test } from 'tap'
import { freePort, missing, sleep } from '../../support/util.js'
import type { Certificates } from './certificates.js'

const NOBODY = 65534
const POSTGRES_VERSIONS = '/usr/lib/postgresql'

/** What a program runs as: nothing to say, or nobody if we are root. */
const unprivileged = process.getuid?.() === 0 ? { uid: NOBODY, gid: NOBODY } : {}

/** A folder that is removed when the test is over; it belongs to whom the servers run as. */
export function temporaryFolder(t: Test): string {
  const folder = mkdtempSync(join(tmpdir(), 'clients-'))
  if (unprivileged.uid !== undefined) chownSync(folder, NOBODY, NOBODY)
  t.teardown(() => { rmSync(folder, { recursive: true, force: true, maxRetries: 5 }) })
  return folder
}

/** Whether somebody accepts connections there. */
async function accepts(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1')
  const accepted = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => { resolve(true) })
    socket.once('error', () => { resolve(false) })
  })
  socket.destroy()
  return accepted
}

export interface ProgramOptions {
  /** SIGTERM, unless said. */
  readonly stopSignal?: NodeJS.Signals
  /** What it prints when it is ready; without this, it is once it accepts connections. */
  readonly ready?: RegExp
  /** As the test itself, not as `nobody`. */
  readonly asRoot?: boolean
}

/** A server that runs until it is stopped, and can be started again. */
export class Program {
  #child: ChildProcess | undefined
  #output = ''

  constructor(
    readonly port: number,
    private readonly command: string,
    private readonly args: readonly string[],
    private readonly options: ProgramOptions = {},
  ) {}

  /** Starts it, and waits until it serves. */
  async start(): Promise<this> {
    this.#output = ''
    const who = this.options.asRoot === true ? {} : unprivileged
    const child = spawn(this.command, this.args, { ...who, stdio: ['ignore', 'pipe', 'pipe'] })
    this.#child = child
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.#output += text))
    }
    while (this.options.ready?.test(this.#output) === false || !await accepts(this.port)) {
      if (child.exitCode !== null || child.signalCode !== null) {
        throw new Error(`${this.command} ended with ${String(child.exitCode)}:\n${this.#output}`)
      }
      await sleep(20)
    }
    return this
  }

  /** Stops it and waits for its end. @param signal SIGKILL for a crash */
  async stop(signal = this.options.stopSignal ?? 'SIGTERM'): Promise<void> {
    const child = this.#child
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return
    const gone = once(child, 'exit')
    child.kill(signal)
    await gone
  }
}

async function started(t: Test, program: Program): Promise<Program> {
  t.teardown(() => program.stop())
  return program.start()
}

/** Runs something to its end, as whom the servers run. */
function prepare(command: string, ...args: string[]): void {
  const { status, stdout, stderr } = spawnSync(command, args, {
    ...unprivileged, encoding: 'utf8', cwd: tmpdir(),
  })
  if (status !== 0) throw new Error(`${command} ended with ${String(status)}:\n${stdout}${stderr}`)
}

/** The server's certificate and key as files that it may and will read. */
function serverFiles(folder: string, { certFile, keyFile }: Certificates): { cert: string, key: string } {
  const files = { cert: join(folder, 'server.crt'), key: join(folder, 'server.key') }
  copyFileSync(certFile, files.cert)
  copyFileSync(keyFile, files.key)
  for (const file of Object.values(files)) {
    chmodSync(file, 0o600)
    if (unprivileged.uid !== undefined) chownSync(file, NOBODY, NOBODY)
  }
  return files
}

export async function redisServer(t: Test): Promise<Program> {
  const port = await freePort()
  return started(t, new Program(port, 'redis-server', [
    '--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no',
    '--dir', temporaryFolder(t),
  ]))
}

/** Where PostgreSQL's programs are; they are not on the PATH. */
function postgresBin(): string | undefined {
  if (!existsSync(POSTGRES_VERSIONS)) return undefined
  const [newest] = readdirSync(POSTGRES_VERSIONS).sort((a, b) => Number(b) - Number(a))
  const bin = join(POSTGRES_VERSIONS, newest, 'bin')
  return existsSync(join(bin, 'initdb')) ? bin : undefined
}

export const missingPostgres = (): string | false =>
  postgresBin() === undefined ? 'PostgreSQL is not installed' : missing('openssl')

/** With TLS; the user is `postgres`, without a password. */
export async function postgresServer(t: Test, certificates: Certificates): Promise<Program> {
  const bin = postgresBin()
  if (bin === undefined) throw new Error('PostgreSQL is not installed')
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  prepare(join(bin, 'initdb'), '-D', data, '-U', 'postgres', '-A', 'trust', '-N', '-E', 'UTF8')
  const port = await freePort()
  const { cert, key } = serverFiles(folder, certificates)
  const settings = {
    listen_addresses: '127.0.0.1', unix_socket_directories: folder, fsync: 'off',
    ssl: 'on', ssl_cert_file: cert, ssl_key_file: key,
  }
  const args = Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])
  return started(t, new Program(
    port, join(bin, 'postgres'), ['-D', data, '-p', String(port), ...args],
    // "Smart" shutdown, on SIGTERM, waits for the clients.
    { stopSignal: 'SIGINT', ready: /ready to accept connections/ },
  ))
}

/** With TLS; the user is `root`, without a password. */
export async function mariadbServer(t: Test, certificates: Certificates): Promise<Program> {
  const folder = temporaryFolder(t)
  const data = join(folder, 'data')
  prepare(
    'mariadb-install-db', '--no-defaults', `--datadir=${data}`, '--skip-test-db',
    '--auth-root-authentication-method=normal',
  )
  const port = await freePort()
  const { cert, key } = serverFiles(folder, certificates)
  return started(t, new Program(port, 'mariadbd', [
    '--no-defaults', `--datadir=${data}`, `--port=${port}`, '--bind-address=127.0.0.1',
    `--socket=${join(folder, 'sock')}`, `--pid-file=${join(folder, 'pid')}`, '--skip-name-resolve',
    '--max-allowed-packet=64M', '--innodb-flush-log-at-trx-commit=0',
    `--ssl-cert=${cert}`, `--ssl-key=${key}`,
  ], { ready: /ready for connections/ }))
}
