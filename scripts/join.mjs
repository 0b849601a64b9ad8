/**
 * What tests and benchmarks load, in few files: `npm test` starts a thousand processes, and a third of what it took was
 * the loading of hundreds of small files.
 *
 * - dist/src/joined.js is all of src. The other files of dist/src only pass on what it exports, so that a test which
 *   reaches inside has the same instance as the library; what does something when it is loaded stays as it was.
 * - dist/node_modules/tap is the `tap` that is installed, found by the tests before that one.
 */
import { existsSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join, relative } from 'node:path'
import { ROOT, filesBelow, say, seconds, upToDate } from './steps.mjs'

export const JOINED = 'dist/src/joined.js'
const TAP = 'dist/node_modules/tap'
/** These do something when they are loaded: they are files as they were, which import from the joined one. */
const PROGRAMS = /^src\/(cli\/|workers\/worker\.ts|(net|tls)\/(index|exports|promises)\.ts)/
const OPTIONS = {
  absWorkingDir: ROOT, bundle: true, platform: 'node', format: 'esm', target: 'node20.3', logLevel: 'error',
}

const modules = () => filesBelow('src')
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.d.ts') && !PROGRAMS.test(file))
const compiled = (source) => join(ROOT, 'dist', source.replace(/\.ts$/, '.js'))

/** Before dist/src is written anew: what is left half done must not be taken for the whole. */
export function unjoin() {
  rmSync(join(ROOT, JOINED), { force: true })
}

const withoutPrograms = {
  name: 'without programs',
  setup({ onResolve }) {
    onResolve({ filter: /^\./ }, ({ path, resolveDir }) => {
      const file = relative(ROOT, join(resolveDir, path))
      const isProgram = PROGRAMS.test(file.replace(/\.js$/, '.ts'))
      return isProgram ? { path: `./${relative('src', file)}`, external: true } : undefined
    })
  },
}

/** @param stamp is written when dist/src is */
async function joinSources(esbuild, stamp) {
  if (upToDate(JOINED, [stamp, 'scripts/join.mjs'])) return
  const files = modules()
  const { metafile } = await esbuild.build({
    ...OPTIONS, entryPoints: files, packages: 'external', splitting: true, outdir: 'dist/src', write: false,
    metafile: true,
    // None is left out for having no effect but that.
    ignoreAnnotations: true,
  })
  const outputs = Object.values(metafile.outputs)
  const exportsOf = new Map(outputs.map(({ entryPoint, exports }) => [entryPoint, exports]))
  const lines = files.map((file, i) => {
    const names = exportsOf.get(file).map((name) => `${name} as _${i}_${name}`)
    return `import './${file}'\nexport { ${names.join(', ')} } from './${file}'`
  })
  await esbuild.build({
    ...OPTIONS,
    stdin: { contents: lines.join('\n'), resolveDir: ROOT, sourcefile: 'joined.ts', loader: 'ts' },
    outfile: JOINED, packages: 'external', ignoreAnnotations: true, plugins: [withoutPrograms],
  })
  files.forEach((file, i) => {
    const up = './' + '../'.repeat(file.split('/').length - 2)
    const names = exportsOf.get(file).map((name) => `_${i}_${name} as ${name}`)
    writeFileSync(compiled(file), `export { ${names.join(', ')} } from '${up}joined.js'\n`)
    rmSync(`${compiled(file)}.map`, { force: true })
  })
}

/** tap shows elements of React, of which there are none here, and loads a hundred files for that. */
const withoutReact = {
  name: 'without React',
  setup({ onLoad }) {
    onLoad({ filter: /tcompare.*react-element-to-jsx-string/ }, () => ({ contents: 'export default String' }))
  },
}

async function joinTap(esbuild) {
  if (upToDate(`${TAP}/index.js`, ['node_modules/.package-lock.json', 'scripts/join.mjs'])) return
  const contents = "export * from 'tap'\nexport { default } from 'tap'\n"
  await esbuild.build({
    ...OPTIONS, stdin: { contents, resolveDir: ROOT }, outfile: `${TAP}/index.js`,
    plugins: [withoutReact],
    // Parts of it are CommonJS.
    banner: { js: "import { createRequire as from } from 'node:module'; const require = from(import.meta.url);" },
  })
  writeFileSync(join(ROOT, TAP, 'package.json'), '{ "name": "tap", "type": "module", "main": "index.js" }\n')
}

/** @param stamp the file that tells when dist/src was compiled */
export async function joinTests(stamp) {
  const start = performance.now()
  const before = [JOINED, `${TAP}/index.js`].every((file) => existsSync(join(ROOT, file)))
  mkdirSync(join(ROOT, TAP), { recursive: true })
  const esbuild = await import('esbuild')
  await joinSources(esbuild, stamp)
  await joinTap(esbuild)
  if (!before) say(`joined: done in ${seconds(start)}`)
}
