/** Small things that several tests need: a seeded random source, waiting, promises, child processes. */
import { spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type AddressInfo, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { setFlagsFromString } from 'node:v8'

export { sleep }

/** Some things differ between Nodes. */
export const nodeMajor = Number(process.versions.node.split('.')[0])

/** A repeatable random source (mulberry32): integers in [0, below). */
export function randomSource(seed: number): (below: number) => number {
  let state = seed
  return (below) => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below
  }
}

/** Bytes in which every position is recognizable, so that a lost or doubled chunk shows. */
export function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length)
  let state = seed | 1
  for (let at = 0; at < length; at += 1) {
    state = Math.imul(state, 1664525) + 1013904223
    bytes[at] = state >>> 24
  }
  return bytes
}

export interface Deferred<Value> {
  readonly promise: Promise<Value>
  readonly resolve: (value: Value) => void
}

export function deferred<Value = void>(): Deferred<Value> {
  let resolve: (value: Value) => void = () => undefined
  const promise = new Promise<Value>((settle) => { resolve = settle })
  return { promise, resolve }
}

/** Waits until `test` holds; a test that waits for ever is ended by its own timeout. */
export async function until(test: () => boolean, pause = 5): Promise<void> {
  while (!test()) await sleep(pause)
}

/** A plain `node:net` client that is connected. Half-open, so that it says itself when it ends. */
export function client(port: number, host = '127.0.0.1'): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ port, host, allowHalfOpen: true, noDelay: true })
    socket.once('error', reject)
    socket.once('connect', () => {
      socket.off('error', reject)
      resolve(socket)
    })
  })
}

/** A port of 127.0.0.1 on which nobody listens. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

/** All bytes until the peer's end. */
export async function readAll(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks)
}

/**
 * Reads until the peer cuts the connection off. @returns the error, nothing where it was an end.
 * libuv tells of a reset that comes together with data as an end; only a write then shows what it was.
 */
export function cutOff(socket: Socket): Promise<NodeJS.ErrnoException | undefined> {
  return new Promise((resolve) => {
    socket.once('error', resolve)
    socket.once('end', () => socket.write('?', (error) => { resolve(error ?? undefined) }))
    socket.resume()
  })
}

/** Why a program can't be used here, or `false` when it can. */
export function missing(command: string): string | false {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0 ? false : `${command} is not installed`
}

export interface Finished {
  readonly code: number | null
  readonly stdout: Buffer
  readonly stderr: string
}

/** Runs a program to its end, with `input` on its stdin. */
export function runProgram(command: string, args: readonly string[], input: Buffer): Promise<Finished> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args)
    const stdout: Buffer[] = []
    let stderr = ''
    child.stdout.on('data', (chunk: Buffer) => stdout.push(chunk))
    child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text))
    child.stdin.on('error', () => undefined)
    child.on('error', reject)
    child.on('close', (code) => { resolve({ code, stdout: Buffer.concat(stdout), stderr }) })
    child.stdin.end(input)
  })
}

/** Collects garbage, so that what stays can be measured. */
export const collectGarbage: () => void = (() => {
  setFlagsFromString('--expose-gc')
  return runInNewContext('gc') as () => void
})()
