/**
 * llhttp, the parser of Node itself, as WebAssembly: the one place that knows its calling conventions.
 *
 * The build is the one that undici carries: it is kept by the same people, follows llhttp's releases within
 * weeks, and is in every Node as part of `fetch`. (llhttp's own package on npm is its generator, of 2018.)
 */
import { createRequire } from 'node:module'

/** What the parser calls; each returns 0, or a code that stops it. */
export interface Callbacks {
  /** Texts have a character for each byte. */
  onUrl(text: string): number
  onHeaderField(text: string): number
  onHeaderValue(text: string): number
  onHeadersComplete(keepAlive: boolean): number
  onBody(bytes: Buffer): number
  onMessageComplete(): number
}

/** llhttp's codes that mean something to us; all others are faults of who sent the bytes. */
export const OK = 0
export const PAUSED = 21
export const PAUSED_UPGRADE = 22
export const STOPPED = 24

interface Exports {
  readonly memory: { readonly buffer: ArrayBuffer }
  malloc(bytes: number): number
  llhttp_alloc(type: number): number
  llhttp_free(parser: number): void
  llhttp_execute(parser: number, at: number, length: number): number
  llhttp_finish(parser: number): number
  llhttp_resume(parser: number): void
  llhttp_resume_after_upgrade(parser: number): void
  llhttp_get_error_pos(parser: number): number
  llhttp_get_error_reason(parser: number): number
  llhttp_get_http_major(parser: number): number
  llhttp_get_http_minor(parser: number): number
  llhttp_get_method(parser: number): number
}

/** What of WebAssembly is needed: TypeScript knows it as a part of browsers only. */
declare const WebAssembly: {
  readonly Module: new (bytes: Uint8Array) => unknown
  readonly Instance: new (module: unknown, imports: object) => { readonly exports: unknown }
}

const require = createRequire(import.meta.url)
const { TYPE, METHODS } = require('undici/lib/llhttp/constants.js') as Record<string, Record<string, number>>
const METHOD_NAMES = new Map(Object.entries(METHODS).map(([name, code]) => [code, name]))

/** Bytes parsed at a time: what is left when the parser pauses has to be handed over again. */
const INPUT = 8 * 1024

/** Node's own way from bytes to text, without the detour by the encoding's name. */
type Latin1Buffer = Buffer & { latin1Slice(start: number, end: number): string }

/** The parser that runs, and the bytes it is given: nothing here waits, so one at a time. */
let running: Callbacks | undefined
let bytes = Buffer.alloc(0) as Latin1Buffer

const view = (at: number, length: number) => bytes.subarray(at - input, at - input + length)
const text = (at: number, length: number) => bytes.latin1Slice(at - input, at - input + length)

const imports = {
  wasm_on_message_begin: () => 0,
  wasm_on_status: () => 0,
  wasm_on_url: (_: number, at: number, length: number) => running?.onUrl(text(at, length)),
  wasm_on_header_field: (_: number, at: number, length: number) => running?.onHeaderField(text(at, length)),
  wasm_on_header_value: (_: number, at: number, length: number) => running?.onHeaderValue(text(at, length)),
  wasm_on_headers_complete: (_: number, _status: number, _upgrade: number, keepAlive: number) =>
    running?.onHeadersComplete(keepAlive === 1),
  wasm_on_body: (_: number, at: number, length: number) => running?.onBody(view(at, length)),
  wasm_on_message_complete: () => running?.onMessageComplete(),
}

const wasm = new WebAssembly.Instance(
  new WebAssembly.Module(require('undici/lib/llhttp/llhttp_simd-wasm.js') as Uint8Array),
  { env: imports },
).exports as Exports
const input = wasm.malloc(INPUT)
let memory = new Uint8Array(wasm.memory.buffer)

/** One connection's parser. It has to be freed. */
export class Llhttp {
  private readonly parser = wasm.llhttp_alloc(TYPE['REQUEST'])
  private readonly callbacks: Callbacks

  constructor(callbacks: Callbacks) {
    this.callbacks = callbacks
  }

  /** Parses until the end, or until a callback says stop. @returns a code, and how many bytes were read */
  execute(data: Buffer): { readonly code: number, readonly read: number } {
    for (let read = 0; read < data.length;) {
      bytes = (data.length <= INPUT ? data : data.subarray(read, read + INPUT)) as Latin1Buffer
      // The memory is another one whenever it has grown.
      if (memory.buffer !== wasm.memory.buffer) memory = new Uint8Array(wasm.memory.buffer)
      memory.set(bytes, input)
      running = this.callbacks
      const code = wasm.llhttp_execute(this.parser, input, bytes.length)
      running = undefined
      if (code !== OK) return { code, read: read + wasm.llhttp_get_error_pos(this.parser) - input }
      read += bytes.length
    }
    return { code: OK, read: data.length }
  }

  resume(code: number): void {
    if (code === PAUSED_UPGRADE) wasm.llhttp_resume_after_upgrade(this.parser)
    else wasm.llhttp_resume(this.parser)
  }

  get method(): string {
    return METHOD_NAMES.get(wasm.llhttp_get_method(this.parser)) ?? 'UNKNOWN'
  }

  /** `1.1` */
  get version(): string {
    return `${wasm.llhttp_get_http_major(this.parser)}.${wasm.llhttp_get_http_minor(this.parser)}`
  }

  /** Why it stopped, in llhttp's words. */
  get reason(): string {
    const start = wasm.llhttp_get_error_reason(this.parser)
    const memory = Buffer.from(wasm.memory.buffer)
    return start === 0 ? 'malformed' : memory.toString('latin1', start, memory.indexOf(0, start))
  }

  free(): void {
    wasm.llhttp_free(this.parser)
  }
}
