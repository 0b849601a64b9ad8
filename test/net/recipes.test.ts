/**
 * The recipes of docs/workers.md for servers of `marketplace-native/net` on several cores: the code that stands there
 * is run as it is, but for the port, on both backends, by clients of Node's.
 */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync, writeFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { blocksOf } from '../docs/blocks.js'
import { cleanEnvironment } from '../support/cli.js'
import { patient } from '../support/patience.js'
import { unlessQuick } from '../support/quick.js'
import { freePort, sleep, until } from '../support/util.js'
import { VARIANTS } from '../support/variants.js'

t.setTimeout(patient(150_000))
const PORT = /\b8080\b/

/** By the name that stands in their first line. */
const recipes = new Map(blocksOf('docs/workers.md').flatMap(({ code }) => {
  const name = /^\/\/ ([\w-]+\.js)\n/.exec(code)?.[1]
  return name === undefined ? [] : [[name, code] as const]
}))

/** What the recipes don't have: a thread dies when the program is told so, and a cluster tells who listens. */
const ACCIDENT = `
import cluster from 'node:cluster'
import { BroadcastChannel, isMainThread, threadId } from 'node:worker_threads'
const channel = new BroadcastChannel('accidents')
channel.unref()
if (isMainThread) {
  let next = 0
  process.on('SIGWINCH', () => channel.postMessage(++next))
  cluster.on('listening', () => { console.log('a worker listens') })
} else {
  channel.onmessage = ({ data }) => { if (data === threadId) process.exit(3) }
}
`

class Recipe {
  output = ''
  errors = ''
  readonly #child: ChildProcess

  private constructor(t: Test, main: string, env: NodeJS.ProcessEnv, readonly port: number) {
    const at = t.testdirName
    this.#child = spawn(process.execPath, ['--import', join(at, 'accident.mjs'), join(at, main)], {
      env: { ...cleanEnvironment(), ...env }, stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => { this.output += text })
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => { this.errors += text })
    t.teardown(async () => {
      if (this.#isOver) return
      const ended = once(this.#child, 'exit')
      this.#child.kill('SIGKILL')
      await ended
    })
  }

  /** Resolves when somebody listens. @param names of the blocks; the first one is started */
  static async start(t: Test, env: NodeJS.ProcessEnv, ...names: string[]): Promise<Recipe> {
    const port = await freePort()
    // It lies inside of the package, which is found there by its name.
    t.testdir({ 'accident.mjs': ACCIDENT })
    for (const name of names) {
      const code = recipes.get(name) ?? ''
      t.match(code, PORT.test(code) || name === names[0] ? /import/ : PORT, `${name} is in the page`)
      writeFileSync(join(t.testdirName, name), code.replace(PORT, String(port)))
    }
    const recipe = new Recipe(t, names[0], env, port)
    while (!await recipe.accepts()) {
      if (recipe.#isOver) throw new Error(recipe.errors)
      await sleep(20)
    }
    return recipe
  }

  get #isOver(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null
  }

  /** Processes that it has started. */
  get children(): number[] {
    const { pid } = this.#child
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ').filter(Boolean).map(Number)
  }

  /** Sockets that listen on the port. */
  get listeners(): number {
    const listening = new RegExp(`:${this.port.toString(16).padStart(4, '0').toUpperCase()} \\S+ 0A `, 'g')
    return readFileSync('/proc/net/tcp', 'utf8').match(listening)?.length ?? 0
  }

  signal(name: NodeJS.Signals): void {
    this.#child.kill(name)
  }

  async end(): Promise<number | string> {
    await until(() => this.#isOver)
    return this.#child.exitCode ?? this.#child.signalCode ?? ''
  }

  async open(): Promise<Socket> {
    const socket = connect({ port: this.port, host: '127.0.0.1' })
    await once(socket, 'connect')
    return socket.on('error', () => undefined)
  }

  /** Whether a new connection is served. */
  async accepts(): Promise<boolean> {
    const socket = await this.open().catch(() => undefined)
    const answers = socket !== undefined && await echoes(socket)
    socket?.destroy()
    return answers
  }

  /** Until a new connection is refused. */
  async refuses(): Promise<void> {
    while (await this.accepts()) await sleep(20)
  }
}

/** Whether what is said comes back. */
async function echoes(socket: Socket, text = 'hello'): Promise<boolean> {
  let heard = ''
  const over = new Promise<boolean>((resolve) => {
    socket.on('data', (bytes: Buffer) => {
      heard += bytes.toString()
      if (heard.length >= text.length) resolve(heard === text)
    })
    socket.once('close', () => { resolve(false) })
  })
  socket.write(text)
  return over.finally(() => socket.removeAllListeners('data'))
}

/** So many connections, of which each is answered. */
async function crowd(t: Test, recipe: Recipe, count: number): Promise<Socket[]> {
  const sockets = await Promise.all(Array.from({ length: count }, () => recipe.open()))
  t.teardown(() => { for (const socket of sockets) socket.destroy() })
  t.strictSame(await Promise.all(sockets.map((socket) => echoes(socket))), sockets.map(() => true))
  return sockets
}

/** Which of them are still served. */
async function survivors(sockets: readonly Socket[]): Promise<Socket[]> {
  const alive = await Promise.all(sockets.map(async (socket) => !socket.destroyed && echoes(socket, 'there?')))
  return sockets.filter((_socket, i) => alive[i])
}

/** It is told to end: nobody new is served, who is there is, to the end. */
async function orderlyEnd(t: Test, recipe: Recipe, sockets: readonly Socket[]): Promise<void> {
  recipe.signal('SIGTERM')
  await recipe.refuses()
  t.strictSame((await survivors(sockets)).length, sockets.length, 'what is open is served to its end')
  for (const socket of sockets) socket.end()
  t.equal(await recipe.end(), 0, recipe.errors)
}

for (const backend of ['epoll', 'io_uring']) {
  const skip = VARIANTS.find(({ name }) => name === `native ${backend}`)?.skip ?? false
  const options = { skip, timeout: patient(60_000) }
  const env = { MARKETPLACE_BACKEND: backend }

  void t.test(`serve, ${backend}`, options, async (t) => {
    const recipe = await Recipe.start(t, env, 'net-main.js', 'net-server.js')
    await until(() => recipe.output.includes('ready'))
    const sockets = await crowd(t, recipe, 8)
    recipe.signal('SIGWINCH')
    await until(() => sockets.some(({ destroyed }) => destroyed))
    // Nobody is refused meanwhile.
    const more = await crowd(t, recipe, 8)
    const left = await survivors(sockets)
    t.equal(left.length, 4, 'those of the other worker live')
    await orderlyEnd(t, recipe, [...left, ...more])
  })

  void t.test(`worker threads, ${backend}`, options, async (t) => {
    const recipe = await Recipe.start(t, env, 'threads-main.js', 'thread.js')
    await until(() => recipe.listeners === 2)
    const sockets = await crowd(t, recipe, 40)
    recipe.signal('SIGWINCH')
    await until(() => sockets.some(({ destroyed }) => destroyed))
    // Whoever waited at the socket of that thread is reset.
    while (!await recipe.accepts()) await sleep(20)
    const left = await survivors(sockets)
    t.ok(left.length > 0 && left.length < 40, `${left.length} of 40 have lived in the other thread`)
    await crowd(t, recipe, 8)
    recipe.signal('SIGTERM')
    t.equal(await recipe.end(), 'SIGTERM')
  })

  for (const policy of ['rr', 'none']) {
    const leftOut = skip || (policy === 'none' && unlessQuick)
    void t.test(`cluster, ${policy}, ${backend}`, { ...options, skip: leftOut }, async (t) => {
      const recipe = await Recipe.start(t, { ...env, NODE_CLUSTER_SCHED_POLICY: policy }, 'cluster.js')
      await until(() => recipe.output.split('a worker listens').length === 3)
      const { children } = recipe
      const sockets = await crowd(t, recipe, 20)
      process.kill(children[0], 'SIGKILL')
      await until(() => recipe.children.length === 2 && !recipe.children.includes(children[0]))
      while (!await recipe.accepts()) await sleep(20)
      const more = await crowd(t, recipe, 8)
      const left = await survivors(sockets)
      if (policy === 'rr') t.ok(left.length > 0 && left.length < 20, `${left.length} of 20 live in the other worker`)
      await orderlyEnd(t, recipe, [...left, ...more])
    })
  }
}
