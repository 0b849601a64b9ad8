/**
 * Programs with the WebSocket driver under test, over each carrier; and a client that speaks the protocol by itself, so
 * that it can break it.
 */
import { randomBytes } from 'node:crypto'
import { connect as connectTcp, type Socket } from 'node:net'
import t, { type Test } from 'tap'
import {
  _, endpoint, groundVm, spawn, webSocket, wsChannel, wsError, wsListener, wsListening,
  type Action, type ActionTree, type GroundVm, type HandlerResult, type WebSocketOptions, type WsChannel, type WsEnd,
  type WsError, type WsPeer,
} from 'marketplace-native'
import { loadUws } from '../../src/drivers/web-socket-uws.js'
import { patient } from '../support/patience.js'
import { until } from '../support/util.js'
import { collectLog, type LogLine } from '../vm/log-records.js'
import { Remote } from './tcp-program.js'

export const CARRIERS = ['ws', 'uws'] as const
export type CarrierName = (typeof CARRIERS)[number]
export const host = '127.0.0.1'

const uws = await loadUws()
/** Why a carrier can't be tested here, or false. */
export const missingCarrier = (carrier: CarrierName): string | false =>
  carrier === 'uws' && uws instanceof Error ? uws.message : false

export interface Heard {
  readonly who: string
  readonly what: 'presence' | 'absence' | 'message'
  readonly topic: WsChannel
  readonly reason?: unknown
}

export class WsProgram {
  readonly vm: GroundVm
  readonly heard: Heard[] = []
  readonly errors: WsError[] = []
  /** URLs at which it listens at present. */
  readonly where = new Set<string>()
  readonly log: LogLine[]
  ended = false
  readonly #remote = new Remote()
  readonly #endLog: () => void

  constructor(boot: (program: WsProgram) => ActionTree, options: WebSocketOptions) {
    const { records, end } = collectLog()
    this.log = records
    this.#endLog = end
    const driver = webSocket({ host, origins: '*', ...options })
    this.vm = groundVm(() => spawn(() => [driver, this.#watch(), this.#remote.ear, boot(this)]))
    void this.vm.then(() => { this.ended = true })
  }

  #watch(): ActionTree {
    return [
      endpoint.subscriber(wsError(_, _, _), { onMessage: (error) => { this.errors.push(error) } }),
      endpoint.subscriber(wsListening(_, _), {
        onPresence: ({ address }) => { this.where.add(address.url) },
        onAbsence: ({ address }) => { this.where.delete(address.url) },
      }),
    ]
  }

  do(...actions: ActionTree[]): void {
    this.#remote.do(...actions)
  }

  letGo(): void {
    this.#remote.letGo()
  }

  /** The URL at which it listens, as soon as it does. */
  async url(): Promise<string> {
    await until(() => this.where.size > 0 || this.errors.length > 0)
    if (this.where.size === 0) throw this.errors[0].error
    return [...this.where][0]
  }

  async port(): Promise<number> {
    return Number(new URL(await this.url()).port)
  }

  notes(who: string, onMessage?: (message: WsChannel) => ActionTree, onPresence?: (topic: WsChannel) => ActionTree) {
    return {
      name: who,
      onPresence: (topic: WsChannel) => {
        this.heard.push({ who, what: 'presence', topic })
        return onPresence?.(topic)
      },
      onAbsence: (topic: WsChannel, _state: unknown, reason: unknown) => {
        this.heard.push({ who, what: 'absence', topic, reason })
      },
      onMessage: (topic: WsChannel) => {
        this.heard.push({ who, what: 'message', topic })
        return onMessage?.(topic)
      },
    }
  }

  all(who: string, what: Heard['what']): Heard[] {
    return this.heard.filter((heard) => heard.who === who && heard.what === what)
  }

  messages(who: string): unknown[] {
    return this.all(who, 'message').map(({ topic }) => topic.message)
  }

  /** The reason of the first absence that an endpoint heard of; waits for it. */
  async reason(who: string): Promise<{ code: number, reason: string, error: (Error & { code?: string }) | undefined }> {
    await until(() => this.all(who, 'absence').length > 0)
    return this.all(who, 'absence')[0].reason as never
  }

  async stop(): Promise<void> {
    await this.vm.stop()
    this.#endLog()
  }
}

export type Start = (boot: (program: WsProgram) => ActionTree, options?: WebSocketOptions) => WsProgram

/** Registers a test per carrier. One that is missing is skipped with the reason. */
export function onEachCarrier(
  name: string, body: (t: Test, start: Start, carrier: CarrierName) => Promise<void>,
  how: { only?: CarrierName, timeout?: number, skip?: string | false } = {},
): void {
  const { only, timeout = patient(20_000), skip = false } = how
  for (const carrier of CARRIERS) {
    if (only !== undefined && carrier !== only) continue
    void t.test(`${carrier}: ${name}`, { skip: skip || missingCarrier(carrier), timeout }, async (t) => {
      const programs: WsProgram[] = []
      t.teardown(() => Promise.all(programs.map((program) => program.stop())))
      await body(t, (boot, options = {}) => {
        const program = new WsProgram(boot, { carrier, ...options })
        programs.push(program)
        return program
      }, carrier)
    })
  }
}

/** An observer of a listener that starts a process for each connection. */
export function server(
  session: (them: WsPeer, us: WsEnd) => HandlerResult<unknown>, path = '/', port = 0,
): Action {
  return endpoint.subscriber(wsChannel(_, wsListener(port, path), _), {
    name: `server of ${path}`,
    interest: 'observer',
    onPresence: ({ source: them, destination: us }) => spawn(() => session(them as WsPeer, us)),
  })
}

export interface Frame {
  readonly opcode: number
  readonly fin: boolean
  readonly rsv: number
  readonly payload: Buffer
}

/** A client that does what it is told. */
export class RawClient {
  readonly socket: Socket
  readonly frames: Frame[] = []
  /** The response to the handshake, or all there was. */
  response = ''
  ended = false
  #rest = Buffer.alloc(0)
  /** What came after it, until there is enough to go on. */
  #more: Buffer[] = []
  #moreBytes = 0
  #wanted = 0

  constructor(socket: Socket) {
    this.socket = socket
    socket.on('data', (data: Buffer) => { this.#take(data) })
    socket.on('error', () => undefined)
    for (const event of ['end', 'close']) socket.on(event, () => { this.ended = true })
  }

  static connect(url: string, localAddress?: string): Promise<RawClient> {
    const { hostname, port } = new URL(url)
    return new Promise((resolve, reject) => {
      const from = localAddress === undefined ? {} : { localAddress }
      const socket = connectTcp({ port: Number(port), host: hostname, noDelay: true, ...from })
      socket.once('error', reject)
      socket.once('connect', () => { resolve(new RawClient(socket)) })
    })
  }

  /** Asks for a WebSocket from an address of this machine. */
  static from(localAddress: string, url: string): Promise<RawClient> {
    return RawClient.open(url, {}, localAddress)
  }

  /** Connects, and asks for a WebSocket. */
  static async open(
    url: string, headers: Readonly<Record<string, string>> = {}, localAddress?: string,
  ): Promise<RawClient> {
    const client = await RawClient.connect(url, localAddress)
    const { pathname, search, host } = new URL(url)
    client.ask(`${pathname}${search}`, { host, ...headers })
    await until(() => client.response.includes('\r\n\r\n') || client.ended)
    return client
  }

  ask(target: string, headers: Readonly<Record<string, string>> = {}): void {
    const all = {
      host: 'localhost', upgrade: 'websocket', connection: 'Upgrade', 'sec-websocket-version': '13',
      'sec-websocket-key': randomBytes(16).toString('base64'), ...headers,
    }
    const lines = Object.entries(all).map(([name, value]) => `${name}: ${value}\r\n`)
    this.socket.write(`GET ${target} HTTP/1.1\r\n${lines.join('')}\r\n`)
  }

  get status(): number {
    return Number(/^HTTP\/1\.1 (\d+)/.exec(this.response)?.[1])
  }

  #take(data: Buffer): void {
    this.#more.push(data)
    this.#moreBytes += data.length
    if (this.#rest.length + this.#moreBytes < this.#wanted) return
    this.#rest = Buffer.concat([this.#rest, ...this.#more])
    this.#more = []
    this.#moreBytes = 0
    this.#wanted = 0
    if (!this.response.includes('\r\n\r\n')) {
      const end = this.#rest.indexOf('\r\n\r\n')
      if (end < 0) return
      this.response = this.#rest.toString('latin1', 0, end + 4)
      this.#rest = this.#rest.subarray(end + 4)
    }
    if (this.status !== 101) {
      this.response += this.#rest.toString('latin1')
      this.#rest = Buffer.alloc(0)
      return
    }
    for (;;) {
      const rest = this.#rest
      if (rest.length < 2) return
      let length = rest[1] & 127
      let at = 2
      if (length === 126) {
        if (rest.length < 4) return
        length = rest.readUInt16BE(2)
        at = 4
      } else if (length === 127) {
        if (rest.length < 10) return
        length = Number(rest.readBigUInt64BE(2))
        at = 10
      }
      if (rest.length < at + length) {
        this.#wanted = at + length
        return
      }
      this.frames.push({
        opcode: rest[0] & 15, fin: rest[0] >= 128, rsv: (rest[0] >> 4) & 7,
        payload: Buffer.from(rest.subarray(at, at + length)),
      })
      this.#rest = rest.subarray(at + length)
    }
  }

  /** A frame as clients send it. */
  static frame(opcode: number, payload: string | Buffer = '', { fin = true, rsv = 0, masked = true } = {}): Buffer {
    const data = Buffer.from(payload)
    const header = [(fin ? 128 : 0) | (rsv << 4) | opcode]
    const bit = masked ? 128 : 0
    if (data.length < 126) {
      header.push(bit | data.length)
    } else if (data.length < 65536) {
      header.push(bit | 126, data.length >> 8, data.length & 255)
    } else {
      const length = Buffer.alloc(8)
      length.writeBigUInt64BE(BigInt(data.length))
      header.push(bit | 127, ...length)
    }
    if (!masked) return Buffer.concat([Buffer.from(header), data])
    const mask = randomBytes(4)
    for (let i = 0; i < data.length; i++) data[i] ^= mask[i & 3]
    return Buffer.concat([Buffer.from(header), mask, data])
  }

  /** The begin of a frame that says that so many bytes follow. */
  static header(opcode: number, length: number | bigint): Buffer {
    const header = Buffer.alloc(14)
    header[0] = 128 | opcode
    header[1] = 255
    header.writeBigUInt64BE(BigInt(length), 2)
    return header
  }

  send(
    opcode: number, payload: string | Buffer = '', how: { fin?: boolean, rsv?: number, masked?: boolean } = {},
  ): void {
    this.socket.write(RawClient.frame(opcode, payload, how))
  }

  text(text: string): void {
    this.send(1, text)
  }

  /** Texts that came. */
  get texts(): string[] {
    return this.frames.filter(({ opcode }) => opcode === 1).map(({ payload }) => payload.toString())
  }

  /** The close frame that came; waits for it, or for the end. */
  async closed(): Promise<{ code: number, reason: string } | undefined> {
    await until(() => this.ended || this.frames.some(({ opcode }) => opcode === 8))
    const frame = this.frames.find(({ opcode }) => opcode === 8)
    if (frame === undefined) return undefined
    const { payload } = frame
    if (payload.length < 2) return { code: 1005, reason: '' }
    return { code: payload.readUInt16BE(0), reason: payload.toString('utf8', 2) }
  }

  close(code = 1000, reason = ''): void {
    const payload = Buffer.alloc(2)
    payload.writeUInt16BE(code)
    this.send(8, Buffer.concat([payload, Buffer.from(reason)]))
  }

  destroy(): void {
    this.socket.destroy()
  }
}
