/** What the layout promises: dependencies point one way, the engine stands alone, files say what they own. */
import t from 'tap'
import {
  circleIn, filesBelow, folderImports, folderOf, importsOf, ROOT, textOf, valuesImportedBy,
} from './sources.js'
import { existsSync } from 'node:fs'
import { join } from 'node:path'

/** From the bottom up: a folder imports only from those before it. */
const ORDER = [
  'support', 'topic', 'vm', 'dsl', 'relay', 'transport', 'descriptors', 'net', 'tls', 'drivers', 'streams', 'workers',
  'inspector',
  'cli',
]

t.test('dependencies between folders point one way', async (t) => {
  const edges = folderImports()
  t.strictSame([...edges.keys()].sort(), [...ORDER].sort(), 'every folder has its place')
  for (const [from, targets] of edges) {
    for (const to of targets) t.ok(ORDER.indexOf(to) < ORDER.indexOf(from), `${from} uses ${to}`)
  }
})

t.test('no file imports itself by way of others', async (t) => {
  const files = [...filesBelow('src', '.ts'), ...filesBelow('bench', '.ts')]
  t.equal(circleIn(files, valuesImportedBy), undefined, 'what is loaded')
  // A VM, its processes and their endpoints hold each other: their types do as well.
  t.equal(circleIn(files.filter((path) => folderOf(path) !== 'vm'), importsOf), undefined, 'and what is for types only')
  const ring = ['a.ts', 'b.ts', 'c.ts']
  const next = (path: string): string[] => [`${{ a: 'b', b: 'c', c: 'b' }[path[0]]}.js`]
  t.strictSame(circleIn(ring, next), ['b.ts', 'c.ts', 'b.ts'], 'one would be found')
})

t.test('the diagram of CONTRIBUTING.md is what the imports say', async (t) => {
  const block = /```mermaid\n([^]*?)```/.exec(textOf('CONTRIBUTING.md'))?.[1] ?? ''
  const drawn = [...block.matchAll(/^ +(\w+) --> (\w+)$/gm)].map(([, from, to]) => `${from} --> ${to}`)
  // All use `support`: an arrow for each would hide the others.
  const real = [...folderImports()].flatMap(([from, targets]) =>
    [...targets].filter((to) => to !== 'support').map((to) => `${from} --> ${to}`))
  t.strictSame(drawn.sort(), real.sort())
})

t.test('a file imports what is there, and no file of the tests', async (t) => {
  for (const path of filesBelow('src', '.ts')) {
    for (const imported of importsOf(path)) {
      t.notMatch(imported, /^(test|bench|scripts|dist)\//, `${path} imports ${imported}`)
      if (folderOf(imported) === undefined) continue
      t.ok(existsSync(join(ROOT, imported.replace(/\.js$/, '.ts'))), `${path}: ${imported}`)
    }
  }
})

t.test('the transports are two rooms behind a seam, and doors lead to them', async (t) => {
  const rooms = new Map<string, readonly RegExp[]>([
    ['seam', [/^seam\//]],
    ['native', [/^seam\//, /^native\//]],
    ['node', [/^seam\//, /^node\//]],
    // The doors.
    ['descriptors.ts', [/^seam\/adoption\.js$/, /^native\/(addon|engine|layout)\.js$/]],
    ['shared-listeners.ts', [/^native\/(acceptor|addon|engine|loan)\.js$/]],
    ['heap.ts', [/^native\/heap-trimmer\.js$/]],
    ['choose.ts', [/^seam\/.*transport\.js$/, /^native\/(addon|transport|udp)\.js$/, /^node\/(transport|udp)\.js$/]],
  ])
  const outside = [/^seam\//, /^choose\.js$/, /^descriptors\.js$/, /^heap\.js$/, /^shared-listeners\.js$/]
  const inside = 'src/transport/'
  const seen = new Set<string>()
  for (const path of filesBelow('src', '.ts')) {
    const room = path.startsWith(inside) ? path.slice(inside.length).split('/')[0] : undefined
    const allowed = room === undefined ? outside : rooms.get(room)
    if (allowed === undefined) {
      t.fail(`${path} is in no room`)
      continue
    }
    if (room !== undefined) seen.add(room)
    for (const imported of importsOf(path)) {
      if (!imported.startsWith(inside)) continue
      const target = imported.slice(inside.length)
      t.ok(allowed.some((pattern) => pattern.test(target)), `${path} uses ${imported}`)
    }
  }
  t.strictSame([...seen].sort(), [...rooms.keys()].sort(), 'every room is there')
})

t.test('native code is reached from one file', async (t) => {
  // Node's own modules are none of it.
  const native = /createRequire\((?!import\.meta\.url\)\('node:)|process\.dlopen/
  const loads = (path: string): boolean => native.test(textOf(path))
  const loading = filesBelow('src', '.ts').filter(loads)
  t.strictSame(loading, ['src/transport/native/addon.ts'])
})

t.test('the engine knows nothing of Node', async (t) => {
  const files = filesBelow('native/engine', '.h', '.cc')
  t.ok(files.length > 0)
  for (const path of files) {
    const lines = textOf(path).matchAll(/^\s*#\s*include\s+[<"]([^>"]+)[>"]/gm)
    const includes = Array.from(lines, ([, name]) => name)
    t.strictSame(includes.filter((name) => /node|napi|v8|uv\.h|\.\.\//.test(name)), [], path)
  }
})

t.test('every C and C++ file says at its top what it owns', async (t) => {
  const files = [...filesBelow('native', '.h', '.cc'), ...filesBelow('bench', '.h', '.c')]
  t.ok(files.length > 0)
  for (const path of files) t.match(textOf(path), /^(\/\/|\/\*)/, path)
})

t.test('every file says at its top what it owns', async (t) => {
  const files = [...filesBelow('src', '.ts'), ...filesBelow('bench', '.ts'), ...filesBelow('scripts', '.mjs'),
    ...filesBelow('inspector-page', '.ts', '.tsx')]
  for (const path of files) t.match(textOf(path), /^(#!.*\n)?\/\*\*/, path)
})
