/** `marketplace new`: the project that it makes passes its test, runs, and measures itself. */
import { spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import t from 'tap'
import { Cli } from '../support/cli.js'
import { unlessQuick } from '../support/quick.js'
import { patient } from '../support/patience.js'
import { runProgram } from '../support/util.js'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const TSC = join(ROOT, 'node_modules/typescript/bin/tsc')

const room = mkdtempSync(join(tmpdir(), 'marketplace-new-'))
t.teardown(() => { rmSync(room, { recursive: true, force: true }) })

async function make(...args: string[]): Promise<Cli> {
  const cli = new Cli(['new', ...args])
  await cli.ended()
  return cli
}

function manifestOf(project: string): { readonly version: string } {
  return JSON.parse(readFileSync(join(project, 'package.json'), 'utf8')) as { version: string }
}

/** What `npm install` would give the project. */
function install(project: string): void {
  mkdirSync(join(project, 'node_modules/@types'), { recursive: true })
  symlinkSync(ROOT, join(project, 'node_modules/marketplace-native'))
  symlinkSync(join(ROOT, 'node_modules/@types/node'), join(project, 'node_modules/@types/node'))
}

function node(project: string, ...args: string[]): SpawnSyncReturns<string> {
  return spawnSync(process.execPath, args, { cwd: project, encoding: 'utf8', timeout: patient(60_000) })
}

for (const language of ['javascript', 'typescript']) {
  const skip = language === 'typescript' && unlessQuick
  t.test(`a project in ${language}`, { skip, timeout: patient(120_000) }, async (t) => {
    const project = join(room, `my-${language}`)
    const typescript = language === 'typescript'
    const cli = await make(project, ...(typescript ? ['--typescript'] : []))
    t.equal(cli.result, 0, cli.stderr)
    t.match(cli.stdout, 'npm install')
    const manifest = manifestOf(project)
    const { version } = manifestOf(ROOT)
    t.match(manifest, { name: `my-${language}`, dependencies: { 'marketplace-native': `^${version}` } })
    t.ok(existsSync(join(project, '.gitignore')))
    for (const file of ['README.md', 'package.json', typescript ? 'src/server.ts' : 'server.js']) {
      t.notMatch(readFileSync(join(project, file), 'utf8'), '{{', file)
    }
    install(project)
    if (typescript) {
      const compiled = node(project, TSC)
      t.equal(compiled.status, 0, compiled.stdout)
    }
    const dist = typescript ? 'dist/' : ''
    const tested = node(project, '--test', `${dist}server.test.js`)
    t.equal(tested.status, 0, tested.stdout)
    for (const args of [['70000'], ['--port', '70000'], ['--port', 'x'], ['--prot', '1']]) {
      const wrong = node(project, `${dist}main.js`, ...args)
      t.equal(wrong.status, 1)
      t.match(wrong.stderr, /^[^\n]*(got 70000|got x|'--prot')[^\n]*\n$/, 'one line')
    }
    const help = node(project, `${dist}main.js`, '--help')
    t.same([help.status, help.stderr], [0, ''])
    t.match(help.stdout, /^usage: .*--port/)
    const taken = createServer().listen(0, '127.0.0.1')
    await once(taken, 'listening')
    const { port } = taken.address() as AddressInfo
    const busy = await runProgram(process.execPath, [join(project, `${dist}main.js`), '--port', String(port)],
      Buffer.alloc(0))
    t.equal(busy.code, 1)
    t.match(busy.stderr, /EADDRINUSE/)
    t.equal(busy.stderr.split('EADDRINUSE').length - 1, 1, `said once: ${busy.stderr}`)
    taken.close()
    // A project that is reached by another name, and one that a process manager loads.
    const link = join(room, `link-${language}`)
    symlinkSync(project, link)
    const main = join(project, `${dist}main.js`)
    const byPm2 = `
      process.argv[1] = '/usr/lib/pm2/ProcessContainerFork.js'
      import(${JSON.stringify(pathToFileURL(main).href)})
    `
    for (const args of [[join(link, `${dist}main.js`), '0'], ['-e', byPm2, '--', '--port', '0']]) {
      const server = spawn(process.execPath, args, { cwd: project })
      const [said] = await once(server.stdout, 'data') as [Buffer]
      t.match(said.toString(), 'listening on 127.0.0.1:')
      const gone = once(server, 'exit')
      server.kill('SIGTERM')
      t.equal((await gone)[0], 0)
    }
    if (typescript) return
    // Seconds instead of the usual ones: what it prints is the point here.
    const bench = readFileSync(join(project, 'bench.js'), 'utf8')
    const quick = { ROUND_MS: 50, WARMUP_MS: 50, ROUNDS: 1 }
    const shorter = Object.entries(quick).reduce(
      (text, [name, value]) => text.replace(new RegExp(`${name} = \\d+`), `${name} = ${value}`), bench)
    writeFileSync(join(project, 'bench.js'), shorter)
    const measured = node(project, 'bench.js', 'main.js')
    t.equal(measured.status, 0, measured.stderr)
    t.match(measured.stdout, /CPU per message: \d+\.\d\d of node:net's/)
  })
}

t.test('what is there stays as it is', async (t) => {
  const project = join(room, 'full')
  mkdirSync(project)
  writeFileSync(join(project, 'server.js'), 'mine')
  const cli = await make(project)
  t.equal(cli.result, 1)
  t.match(cli.stderr, /^marketplace: .*full is not empty; nothing was written\n$/)
  t.equal(readFileSync(join(project, 'server.js'), 'utf8'), 'mine')
  t.notOk(existsSync(join(project, 'package.json')))
})

t.test('mistakes', async (t) => {
  const mistakes: readonly (readonly [readonly string[], number, RegExp])[] = [
    [[], 2, /missing required argument 'directory'/],
    [[join(room, 'My Server')], 2, /'My Server' can't be the name of a package/],
    [['/dev/null/x'], 1, /can't be made: ENOTDIR/],
    [[join(room, 'a'), 'b'], 2, /too many arguments/],
  ]
  for (const [args, code, message] of mistakes) {
    const cli = await make(...args)
    t.equal(cli.result, code, args.join(' '))
    t.match(cli.stderr, message)
    t.match(cli.stderr, /^marketplace: [^\n]+\n$/, 'one line')
  }
})

t.test('a project on a tarball or a clone', async (t) => {
  const project = join(room, 'on-a-clone')
  const cli = await make(project, '--from', ROOT)
  t.equal(cli.result, 0, cli.stderr)
  const { dependencies } = manifestOf(project) as unknown as { dependencies: Readonly<Record<string, string>> }
  const found = dependencies['marketplace-native']
  t.match(found, /^file:/)
  t.equal(resolve(project, found.slice('file:'.length)), resolve(ROOT))
  const wrong = await make(join(room, 'on-nothing'), '--from', join(room, 'nothing.tgz'))
  t.equal(wrong.result, 2)
  t.match(wrong.stderr, /--from .*nothing\.tgz: there is no such file or folder/)
  t.notOk(existsSync(join(room, 'on-nothing')), 'nothing was made')
})
