/** Which binary is loaded, what overrides it, and what is said when none can be. */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import t from 'tap'
import { interpreterOf, libc, loadProblem, nodeApiProblem } from '../../src/transport/native/binary.js'
import { loadNative } from '../../src/transport/native/transport.js'

const CHOOSE = new URL('../../src/transport/choose.js', import.meta.url).href
const PROGRAM = `
const { openTransport } = await import('${CHOOSE}')
try { console.log(openTransport('auto').name, openTransport('auto').name) }
catch (error) { console.log(error.message) }
`
const linux = process.platform === 'linux'
const directory = mkdtempSync(join(tmpdir(), 'marketplace-addon-'))
t.teardown(() => rmSync(directory, { recursive: true, force: true }))

async function opened(wanted: string, before = ''): Promise<{ stdout: string, warnings: number }> {
  // tap asks children not to warn, on some Nodes.
  const env = { ...process.env, NODE_OPTIONS: '', MARKETPLACE_NATIVE: wanted }
  const args = ['--input-type=module', '-e', before + PROGRAM]
  const { stdout, stderr } = await promisify(execFile)(process.execPath, args, { env })
  return { stdout: stdout.trim(), warnings: stderr.match(/MarketplaceWarning/g)?.length ?? 0 }
}

const skip = linux ? false : 'the engine is for Linux'

void t.test('MARKETPLACE_NATIVE', { skip }, async (t) => {
  t.same(await opened('off'), { stdout: 'node node', warnings: 0 }, 'off needs no warning')
  const { stdout: wrong } = await opened('sometimes')
  t.match(wrong, /must be 'off', 'require' or the absolute path.*got 'sometimes'/)
  t.match((await opened('/nowhere/at/all.node')).stdout, /all.node can't be used: there is no such file/)
  const text = join(directory, 'text.node')
  writeFileSync(text, 'no binary '.repeat(10))
  t.match((await opened(text)).stdout, /it is not an ELF file/)
  const native = loadNative().ok
  const { stdout, warnings } = await opened('require')
  t.match(stdout, native ? /^native native$/ : /^the native transport can't be loaded: /)
  t.equal(warnings, 0)
})

void t.test('another runtime, which would end at the first use of the addon', { skip }, async (t) => {
  const bun = "Object.defineProperty(process.versions, 'bun', { value: '1' })\n"
  t.same(await opened('', bun), { stdout: 'node node', warnings: 1 })
  t.match((await opened('require', bun)).stdout, /the addon is for Node; this is bun$/)
})

void t.test('why a binary cannot be loaded', { skip }, (t) => {
  const image = Buffer.from(readFileSync(process.execPath).subarray(0, 4096))
  image.writeUInt16LE(process.arch === 'arm64' ? 62 : 183, 18)
  const other = join(directory, 'other.node')
  writeFileSync(other, image)
  t.match(loadProblem(other, new Error('wrong')), /^it is for (arm64|x64); this process is \w+$/)
  const glibc = "x.node: version `GLIBC_2.38' not found; x.node: version `GLIBC_2.9' not found"
  t.match(loadProblem(process.execPath, new Error(glibc)), /^it needs glibc 2\.38 or newer; here is glibc /)
  const cxx = "version `GLIBCXX_3.4.32' not found (required by x.node)"
  t.match(loadProblem(process.execPath, new Error(cxx)), /^it needs a libstdc\+\+ with GLIBCXX_3\.4\.32/)
  t.equal(loadProblem(process.execPath, new Error('first\nsecond')), 'first')
  t.end()
})

void t.test('what this process is', { skip }, (t) => {
  t.match(interpreterOf(process.execPath), /ld-/)
  t.match(libc(), /^(glibc|musl)$/)
  t.equal(libc(join(directory, 'none')), 'glibc')
  t.equal(nodeApiProblem('9'), undefined)
  t.equal(nodeApiProblem('10'), undefined)
  t.match(nodeApiProblem('8'), /^it needs Node-API 9 \(Node 20\.3 .*this is Node .* with Node-API 8$/)
  t.end()
})
