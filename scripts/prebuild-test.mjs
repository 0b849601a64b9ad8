/**
 * The engine's tests, built as the prebuilt binaries are: with Zig's compiler and C++ library, for glibc and
 * for musl. What another compiler leaves undefined shows here; the tests of `npm test` are built by GCC.
 * Programs for musl are linked statically, so that they run on every machine.
 */
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { GLIBC_FLOOR, compileWithZig } from './prebuild.mjs'
import { ROOT, filesBelow, say, step, upToDate } from './steps.mjs'

const PLATFORMS = { glibc: `x86_64-linux-gnu.${GLIBC_FLOOR}`, musl: 'x86_64-linux-musl' }
const FLAGS = ['-std=c++20', '-O2', '-g0', '-fno-rtti']

export async function testPrebuiltEngine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    say('engine as in the prebuilt binaries: skipped, this is not Linux on x64')
    return
  }
  const all = ['native/engine', 'test/native'].flatMap(filesBelow)
  const sources = all.filter((file) => file.endsWith('.cc'))
  mkdirSync(join(ROOT, 'build/test-native'), { recursive: true })
  for (const [libc, target] of Object.entries(PLATFORMS)) {
    const program = `build/test-native/engine-test-${libc}`
    if (!upToDate(program, [...all, 'scripts/prebuild-test.mjs'])) {
      await compileWithZig(`engine tests, ${libc}`, target, { flags: FLAGS, sources, output: program })
    }
    const output = await step(`engine tests, ${libc}: run`, join(ROOT, program), [])
    say(`engine tests, ${libc}: ${output.match(/^ok /gm)?.length ?? 0} passed`)
  }
}
