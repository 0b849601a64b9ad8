/** What is exported is documented, in a docstring and on a page; what the pages import is exported. */
import t from 'tap'
import ts from 'typescript'
import { join } from 'node:path'
import { filesBelow, ROOT, textOf } from './sources.js'

const ENTRIES: Readonly<Record<string, string>> = {
  'marketplace-native': 'src/index.ts',
  'marketplace-native/net': 'src/net/index.ts',
  'marketplace-native/tls': 'src/tls/index.ts',
}

const program = ts.createProgram(Object.values(ENTRIES).map((path) => join(ROOT, path)), {
  target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.NodeNext, noEmit: true, skipLibCheck: true,
  types: ['node'], typeRoots: [join(ROOT, 'node_modules/@types')],
})
const checker = program.getTypeChecker()

interface Export {
  readonly documentation: string
  /** Not only a type. */
  readonly value: boolean
}

/** What a module exports, by name. */
function exportsOf(path: string): Map<string, Export> {
  const source = program.getSourceFile(join(ROOT, path))
  const module = source && checker.getSymbolAtLocation(source)
  if (module === undefined) throw new Error(`${path} is not a module`)
  return new Map(checker.getExportsOfModule(module).map((symbol) => {
    const alias = (symbol.flags & ts.SymbolFlags.Alias) !== 0
    const origin = alias ? checker.getAliasedSymbol(symbol) : symbol
    const documentation = ts.displayPartsToString(origin.getDocumentationComment(checker))
    return [symbol.name, { documentation, value: (origin.flags & ts.SymbolFlags.Value) !== 0 }]
  }))
}

const pages = ['README.md', ...filesBelow('docs', '.md')].map(textOf).join('\n')

t.test('every export has a docstring; what is not only a type is explained on a page', async (t) => {
  for (const [name, { documentation, value }] of exportsOf(ENTRIES['marketplace-native'])) {
    t.not(documentation, '', `${name} has a docstring`)
    if (!value) continue
    // As code: between backticks or in a block.
    t.match(pages, new RegExp(`(?<![\\w$])${name.replace('$', '\\$')}(?![\\w$])`), `${name} is on a page`)
  }
})

t.test('what the pages import is exported', async (t) => {
  const pattern = /import\s+(?:type\s+)?\{([^}]*)\}\s+from\s+'(marketplace-native[^']*)'/g
  const imports = [...pages.matchAll(pattern)]
  t.ok(imports.length > 0)
  for (const [, list, module] of imports) {
    const known = exportsOf(ENTRIES[module] ?? '')
    for (const item of list.split(',')) {
      const name = item.trim().replace(/^type\s+/, '').replace(/\s+as\s+.*$/, '')
      if (name !== '') t.ok(known.has(name), `${module}: ${name}`)
    }
  }
})
