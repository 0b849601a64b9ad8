/**
 * Every program in README.md and docs/ compiles, runs, and prints what the page says. `npm test` compiles them all, and
 * runs those of the pages that are read first; `npm run test:long` runs them all.
 */
import t, { type Test } from 'tap'
import { blocksOf, fencesOf, pages, place, type Block } from './blocks.js'
import { commandProblem, commandsOf } from './commands.js'
import { compile, programOf } from './compile.js'
import { runToEnd, serve, type Ran } from './run.js'
import { quick } from '../support/quick.js'
import { missing } from '../support/util.js'
import { patient } from '../support/patience.js'

const READ_FIRST = ['README.md', 'docs/concepts.md', 'docs/net.md', 'docs/tcp.md', 'docs/workers.md']

/** Programs at a time. */
const JOBS = 2

const blocks = pages().flatMap((page) => blocksOf(page))
/** Of a page that isn't there. */
const first = (text: string): Block => blocksOf('docs/x.md', text)[0]
const wrong = [first('```ts error\nconst x: string = 5\n```'), first('\n```ts\nconst x = 5\n```')]
const said = await compile([...blocks, ...wrong])

async function execute(block: Block): Promise<Ran> {
  const program = programOf(block)
  return block.flags.has('server') ? serve(program, block) : runToEnd(program)
}

/** Programs of the machine that a block runs; without one it is compiled only. */
function lacking({ code }: Block): string | false {
  const [, program] = /execFileSync\('([\w-]+)'/.exec(code) ?? []
  return program === undefined ? false : missing(program)
}

async function check(t: Test, block: Block): Promise<void> {
  const errors = said.get(block.id) ?? []
  if (block.flags.has('error')) {
    t.not(errors.length, 0, 'does not compile')
    return
  }
  t.same(errors, [], 'compiles')
  if (errors.length > 0 || block.flags.has('fragment')) return
  if (quick && !READ_FIRST.includes(block.page)) return
  const lack = lacking(block)
  if (lack !== false) {
    t.pass('runs', { skip: lack })
    return
  }
  const { stdout, stderr, result } = await execute(block)
  const ends = block.flags.has('server') ? [0, 'SIGINT'] : [0]
  t.ok(ends.includes(result), `ends in order: ${result} ${stderr}`)
  if (!block.flags.has('logs')) t.equal(stderr, '', 'says nothing on stderr')
  if (block.output !== undefined) t.equal(stdout, block.output, 'prints what the page says')
}

t.test('programs of the pages', { timeout: patient(300_000) }, async (t) => {
  t.ok(blocks.length > 0)
  t.jobs = JOBS
  for (const block of blocks) {
    t.test(place(block), { buffered: true }, (t) => check(t, block))
  }
})

t.test('commands of the pages', async (t) => {
  for (const fence of pages().flatMap((page) => fencesOf(page))) {
    if (fence.language !== 'sh') continue
    for (const command of commandsOf(fence.code)) {
      t.equal(commandProblem(command), undefined, `${place(fence)}: ${command.join(' ')}`)
    }
  }
})

t.test('broken pages are noticed', async (t) => {
  const page = 'docs/x.md'
  t.throws(() => fencesOf(page, 'text\n```ts\nlet x'), /^docs\/x.md:2: this block has no end/)
  t.throws(() => blocksOf(page, '```ts run\n```'), /^docs\/x.md:1: unknown flag 'run'/)
  const block = first('\n```ts server\nlet x\n```\n\n```text talk\n> a\n< b\n```\n')
  t.match(block, { id: 'x-2', line: 2, code: 'let x\n', output: undefined, talk: ['> a', '< b'] })
  t.equal(first('```js\n```\n```text output\n1\n```').output, '1\n')

  t.same(commandsOf('$ npm test # all\nA=b npx tap x && ls'), [['npm', 'test'], ['npx', 'tap', 'x'], ['ls']])
  t.equal(commandProblem(['npm', 'run', 'nothing']), "there is no npm script 'nothing'")
  t.equal(commandProblem(['npx', 'nothing']), "there is no program 'nothing' in node_modules")
  t.equal(commandProblem(['node', 'nothing.mjs']), 'there is no file nothing.mjs')
  t.equal(commandProblem(['marketplace', 'nothing']), "there is no command 'nothing'")
  t.match(commandProblem(['npx', 'marketplace', 'echo', '--nothing']), /unknown option '--nothing'/)
  t.equal(commandProblem(['marketplace', 'echo', '--port', '0']), undefined)

  t.match(said.get('x-1'), [/^docs\/x.md:2:7: error TS2322/])
  t.match(said.get('x-2'), [/^docs\/x.md:3:7: error TS6133/], 'the strict settings hold')
})
