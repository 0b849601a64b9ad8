/**
 * dist/lib, what the exports of package.json name: few files, as each takes half a millisecond to import.
 *
 * - ESM: one file per entry point and what they share. In a clone these only lead on to dist/src, so that
 *   tests which reach inside have the same instance; `npm pack` puts the bundles in their place.
 * - CommonJS, for Nodes that can't require ESM (before 20.19 and 22.12): everything in one file, in which variables
 *   have short names, and functions and classes the names that stack traces show.
 * - The inspector's page: one HTML file with its script and its style, for browsers.
 * - Types, once: CommonJS's, which the ESM entry points export again, as TypeScript allows it in this
 *   direction only.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { ROOT, filesBelow, say, seconds, upToDate } from './steps.mjs'

const OUT = 'dist/lib'
const STAMP = `${OUT}/.built`
/** Entry points by name; the command line and the worker threads' program are none of CommonJS's. */
const ENTRIES = {
  index: 'src/index.ts', net: 'src/net/index.ts', tls: 'src/tls/index.ts', cli: 'src/cli/main.ts',
  worker: 'src/workers/worker.ts', 'cli-worker': 'src/cli/worker-program.ts',
}
const LIBRARY = ['index', 'net', 'tls']

/** Names are kept, and lines stay lines: stack traces and profiles can be read without source maps. */
const OPTIONS = {
  absWorkingDir: ROOT,
  bundle: true,
  platform: 'node',
  target: 'node20.3',
  minifyWhitespace: true,
  minifySyntax: true,
  lineLimit: 120,
  legalComments: 'none',
  logLevel: 'warning',
  // sideEffects is for those who bundle this package.
  ignoreAnnotations: true,
}

/** The inspector's page. */
const PAGE = 'inspector-page'

const manifestOf = (path) => JSON.parse(readFileSync(join(ROOT, path, 'package.json'), 'utf8'))

function write(path, text) {
  mkdirSync(dirname(join(ROOT, path)), { recursive: true })
  writeFileSync(join(ROOT, path), text)
}

/** Dependencies that can be required everywhere; one that is ESM only is compiled along, with its license. */
function sortedDependencies() {
  const names = Object.keys(manifestOf('.').dependencies)
  const esmOnly = names.filter((name) => {
    const { type, exports } = manifestOf(`node_modules/${name}`)
    const dual = typeof exports === 'object' && JSON.stringify(exports).includes('"require"')
    return type === 'module' && !dual
  })
  return { external: names.filter((name) => !esmOnly.includes(name)), esmOnly }
}

function licenses(names) {
  const texts = names.map((name) => {
    const path = `node_modules/${name}`
    const file = join(ROOT, path, 'LICENSE')
    const text = existsSync(file) ? readFileSync(file, 'utf8').trim() : manifestOf(path).license
    return `${name}:\n${text}`
  })
  return `/*\nPart of this file are:\n\n${texts.join('\n\n')}\n*/\n`
}

/** Names that a module exports; it is not loaded for this, as the program that builds may load it itself. */
async function exportsOf(esbuild, entry) {
  const { metafile } = await esbuild.build({
    ...OPTIONS, entryPoints: [entry], format: 'esm', packages: 'external', write: false, metafile: true,
    outdir: OUT,
  })
  return Object.values(metafile.outputs).flatMap(({ exports }) => exports).sort()
}

async function bundleCommonJs(esbuild) {
  const { external, esmOnly } = sortedDependencies()
  const entries = LIBRARY.map((name) => `export * as ${name} from './${ENTRIES[name]}'`)
  const moduleUrl = "const moduleUrl = require('node:url').pathToFileURL(__filename).href"
  await esbuild.build({
    ...OPTIONS,
    stdin: { contents: entries.join('\n'), resolveDir: ROOT, sourcefile: 'all.ts', loader: 'ts' },
    outfile: `${OUT}/all.cjs`,
    format: 'cjs',
    external,
    define: { 'import.meta.url': 'moduleUrl' },
    banner: { js: `${licenses(esmOnly)}${moduleUrl}` },
    minifyIdentifiers: true,
    keepNames: true,
  })
  for (const name of LIBRARY) {
    // One by one: that is how Node, and TypeScript's checks, see names.
    const names = await exportsOf(esbuild, ENTRIES[name])
    const lines = names.map((key) => `exports.${key} = all.${key}`)
    write(`${OUT}/${name}.cjs`, [
      "Object.defineProperty(exports, '__esModule', { value: true })",
      `const all = require('./all.cjs').${name}`, ...lines, '',
    ].join('\n'))
  }
}

/** The declarations that an entry point's lead to, as those of CommonJS. */
function writeTypes() {
  const entries = LIBRARY.map((name) => ENTRIES[name].replace(/\.ts$/, '.d.ts'))
  const todo = [...entries]
  const seen = new Set(todo)
  const typesOf = (path) => path.replace(/^src/, `${OUT}/types`).replace(/\.d\.ts$/, '.d.cts')
  for (const path of todo) {
    // Without the imports that are for what they do, and without the name of a map that isn't packed.
    const whole = readFileSync(join(ROOT, 'dist', path), 'utf8')
      .replace(/^import '.*';\n/gm, '').replace(/\n\/\/# sourceMappingURL=.*/, '')
    // Programs see nothing of the native transport itself: what is said there is for its source.
    const text = path.startsWith('src/transport/native/') ? whole.replace(/^ *\/\*\*[^]*?\*\/\n/gm, '') : whole
    const relativeImport = /(from |import\()(['"])(\.[^'"]+)\.js\2/g
    // TypeScript 6 looks for no types of its own accord.
    const node = entries.includes(path) ? '/// <reference types="node" />\n' : ''
    write(typesOf(path), node + text.replace(relativeImport, (_all, before, quote, to) => {
      const found = join(dirname(path), `${to}.d.ts`)
      if (!seen.has(found)) todo.push(found)
      seen.add(found)
      return `${before}${quote}${to}.cjs${quote}`
    }))
  }
  for (const name of LIBRARY) {
    const from = `./types/${ENTRIES[name].replace(/^src\//, '').replace(/\.ts$/, '.cjs')}`
    write(`${OUT}/${name}.d.ts`, reexport(name, from))
  }
}

const hasDefault = (name) => /^export default/m.test(readFileSync(join(ROOT, ENTRIES[name]), 'utf8'))

function reexport(name, from) {
  return `export * from '${from}'\n${hasDefault(name) ? `export { default } from '${from}'\n` : ''}`
}

/** What stands in a clone in the place of the bundles. */
function writeForwards() {
  for (const [name, entry] of Object.entries(ENTRIES)) {
    const compiled = `../${entry.replace(/\.ts$/, '.js')}`
    const shebang = name === 'cli' ? '#!/usr/bin/env node\n' : ''
    const exports = LIBRARY.includes(name) || hasDefault(name)
    const text = exports ? reexport(name, compiled) : `${shebang}import '${compiled}'\n`
    write(`${OUT}/${name}.js`, text)
  }
}

async function bundleEsm(esbuild) {
  await esbuild.build({
    ...OPTIONS,
    entryPoints: ENTRIES,
    outdir: OUT,
    format: 'esm',
    splitting: true,
    chunkNames: 'shared-[hash]',
    packages: 'external',
  })
}

/** All that a browser needs is in one file: the page asks nobody but the program for anything. */
export async function bundlePage(esbuild) {
  const options = {
    absWorkingDir: ROOT, bundle: true, minify: true, write: false, legalComments: 'none', logLevel: 'warning',
  }
  const contentOf = async (entry, more) => {
    const { outputFiles } = await esbuild.build({ ...options, entryPoints: [`${PAGE}/${entry}`], ...more })
    return outputFiles[0].text.trim()
  }
  const script = await contentOf('main.tsx', {
    format: 'iife', target: 'es2022', jsx: 'automatic', jsxImportSource: 'preact', banner: { js: licenses(['preact']) },
  })
  const style = await contentOf('style.css', { target: ['chrome108', 'firefox108', 'safari16'] })
  const parts = { STYLE: style, SCRIPT: script.replaceAll('</script', '<\\/script') }
  const page = readFileSync(join(ROOT, PAGE, 'page.html'), 'utf8')
  write(`${OUT}/inspector.html`, page.replace(/\/\*(STYLE|SCRIPT)\*\//g, (_all, part) => parts[part]))
}

/** The command line alone, of the sources as they are, for `npm start`. Returns its path. */
export async function bundleCommand() {
  const outfile = 'dist/start/cli.js'
  const { build } = await import('esbuild')
  await build({
    ...OPTIONS, entryPoints: [ENTRIES.cli], outfile, format: 'esm', packages: 'external', sourcemap: true,
  })
  return outfile
}

/** @param whole for the package: with the bundles of ESM */
export async function buildLibrary({ whole = false } = {}) {
  const sources = filesBelow('src').filter((file) => file.endsWith('.ts'))
  const inputs = ['package.json', 'scripts/bundle.mjs', 'dist/.built', ...sources, ...filesBelow(PAGE)]
  if (!whole && upToDate(STAMP, inputs)) return
  const start = performance.now()
  const esbuild = await import('esbuild')
  rmSync(join(ROOT, OUT), { recursive: true, force: true })
  writeTypes()
  await bundleCommonJs(esbuild)
  await bundlePage(esbuild)
  if (whole) await bundleEsm(esbuild)
  else writeForwards()
  // The bundles of the package are not what a clone works with.
  if (!whole) write(STAMP, '')
  say(`library: ${whole ? 'bundled' : 'done'} in ${seconds(start)}`)
}
