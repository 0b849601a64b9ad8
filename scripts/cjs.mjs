/**
 * The CommonJS build, dist/cjs: every module of src but the command line, as `require` needs it on a Node
 * that can't require ESM (before 20.19 and 22.12). The types are those of the ESM build.
 *
 * Dependencies that exist as ESM only are compiled along, into dist/cjs/vendor.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { ROOT, StepFailed, filesBelow, say, seconds, upToDate } from './steps.mjs'

const OUT = 'dist/cjs'
const STAMP = `${OUT}/package.json`
const HERE = "require('node:url').pathToFileURL(__filename).href"

const manifestOf = (path) => JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8'))

/** Names and entries of the dependencies that can't be required everywhere. */
function esmOnly(packages) {
  return packages.flatMap((name) => {
    const { type, exports, main, module } = manifestOf(`node_modules/${name}`)
    const entry = typeof exports === 'string' ? exports : main ?? module
    const dual = typeof exports === 'object' && JSON.stringify(exports).includes('"require"')
    return type === 'module' && !dual ? [{ name, entry: `node_modules/${name}/${entry}` }] : []
  })
}

function write(path, text) {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true })
  writeFileSync(join(ROOT, path), text)
}

/** What is required of a package that is compiled along, and of all others, by its own name. */
function requiring(text, from, vendored) {
  return text.replace(/require\("([^".][^"]*)"\)/g, (all, name) => {
    if (!vendored.has(name)) return all
    return `require("./${relative(dirname(from), `${OUT}/vendor/${name}.js`)}")`
  })
}

export async function buildCommonJs() {
  const sources = filesBelow('src').filter((file) => file.endsWith('.ts') && !file.startsWith('src/cli/'))
  if (upToDate(STAMP, ['package.json', 'scripts/cjs.mjs', 'dist/.built', ...sources])) return
  const start = performance.now()
  const { default: ts } = await import('typescript')
  // Without comments and source maps: they are in the ESM build, and this one is for old Nodes.
  const compile = (fileName, text) => ts.transpileModule(text, {
    fileName,
    reportDiagnostics: true,
    compilerOptions: {
      module: ts.ModuleKind.CommonJS,
      target: ts.ScriptTarget.ES2023,
      removeComments: true,
      esModuleInterop: true,
    },
  })
  rmSync(join(ROOT, OUT), { recursive: true, force: true })
  const vendored = new Set()
  for (const { name, entry } of esmOnly(Object.keys(manifestOf('.').dependencies))) {
    vendored.add(name)
    const { outputText } = compile(entry, readFileSync(join(ROOT, entry), 'utf8'))
    write(`${OUT}/vendor/${name}.js`, outputText)
    const license = `node_modules/${name}/LICENSE`
    if (!existsSync(join(ROOT, license))) continue
    copyFileSync(join(ROOT, license), join(ROOT, `${OUT}/vendor/${name}.LICENSE`))
  }
  for (const source of sources) {
    const path = source.replace(/^src/, OUT).replace(/\.ts$/, '.js')
    const text = readFileSync(join(ROOT, source), 'utf8').replaceAll('import.meta.url', HERE)
    const { outputText, diagnostics } = compile(source, text)
    if (diagnostics.length > 0) {
      const why = ts.flattenDiagnosticMessageText(diagnostics[0].messageText, ' ')
      throw new StepFailed(`cjs: ${source}: ${why}`)
    }
    write(path, requiring(outputText, path, vendored))
    const types = source.replace(/\.ts$/, '.d.ts')
    copyFileSync(join(ROOT, 'dist', types), join(ROOT, path.replace(/\.js$/, '.d.ts')))
  }
  write(STAMP, `${JSON.stringify({ type: 'commonjs' })}\n`)
  say(`commonjs: ${sources.length} modules in ${seconds(start)}`)
}
