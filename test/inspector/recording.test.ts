/** Recordings: what can't be kept ends the recording, and not the program; and where they are written. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import type { Process } from '../../src/vm/process.js'
import { outcomeText } from '../../src/inspector/recording-file.js'
import { record, recordedText, unrecord, Opaques } from '../../src/inspector/recorded-values.js'
import { Recorder } from '../../src/inspector/recording.js'
import { MAIN } from '../support/cli.js'
import { patient } from '../support/patience.js'

const PROGRAM = fileURLToPath(new URL('./recorded-program.js', import.meta.url))
const boom = (): never => { throw new Error('the program\'s code was run') }

t.test('what can\'t be kept whole ends the recording, and not the program, and soon', (t) => {
  let dag: unknown = 'x'
  for (let i = 0; i < 40; i++) dag = { a: dag, b: dag }
  const sparse: unknown[] = []
  sparse.length = 4e9
  const process = { state: undefined } as Process
  for (const value of [dag, sparse, 'x'.repeat(40 * 1024 * 1024), Buffer.alloc(40 * 1024 * 1024)]) {
    const start = performance.now()
    const recorder = new Recorder()
    t.equal(recorder.heard('a', 'onMessage', '_', [value], process, () => 7), 7, 'it is heard')
    t.equal(recorder.called('d', 'onMessage', [value], () => undefined), undefined)
    t.match(recorder.recording().ended, /a value is too large to be kept/)
    t.ok(performance.now() - start < patient(3000), 'soon')
  }
  t.end()
})

t.test('of a state is kept what there is room for, in time that does not depend on its size', (t) => {
  const most = { parts: 200, length: 1000 }
  const large = new Map(Array.from({ length: 100_000 }, (_none, i) => [i, i]))
  const start = performance.now()
  for (let i = 0; i < 2000; i++) record(large, new Opaques(), most)
  t.ok(performance.now() - start < patient(5000), '2,000 times')
  t.same(record('y'.repeat(2000), new Opaques(), most), { $: 'cut', length: 2000, head: 'y'.repeat(32) })
  t.match(record(Buffer.alloc(2000), new Opaques(), most), { $: 'cut', length: 2000 })
  t.end()
})

t.test('writing runs no code of the program', (t) => {
  class OddError extends Error { override get name(): never { return boom() } }
  class OddBytes extends Uint8Array {
    override get buffer(): never { return boom() }
    override get byteLength(): never { return boom() }
    override get byteOffset(): never { return boom() }
  }
  t.match(record(new OddError('m'), new Opaques()), { $: 'error', name: 'Error', message: 'm' })
  t.same(record(new OddBytes([1, 2]), new Opaques()), { $: 'bytes', base64: 'AQI=' })
  t.end()
})

t.test('who records keeps nothing of the program in memory', { skip: globalThis.gc === undefined }, async (t) => {
  class Thing { readonly bytes = new Array(1000).fill(0) }
  const recorder = new Recorder()
  const refs: WeakRef<Thing>[] = []
  const process = { state: undefined } as Process
  for (let i = 0; i < 10; i++) {
    const thing = new Thing()
    refs.push(new WeakRef(thing))
    recorder.heard('a', 'onMessage', '_', [['thing', thing]], process, () => undefined)
  }
  await new Promise((resolve) => setImmediate(resolve))
  globalThis.gc?.()
  t.ok(refs.filter((ref) => ref.deref() !== undefined).length <= 1)
})

t.test('values of a hostile file are made as they are, and shown in any case', (t) => {
  const fields: unknown = JSON.parse('{"__proto__":{"$":"object","keys":[],"values":[]}}')
  const hostile = { $: 'error', name: 'E', message: 'm', fields }
  t.ok(unrecord(hostile, new Opaques(true)) instanceof Error, 'and inherit what they inherit')
  let deep: object = { $: 'undefined' }
  for (let i = 0; i < 20_000; i++) deep = { $: 'record', label: 'r', arity: 1, values: [deep] }
  for (const value of [deep, { $: 'record', values: 7 }, { $: 'object', values: [1] }, { $: 'map', entries: 1 }]) {
    t.equal(recordedText(value as never), '<damaged>')
  }
  const text = outcomeText({ is: 'different', turn: 1, step: 1, expected: '\x1b[2J\nnothing differs', came: '' })
  t.notOk(text.includes('\x1b') || text.includes('\nnothing'), 'on a terminal they do nothing')
  t.end()
})

async function ended(file: string, args: readonly string[], signal?: NodeJS.Signals): Promise<string> {
  const child = spawn(process.execPath, [PROGRAM, ...args], {
    env: { ...process.env, MARKETPLACE_RECORD: file }, stdio: ['ignore', 'pipe', 'pipe'],
  })
  let text = ''
  child.stderr.on('data', (data: Buffer) => { text += data.toString() })
  child.stdout.on('data', (data: Buffer) => {
    text += data.toString()
    if (signal !== undefined && text.includes('up')) child.kill(signal)
  })
  const [code, by] = await once(child, 'close') as [number | null, string | null]
  return `${text}${code ?? ''} ${by ?? ''}`.trim()
}

t.test('the file', { timeout: patient(120_000) }, async (t) => {
  const file = join(t.testdir(), 'trace.json')
  const has = (): unknown => {
    const { recording } = JSON.parse(readFileSync(file, 'utf8')) as { recording: { version: number } }
    return recording.version
  }

  await t.test('is there when a signal ends the program, which ends as it would', async (t) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      writeFileSync(file, 'old')
      t.match(await ended(file, ['serve'], signal), new RegExp(` ?${signal}$`))
      t.equal(has(), 1, signal)
    }
    for (const when of ['minds', 'minds later']) {
      writeFileSync(file, 'old')
      t.match(await ended(file, [when], 'SIGTERM'), /minds 1\n3$/, 'its own handler is the only one, and decides')
      t.equal(has(), 1)
    }
  })

  await t.test('is for its owner only, whatever was there', async (t) => {
    writeFileSync(file, 'old')
    chmodSync(file, 0o644)
    await ended(file, ['ends'])
    t.equal(statSync(file).mode & 0o777, 0o600)
    t.same(readdirSync(t.testdirName.replace(/-is-for.*$/, '')).filter((name) => name.endsWith('.part')), [])
  })

  await t.test('has the number of its process in its name, where that is asked for', async (t) => {
    const directory = t.testdir()
    const ends = await Promise.all([1, 2].map(() => ended(join(directory, 'trace-%p.json'), ['ends'])))
    t.strictSame(ends.map((text) => text.endsWith('0')), [true, true])
    const names = readdirSync(directory)
    t.equal(names.length, 2, names.join(' '))
    t.ok(names.every((name) => /^trace-\d+\.json$/.test(name)))
  })

  await t.test('is the program\'s own: threads and programs that it starts leave it alone', async (t) => {
    t.match(await ended(file, ['others']), /0$/)
    const { recording } = JSON.parse(readFileSync(file, 'utf8')) as { recording: { steps: { who: string }[] } }
    t.match(recording.steps.map(({ who }) => who).join(), /main/)
  })

  await t.test('that can\'t be written is said at once, and the program goes on', async (t) => {
    t.match(await ended(join(t.testdirName, 'nowhere', 'x.json'), ['ends']), /can't be written.*ends\n0$/s)
    if (existsSync('/dev/full')) t.match(await ended('/dev/full', ['ends']), /ends\n.*ENOSPC.*0$/s)
  })

  await t.test('is replayed by a program that sends messages of its own, and has slow promises', async (t) => {
    t.match(await ended(file, ['sends']), /0$/)
    const args = [MAIN, 'replay', '--as-recorded', file]
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] })
    let text = ''
    child.stdout.on('data', (data: Buffer) => { text += data.toString() })
    const [code] = await once(child, 'close') as [number]
    t.match(text, /nothing differs/)
    t.equal(code, 0)
  })
})
