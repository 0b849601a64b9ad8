/**
 * Where a function was written, for errors about what it returned: by then no stack leads to it.
 * Asks V8's debugger in this very process, which takes milliseconds: at most once a second, so that nobody
 * can make a program spend its time on that.
 */
import { inspectorModule } from './builtins.js'

const PAUSE = 1000
let asked = -Infinity

interface Property {
  readonly name: string
  readonly value?: { readonly value?: unknown }
}

/** A place in a script, as V8 has it: lines and columns count from 0. */
interface Location {
  readonly scriptId: string
  readonly lineNumber: number
  readonly columnNumber?: number
}

/** Where the evaluated expression of the debugger finds the function. */
const KEY = '__marketplace_function'

/** `file:///server.mjs:12:20`; undefined if it can't be told, or was asked just now. */
export function functionPlace(what: unknown): string | undefined {
  const now = performance.now()
  if (typeof what !== 'function' || now - asked < PAUSE) return undefined
  asked = now
  const session = new (inspectorModule().Session)()
  const holder = globalThis as Record<string, unknown>
  const scripts = new Map<string, string>()
  let place: string | undefined
  try {
    session.connect()
    session.on('Debugger.scriptParsed', ({ params }) => scripts.set(params.scriptId, params.url))
    session.post('Debugger.enable')
    holder[KEY] = what
    session.post('Runtime.evaluate', { expression: `globalThis.${KEY}` }, (failed, evaluated) => {
      const { objectId } = failed === null ? evaluated.result : {}
      if (objectId === undefined) return
      session.post('Runtime.getProperties', { objectId, ownProperties: true }, (failed, properties) => {
        if (failed !== null) return
        const found = (properties.internalProperties as Property[] | undefined)
          ?.find(({ name }) => name === '[[FunctionLocation]]')?.value?.value as Location | undefined
        const url = found === undefined ? undefined : scripts.get(found.scriptId)
        if (found === undefined || url === undefined || url === '') return
        place = `${url}:${found.lineNumber + 1}:${(found.columnNumber ?? 0) + 1}`
      })
    })
  } catch {
    // A Node without inspector, or one in which it may not be used.
  } finally {
    Reflect.deleteProperty(holder, KEY)
    try {
      session.disconnect()
    } catch {
      // It never was connected.
    }
  }
  return place
}
