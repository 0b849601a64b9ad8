/** Starts workers for tests. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { LOG_CHANNEL, serve, type Served, type ServeOptions } from '../../src/index.js'
import { hasNative } from '../../src/transport/choose.js'

export const module = new URL('echo-program.js', import.meta.url)
export const skip = hasNative() ? false : 'needs the native transport'

/** What the workers are made to die of is no news. */
export function quiet(t: { teardown(end: () => void): void }): void {
  const ignore = (): void => undefined
  subscribe(LOG_CHANNEL, ignore)
  t.teardown(() => { unsubscribe(LOG_CHANNEL, ignore) })
}

export async function started(options: Partial<ServeOptions> = {}): Promise<{ served: Served, port: number }> {
  const served = serve({
    module, workers: 2, data: {}, signals: false, backoff: { first: 10, most: 50 }, intensity: 1000, ...options,
  })
  await served.ready
  return { served, port: served.addresses()[0]?.port ?? 0 }
}

/** The workers of a test have this backend. @param variant of test/support/variants.ts */
export function onBackend(t: { teardown(end: () => void): void }, variant: string): void {
  const { MARKETPLACE_BACKEND: before } = process.env
  t.teardown(() => {
    if (before === undefined) delete process.env.MARKETPLACE_BACKEND
    else process.env.MARKETPLACE_BACKEND = before
  })
  process.env.MARKETPLACE_BACKEND = variant.slice('native '.length)
}

let programs = 0

/** A module with this text. @returns its path */
export function program(t: { testdir(): string }, text: string): string {
  const path = join(t.testdir(), `program-${++programs}.mjs`)
  const library = new URL('../../src/index.js', import.meta.url).href
  writeFileSync(path, text.replaceAll("'marketplace-native'", `'${library}'`))
  return path
}
