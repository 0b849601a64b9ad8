/** Recording a program, and replaying it: real programs in processes of their own. */
import { spawn } from 'node:child_process'
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { MAIN } from '../support/cli.js'
import { client } from '../support/util.js'
import { patient } from '../support/patience.js'

const PROGRAM = fileURLToPath(new URL('./replayed-program.js', import.meta.url))

interface Ran {
  readonly code: number | null
  readonly out: string
}

/** Runs a program of Node's to its end. */
function run(args: readonly string[], env: Record<string, string> = {}, onLine?: (line: string) => void): Promise<Ran> {
  const child = spawn(process.execPath, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] })
  let out = ''
  child.stderr.on('data', (data: Buffer) => { out += data.toString() })
  createInterface({ input: child.stdout }).on('line', (line) => {
    out += `${line}\n`
    onLine?.(line)
  })
  return new Promise((resolve) => {
    child.on('close', (code) => { resolve({ code, out }) })
  })
}

/** Records the program while somebody says something to it, line by line, each after the reply to the one before. */
async function recorded(t: Test, lines: readonly (readonly [say: string, reply: string])[]): Promise<string> {
  const file = join(t.testdir(), 'trace.json')
  const talk = async (port: number): Promise<void> => {
    const socket = await client(port)
    const replies = createInterface({ input: socket })[Symbol.asyncIterator]()
    for (const [say, reply] of lines) {
      socket.write(`${say}\n`)
      if (reply === '') continue
      t.equal((await replies.next()).value, reply)
    }
  }
  const { code, out } = await run([PROGRAM], { MARKETPLACE_RECORD: file }, (line) => {
    void talk(Number(/\d+$/.exec(line)?.[0]))
  })
  t.equal(code, 0, out)
  return file
}

const LINES = [
  ['one', '1 one'], ['two', '2 two'], ['three', '3 three'], ['later', 'it is later'], ['file', 'a file: true'],
  ['feed', 'fed {"given":"1970-01-01T00:00:00.000Z","bytes":{"type":"Buffer","data":[1,2]}}'],
  ['inside', 'inside 6'], ['four', '8 four'], ['end', ''],
] as const

void t.test('what is recorded can be replayed', { timeout: patient(120_000) }, async (t) => {
  const file = await recorded(t, LINES)

  await t.test('by the same program: nothing differs', async (t) => {
    const { code, out } = await run([MAIN, 'replay', '--as-recorded', file])
    t.match(out, /nothing differs: \d+ steps, \d+ turns\n/)
    t.equal(code, 0)
  })

  await t.test('by a program with a changed handler: it stops where that differs, at the right turn', async (t) => {
    const { code, out } = await run([MAIN, 'replay', file, PROGRAM], { CHANGE: 'count' })
    const { recording } = JSON.parse(readFileSync(file, 'utf8')) as {
      recording: { steps: { step: string, turn: number, who: string, about: { values?: unknown[] } }[] }
    }
    const at = recording.steps.findIndex(({ step, who, about }) =>
      step === 'heard' && who.includes('counter') && about.values?.[1] === 'three')
    t.ok(at > 0)
    t.match(out, `it differs after turn ${recording.steps[at].turn} (step ${at})\n`)
    t.match(out, /expected: the state \{heard: 3, last: 'three'\}\n {2}came: {5}the state \{heard: 4, last: 'three'\}/)
    t.match(out, /hears message replayed-line\(2, 'three', /)
    t.equal(code, 1)
  })

  await t.test('by a program that starts other processes', async (t) => {
    const { code, out } = await run([MAIN, 'replay', '--as-recorded', file], { CHANGE: 'no inspector' })
    t.match(out, /it differs after turn 1 \(step 1\)\n/)
    t.match(out, / {2}expected: process 1 \(inspector\) is started\n {2}came: .*tcp/)
    t.equal(code, 1)
  })

  await t.test('what only the file names is not run unasked', async (t) => {
    const proof = join(t.testdirName, 'proof')
    t.testdir()
    const content = JSON.parse(readFileSync(file, 'utf8')) as { recording: { program: object } }
    const hostile = join(t.testdirName, 'hostile.json')
    const program = { file: PROGRAM, arguments: [], node: ['-e', `require('fs').writeFileSync('${proof}', '')`] }
    writeFileSync(hostile, JSON.stringify({ ...content, recording: { ...content.recording, program } }))
    const refused = await run([MAIN, 'replay', hostile])
    t.match(refused.out, /was recorded of: node "-e".*; if that may be run: --as-recorded; otherwise name the program/)
    t.equal(refused.code, 1)
    const named = await run([MAIN, 'replay', hostile, PROGRAM, '--port', '0'])
    t.match(named.out, /nothing differs/, 'nor what it says of Node, with a program that is named')
    const both = await run([MAIN, 'replay', '--as-recorded', file, PROGRAM])
    t.match(both.out, /there can be no program beside it/)
    t.notOk(existsSync(proof))
    t.equal(statSync(file).mode & 0o777, 0o600, 'the file is for its owner only')
  })

  await t.test('a file that is damaged, that is of another version, or no recording', async (t) => {
    const text = readFileSync(file, 'utf8')
    const content = JSON.parse(text) as { recording: { version: number, steps: object[] } }
    const broken = (name: string, text: string): string => {
      const path = join(t.testdirName, name)
      writeFileSync(path, text)
      return path
    }
    t.testdir()
    const changed = (recording: object): string => JSON.stringify({ ...content, recording })
    const steps = content.recording.steps
    for (const [name, text_, error] of [
      ['cut.json', text.slice(0, text.length / 2), /cut\.json is damaged: it is not JSON/],
      ['other.json', changed({ ...content.recording, version: 99 }), /has version 99; this program reads 1/],
      ['none.json', '{"version":1,"events":[]}', /it has no recording: .*MARKETPLACE_RECORD/],
      ['list.json', '[]', /it is no trace/],
      ['steps.json', changed({ ...content.recording, steps: [...steps.slice(0, 3), { step: 'heard' }] }),
        /it is damaged: step 3 of its recording is none/],
      ['actions.json', changed({
        ...content.recording, steps: steps.map((step) => 'call' in step ? { ...step, actions: {} } : step),
      }), /it is damaged: step \d+ of its recording is none/],
      ['values.json', changed({
        ...content.recording,
        steps: steps.map((step) =>
          'call' in step ? { ...step, actions: [{ do: 'send', body: { $: 'what' } }] } : step),
      }), /a value of a kind that this version does not know: what/],
    ] as const) {
      const { code, out } = await run([MAIN, 'replay', '--as-recorded', broken(name, text_)])
      t.match(out, error, name)
      t.equal(code, 1)
    }
    const missing = await run([MAIN, 'replay', join(t.testdirName, 'nowhere.json')])
    t.match(missing.out, /nowhere\.json can't be read/)
    const program = await run([MAIN, 'replay', file, fileURLToPath(new URL('../support/cli.js', import.meta.url))])
    t.match(program.out, /the program has ended \(0\) without a ground VM/)
    t.equal(program.code, 1)
  })
})

void t.test('a failure is recorded, and happens again', { timeout: patient(60_000) }, async (t) => {
  const file = await recorded(t, [['one', '1 one'], ['fail', ''], ['end', '']])
  const { code, out } = await run([MAIN, 'replay', '--as-recorded', file])
  t.match(out, /nothing differs/)
  t.equal(code, 0)
})
