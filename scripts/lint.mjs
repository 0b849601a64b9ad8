/**
 * `npm run lint`: eslint for the TypeScript and the scripts; for the C++ the compiler with warnings as
 * errors, cppcheck, and clang-format. What isn't installed is named, and skipped.
 * `npm run lint -- ts` and `npm run lint -- cpp` do one half.
 */
import { spawnSync } from 'node:child_process'
import { existsSync, realpathSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { install } from './install.mjs'
import { ROOT, filesBelow, main, say, step } from './steps.mjs'

const WARNINGS = ['-Wall', '-Wextra', '-Werror', '-Wshadow', '-Wpedantic']
const CPPCHECK = [
  '--enable=warning,performance,portability', '--inline-suppr', '--error-exitcode=1', '--std=c++20',
  '--suppress=missingIncludeSystem', '--suppress=preprocessorErrorDirective', '--quiet', '--template=gcc',
  '-Inative/engine',
  // The one macro of Node-API that takes the place of a function's head.
  '-DNAPI_MODULE_INIT()=napi_value initialize_module(napi_env env, napi_value exports)',
]

/** Those of binding.gyp. */
const BINDING_DEFINES = ['-DNAPI_VERSION=9', '-fno-exceptions']

const works = (command, ...args) => spawnSync(command, args, { cwd: ROOT }).status === 0

async function lintTypeScript() {
  await step('templates', process.execPath, ['scripts/templates.mjs', '--check'])
  await step('layout', process.execPath, ['scripts/layout.mjs', '--check'])
  await step('eslint', process.execPath, ['node_modules/eslint/bin/eslint.js', '--max-warnings=0', '.'])
}

/** Node's headers as system headers: their warnings are not ours. */
function bindingIncludes() {
  const headers = join(dirname(dirname(realpathSync(process.execPath))), 'include/node')
  if (!existsSync(join(headers, 'node_api.h'))) return undefined
  return ['-isystem', headers, ...BINDING_DEFINES]
}

async function compile(name, sources, flags) {
  const compiler = process.env.CXX ?? 'g++'
  if (sources.length === 0) return
  if (!works(compiler, '--version')) {
    say(`${name}: skipped, there is no ${compiler}`)
    return
  }
  const args = ['-std=c++20', '-fsyntax-only', ...WARNINGS, '-Inative/engine', ...flags, ...sources]
  await step(name, compiler, args)
}

/** The npm package's program, if it runs on this machine. */
function clangFormat() {
  return ['node_modules/.bin/clang-format', 'clang-format'].find((path) => works(path, '--version'))
}

async function lintCpp() {
  const isCpp = (file) => /\.(cc|h)$/.test(file)
  const all = filesBelow('native').filter(isCpp)
  if (all.length === 0) return
  const units = (folder) => filesBelow(folder).filter((file) => file.endsWith('.cc'))
  await compile('engine warnings', units('native/engine'), [])
  const includes = bindingIncludes()
  if (includes !== undefined) await compile('binding warnings', units('native/binding'), includes)
  else say('binding warnings: skipped, Node was installed without its headers')
  if (works('cppcheck', '--version')) await step('cppcheck', 'cppcheck', [...CPPCHECK, 'native'])
  else say('cppcheck: skipped, it is not installed')
  const formatter = clangFormat()
  if (formatter === undefined) say('clang-format: skipped, it does not run here')
  else if (existsSync(join(ROOT, '.clang-format'))) {
    await step('clang-format', formatter, ['--dry-run', '-Werror', ...all, ...filesBelow('test/native').filter(isCpp)])
  }
}

await main(async () => {
  const [only] = process.argv.slice(2)
  await install()
  if (only !== 'cpp') await lintTypeScript()
  if (only !== 'ts') await lintCpp()
})
