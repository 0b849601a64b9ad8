/** Bytes to requests, within limits: what is wrong with a request is told as the status to answer with. */
import { Llhttp, OK, PAUSED, PAUSED_UPGRADE, STOPPED, type Callbacks } from './llhttp.js'
import type { Request } from './records.js'
import { Gather } from '../support/gather.js'

export interface Limits {
  /** Bytes of a request's target and headers, trailers included. */
  readonly maxHead: number
  /** Headers of a request. */
  readonly maxHeaders: number
  /** Bytes of a request's body. */
  readonly maxBody: number
}

/** What is wrong with a request: the connection answers with it, and closes. */
export interface Problem {
  readonly status: number
  readonly why: string
}

/** All that is known of a request before its body. */
export type Head = Omit<Request, 'body'> & { readonly keepAlive: boolean }

const hasBody = (headers: ReadonlyMap<string, string>) =>
  headers.has('transfer-encoding') || (headers.get('content-length') ?? '0') !== '0'

/** A host, by name or address, and perhaps a port; or nothing. */
const HOST = /^(\[[\da-f:.]+\]|[\w.~!$&'()*+;=%-]*)(:\d*)?$/i

/** The options of a Connection header. */
const connectionOptions = (header: string): string[] =>
  header.toLowerCase().split(',').map((option) => option.trim())

/** Splits a target; the path's parts are decoded one by one, so that an encoded slash is no slash. */
function splitTarget(target: string): { path: string[], query: string } | undefined {
  const local = target.startsWith('/') ? target : target.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, '')
  const question = local.indexOf('?')
  const path = question < 0 ? local : local.slice(0, question)
  try {
    const parts = path.replace(/^\//, '').split('/')
    return {
      path: path.includes('%') ? parts.map((part) => decodeURIComponent(part)) : parts,
      query: question < 0 ? '' : local.slice(question + 1),
    }
  } catch {
    return undefined
  }
}

export class RequestParser implements Callbacks {
  /** The request that comes, as soon as its headers are complete. */
  head: Head | undefined
  private readonly limits: Limits
  private readonly llhttp = new Llhttp(this)
  private input: Buffer[] = []
  private paused = OK
  private problem: Problem | undefined

  private headBytes = 0
  private target = ''
  private field = ''
  private value = ''
  private inValue = false
  private headers = new Map<string, string>()
  private readonly body = new Gather()
  private complete = false

  constructor(limits: Limits) {
    this.limits = limits
  }

  /** Bytes to be parsed. */
  feed(chunk: Buffer): void {
    this.input.push(chunk)
    this.begun = true
  }

  /** Whether something of a request has come, and not all of it was taken. */
  begun = false

  /**
   * Goes on until there is something to decide: the headers of a request that has a body, a whole request,
   * or a problem; `more`: nothing but to wait for more bytes.
   */
  next(): 'more' | 'head' | 'complete' | Problem {
    while (this.input.length > 0) {
      if (this.paused !== OK) this.llhttp.resume(this.paused)
      const [chunk] = this.input
      const { code, read } = this.llhttp.execute(chunk)
      this.paused = code
      if (read < chunk.length) this.input[0] = chunk.subarray(read)
      else this.input.shift()
      if (code === OK || code === PAUSED_UPGRADE) continue // no upgrades here: such a request is like others
      if (code === PAUSED) return this.complete ? 'complete' : 'head'
      return this.problem ?? { status: 400, why: this.llhttp.reason }
    }
    return 'more'
  }

  /** The request that is complete; the next one may come then. */
  take(): Request {
    const { method, target, path, query, version, headers } = this.head as Head
    const body = this.body.take()
    this.headBytes = 0
    this.target = this.field = this.value = ''
    this.inValue = this.complete = false
    this.headers = new Map()
    this.head = undefined
    this.begun = this.input.length > 0
    return { method, target, path, query, version, headers, body }
  }

  free(): void {
    this.llhttp.free()
  }

  private stop(status: number, why: string): number {
    this.problem = { status, why }
    return STOPPED
  }

  /** Nothing is kept beyond the limit, not even until the end of what came. */
  private countHead(text: string, status = 431, what = 'headers are'): number {
    this.headBytes += text.length
    return this.headBytes > this.limits.maxHead ? this.stop(status, `the ${what} too large`) : OK
  }

  onUrl(text: string): number {
    this.target += text
    return this.countHead(text, 414, 'target is')
  }

  onHeaderField(text: string): number {
    if (this.inValue) this.endHeader()
    this.field += text
    return this.countHead(text)
  }

  onHeaderValue(text: string): number {
    this.inValue = true
    this.value += text
    return this.countHead(text)
  }

  private endHeader(): void {
    const name = this.field.toLowerCase()
    const before = this.headers.get(name)
    // Trailers are counted, and not kept: they may not say anything that was decided already.
    if (this.head === undefined) {
      this.headers.set(name, before === undefined ? this.value : `${before}, ${this.value}`)
    }
    this.field = this.value = ''
    this.inValue = false
  }

  onHeadersComplete(keepAlive: boolean): number {
    if (this.inValue) this.endHeader()
    const { target, headers } = this
    const { method, version } = this.llhttp
    const split = splitTarget(target)
    if (version !== '1.1' && version !== '1.0') return this.stop(505, `HTTP/${version} is not spoken here`)
    if (headers.size > this.limits.maxHeaders) return this.stop(431, 'there are too many headers')
    if (method === 'CONNECT') return this.stop(501, 'this is no proxy')
    if (split === undefined) return this.stop(400, 'the path is not well encoded')
    const hosts = headers.get('host')
    if (hosts === undefined ? version === '1.1' : !HOST.test(hosts)) {
      return this.stop(400, 'there must be one Host header, with a host')
    }
    const coding = headers.get('transfer-encoding')
    // Who speaks 1.0 knows no chunks: somebody on the way may have taken the body for something else.
    if (coding !== undefined && version === '1.0') {
      return this.stop(400, 'HTTP/1.0 has no transfer encodings')
    }
    if (coding !== undefined && coding.toLowerCase() !== 'chunked') {
      return this.stop(501, `the transfer encoding ${coding} is not known here`)
    }
    if (Number(headers.get('content-length') ?? 0) > this.limits.maxBody) {
      return this.stop(413, 'the body is too large')
    }
    // Whatever else is said beside it, `close` closes.
    const options = headers.get('connection')
    const stays = keepAlive && (options === undefined || !connectionOptions(options).includes('close'))
    this.head = { method, target, ...split, version, headers, keepAlive: stays }
    return hasBody(headers) ? PAUSED : OK
  }

  onBody(bytes: Buffer): number {
    if (this.body.length + bytes.length > this.limits.maxBody) return this.stop(413, 'the body is too large')
    this.body.add(bytes)
    return OK
  }

  onMessageComplete(): number {
    this.complete = true
    return PAUSED
  }
}
