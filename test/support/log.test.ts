/** The log: levels, the diagnostics channel, and that logging never throws. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from './patience.js'

const LOG = new URL('../../src/support/log.js', import.meta.url).href
const LEVELS = ['debug', 'info', 'warning', 'error', 'fatal'] as const

/** What each line of the log begins with. */
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (?=marketplace )/gm

interface Output {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** Runs a program in which `log` and `logs` are there. `level` undefined: the variable isn't set. */
function withLog(level: string | undefined, program: string): Output {
  const { MARKETPLACE_LOG: _level, NODE_OPTIONS: _options, ...env } = process.env
  const source = `import { log, logs, LOG_CHANNEL } from ${JSON.stringify(LOG)}\n${program}`
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', source], {
    env: level === undefined ? env : { ...env, MARKETPLACE_LOG: level },
    encoding: 'utf8',
    cwd: fileURLToPath(new URL('.', import.meta.url)),
  })
  return { code: status, stdout, stderr: stderr.replace(TIME, '') }
}

const EACH = `
  for (const level of ${JSON.stringify(LEVELS)}) {
    log(level, 'text')
    console.log(level, logs(level))
  }`

t.test('levels: what is printed, and what logs() says', async (t) => {
  const cases: readonly (readonly [string | undefined, number])[] = [
    [undefined, 2], ['', 2], ['debug', 0], ['info', 1], ['WARNING', 2], ['error', 3], ['fatal', 4],
    ['off', 5],
  ]
  for (const [level, first] of cases) {
    const { code, stdout, stderr } = withLog(level, EACH)
    t.equal(code, 0)
    const printed = LEVELS.slice(first).map((name) => `marketplace ${name}: text\n`)
    t.same(stderr, printed.join(''), level ?? 'unset')
    t.same(stdout, LEVELS.map((name, i) => `${name} ${String(i >= first)}\n`).join(''), level ?? 'unset')
  }
})

t.test('an unknown level: a warning that says which there are, and the default', async (t) => {
  const { code, stderr } = withLog('loud', EACH)
  t.equal(code, 0)
  t.match(stderr, /LOG must be one of debug, info, warning, error, fatal, off; got 'loud'; using warning/)
  t.match(stderr, /marketplace warning: text/)
  t.notMatch(stderr, /marketplace info/)
  const warned = withLog('constructor', EACH).stderr.includes("got 'constructor'; using warning")
  t.ok(warned, 'no property of Object')
})

t.test('fields are printed after the text; what is undefined is left out', async (t) => {
  const fields = "{ pid: 3, name: undefined, reason: new Map([[1, 'x']]) }"
  const { stderr } = withLog('info', `log('info', 'text', ${fields})`)
  t.equal(stderr, "marketplace info: text pid=3 reason=Map(1) { 1 => 'x' }\n")
})

t.test('a deep field stays on one line', async (t) => {
  const { stderr } = withLog('info', "log('info', 'text', { deep: { a: { b: { c: { d: 1 } } } } })")
  t.equal(stderr.split('\n').length, 2, 'one line')
})

t.test('what the world did is told in a line; what ended a process, with its stack', async (t) => {
  const program = (level: string) => `
    import { connect } from 'node:net'
    connect(1, '127.0.0.1').on('error', (reason) => log('${level}', 'text', { reason, port: 1 }))`
  t.equal(
    withLog(undefined, program('warning')).stderr,
    "marketplace warning: text reason='connect ECONNREFUSED 127.0.0.1:1' port=1\n",
  )
  const loud = withLog(undefined, program('error')).stderr
  t.match(loud, /Error: connect ECONNREFUSED[^]+\n +at .+afterConnect/)
  const { stderr } = withLog(undefined, "log('warning', 'text', { reason: new Error('no syscall') })")
  t.match(stderr, /reason=Error: no syscall\n +at /)
})

t.test('values that cannot be inspected do no harm', async (t) => {
  const { code, stderr } = withLog('info', `
    import { inspect } from 'node:util'
    const evil = { [inspect.custom]() { throw new Error('no') } }
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    log('error', 'text', { evil, inner: { evil }, proxy, f: Object.assign(() => 1, evil) })
    const failed = Object.assign(new Error('fine'), { syscall: 'read' })
    Object.defineProperty(failed, 'message', { get() { throw new Error('no') } })
    log('warning', 'proxy', { proxy, failed })
  `)
  t.equal(code, 0)
  t.match(stderr, /^marketplace error: text evil=<uninspectable object> inner=<uninspectable object>/)
  t.match(stderr, /f=<uninspectable function>\n/)
  // Newer Nodes can show even this error.
  const shown = /\nmarketplace warning: proxy proxy=<Revoked Proxy> failed=(<uninspectable object>|{.*})\n$/
  t.match(stderr, shown)
})

t.test('nobody\'s text forges a line, or acts on a terminal', async (t) => {
  const forged = '\\n2026-01-01T00:00:00.000Z marketplace fatal: all is lost\\r\\x1b[2J\\x9b\\u202e\\u2028'
  const { stderr } = withLog('info', `
    const forged = '${forged}'
    const named = { [forged]: Object.assign(() => 1, { [forged]: 1 }) }
    Object.defineProperty(named[forged], 'name', { value: forged })
    class Odd {}
    Object.defineProperty(Odd, 'name', { value: forged })
    log('error', 'a' + forged, { text: forged, symbol: Symbol(forged), named, odd: new Odd(), list: [forged] })
    log('error', 'b', { reason: new Error(forged), label: Symbol.for(forged) })
    log('error', 'c', { reason: Object.assign(new TypeError(forged), { name: forged, code: forged }) })
    log('warning', 'd', { reason: Object.assign(new Error(forged), { syscall: 'read' }) })
    log('warning', new Error(forged))
    for (let i = 0; i < 20; i++) log('warning', 'e' + forged)
    setTimeout(() => {}, 1500)
  `)
  const lines = stderr.split('\n').slice(0, -1)
  t.same(lines.filter((line) => !/^( |marketplace (error|warning): )/.test(line)), [])
  // eslint-disable-next-line no-control-regex -- none of them is there
  t.notMatch(stderr, /[\0-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]/)
  t.match(stderr, 'marketplace error: a\\n2026-')
  t.match(stderr, /\n {4}at /, 'a stack is still one')
})

t.test('each line has the time', async (t) => {
  const { stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { log } from ${JSON.stringify(LOG)}
    log('warning', 'text')
  `], { env: { ...process.env, MARKETPLACE_LOG: '', NODE_OPTIONS: '' }, encoding: 'utf8' })
  t.match(stderr, /^\S+Z marketplace warning: text\n$/)
  t.ok(Math.abs(Date.parse(stderr.split(' ')[0] ?? '') - Date.now()) < patient(60_000), stderr)
})

t.test('an event is told once: not the message again as the reason', async (t) => {
  const { stderr } = withLog(undefined, `
    const reason = Object.assign(new Error('connect ECONNREFUSED'), { syscall: 'connect' })
    log('warning', reason.message, { reason, port: 1 })
  `)
  t.equal(stderr, 'marketplace warning: connect ECONNREFUSED port=1\n')
})

t.test('a stranger can\'t flood it: records alike but for numbers, and stacks', async (t) => {
  const { stderr } = withLog(undefined, `
    const fail = (i) => log('error', 'process ' + i + ' failed', { reason: new Error('bad frame') })
    for (let i = 0; i < 1000; i++) fail(i)
    log('error', 'something else')
    setTimeout(() => {}, 1500)
  `)
  const lines = stderr.trim().split('\n')
  t.equal(lines.filter((line) => line.includes('bad frame')).length, 10)
  t.equal(lines.filter((line) => /^ +at /.test(line)).length > 0, true, 'the first has its stack')
  t.equal(stderr.split('its stack was printed before').length - 1, 9)
  t.match(stderr, /\nmarketplace error: process N failed \(990 more like it, not printed\)\n/)
  t.match(stderr, 'something else')
  const subscribed = withLog(undefined, `
    import { subscribe } from 'node:diagnostics_channel'
    let count = 0
    subscribe(LOG_CHANNEL, () => count++)
    for (let i = 0; i < 1000; i++) log('error', 'process ' + i + ' failed')
    console.log(count)
  `)
  t.equal(subscribed.stdout, '1000\n')
  const debugged = withLog('debug', "for (let i = 0; i < 100; i++) log('info', 'process ' + i + ' starting')")
  t.equal(debugged.stderr.trim().split('\n').length, 100, 'who asks for everything gets it')
})

t.test('with a subscriber on the channel nothing is printed; it gets the record', async (t) => {
  const { stdout, stderr } = withLog('info', `
    import { subscribe, unsubscribe } from 'node:diagnostics_channel'
    const listener = ({ time, ...record }, name) => {
      console.log(JSON.stringify([name, typeof time, Math.abs(Date.now() - time) < 5000, record]))
    }
    console.log(LOG_CHANNEL)
    subscribe('marketplace:log', listener)
    log('info', 'text', { pid: 3 })
    log('warning', 'bare')
    log('debug', 'below the level')
    unsubscribe('marketplace:log', listener)
    log('info', 'printed again')
  `)
  t.same(stdout.trim().split('\n'), [
    'marketplace:log',
    '["marketplace:log","number",true,{"level":"info","message":"text","fields":{"pid":3}}]',
    '["marketplace:log","number",true,{"level":"warning","message":"bare","fields":{}}]',
  ])
  t.equal(stderr, 'marketplace info: printed again\n')
})

t.test('a subscriber that throws does not make log() throw', async (t) => {
  const { stdout } = withLog('info', `
    import { subscribe } from 'node:diagnostics_channel'
    process.on('uncaughtException', (error) => console.log('uncaught', error.message))
    subscribe('marketplace:log', () => { throw new Error('listener') })
    log('info', 'text')
    console.log('goes on')
  `)
  t.same(stdout.trim().split('\n'), ['goes on', 'uncaught listener'])
})

t.test('off: nothing reaches the channel either', async (t) => {
  const { stdout, stderr } = withLog('off', `
    import { subscribe } from 'node:diagnostics_channel'
    subscribe('marketplace:log', () => console.log('record'))
    log('fatal', 'text')
  `)
  t.equal(stdout + stderr, '')
})
