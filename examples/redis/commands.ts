/** What each command does, whoever carries it out: `server.ts` on the VM, `bench/peers/redis-net.ts` on `node:net`. */
import { CommandParser, ProtocolError, type Arguments } from './parser.js'
import { Replies } from './reply.js'
import type { Store } from './store.js'

/** How messages reach subscribers. */
export interface PubSub {
  subscribe(channel: string): void
  unsubscribe(channel: string): void
  /** @returns how many receive it */
  publish(channel: string, frame: Buffer): number
}

const OUT_OF_RANGE = 'ERR value is not an integer or out of range'
const LONG = 2n ** 63n

/** Channels that a client is subscribed to at a time, and bytes of the name of one. */
const CHANNELS_MAX = 10_000
const CHANNEL_MAX = 8192

/** What subscribers of a channel are sent. */
function messageFrame(channel: string, message: Buffer): Buffer {
  const replies = new Replies()
  replies.list(3)
  replies.bulk('message')
  replies.bulk(channel)
  replies.bulk(message)
  return Buffer.concat(replies.take())
}

/** Arguments with the command's name, at least and at most. */
type Command = readonly [least: number, most: number, run: (session: Session, args: Arguments) => void]

/** What follows a command's name. */
const textsOf = (args: Arguments): string[] => args.all(1).map((argument) => argument.toString('latin1'))

const COMMANDS = new Map<string, Command>(Object.entries({
  ping: [1, 2, (session, args) => session.ping(args.length > 1 ? args.bytes(1) : undefined)],
  echo: [2, 2, ({ replies }, args) => replies.bulk(args.bytes(1))],
  get: [2, 2, ({ replies, store }, args) => {
    const value = store.get(args.text(1))
    if (value === undefined) replies.nothing()
    else replies.bulk(value)
  }],
  set: [3, Infinity, (session, args) => session.set(args)],
  del: [2, Infinity, ({ replies, store }, args) =>
    replies.integer(textsOf(args).filter((key) => store.delete(key)).length)],
  incr: [2, 2, (session, args) => session.increment(args.text(1))],
  dbsize: [1, 1, ({ replies, store }) => replies.integer(store.size)],
  subscribe: [2, Infinity, (session, args) => textsOf(args).forEach((c) => session.subscribe(c))],
  unsubscribe: [1, Infinity, (session, args) => session.unsubscribe(textsOf(args))],
  publish: [3, 3, ({ replies, pubsub }, args) =>
    replies.integer(pubsub.publish(args.text(1), messageFrame(args.text(1), args.bytes(2))))],
  quit: [1, Infinity, (session) => session.quit()],
  // What clients ask before they begin.
  hello: [1, Infinity, ({ replies }) => replies.error('NOPROTO unsupported protocol version')],
  client: [2, Infinity, ({ replies }) => replies.simple('OK')],
  command: [1, Infinity, ({ replies }) => replies.list(0)],
  select: [2, 2, ({ replies }, args) =>
    args.text(1) === '0' ? replies.simple('OK') : replies.error('ERR DB index is out of range')],
  info: [1, Infinity, ({ replies }) => replies.bulk('# Server\r\nredis_mode:standalone\r\nloading:0\r\n')],
  config: [3, Infinity, ({ replies }, args) => {
    replies.list(2)
    replies.bulk(args.bytes(2))
    replies.bulk('')
  }],
} satisfies Record<string, Command>))
// As most clients write them.
for (const [name, command] of [...COMMANDS]) COMMANDS.set(name.toUpperCase(), command)

/** What a subscriber may still say: answers would get mixed up with messages. */
const WHILE_SUBSCRIBED = new Set(['subscribe', 'unsubscribe', 'ping', 'quit'])

/** One client's side of the conversation. */
export class Session {
  readonly replies = new Replies()
  /** The client is to be let go, once it has its replies. */
  over = false
  readonly #parser = new CommandParser()
  readonly #channels = new Set<string>()

  constructor(readonly store: Store, readonly pubsub: PubSub) {}

  /** Performs the commands that bytes complete; the replies are gathered. */
  receive(bytes: Buffer): void {
    try {
      this.#parser.feed(bytes, (command) => { if (!this.over) this.#perform(command) })
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error
      this.replies.error(`ERR Protocol error: ${error.message}`)
      this.over = true
    }
  }

  #perform(args: Arguments): void {
    if (args.length === 0) return
    const given = args.text(0)
    const command = COMMANDS.get(given) ?? COMMANDS.get(given.toLowerCase())
    if (command === undefined) {
      const shown = textsOf(args).slice(0, 3).map((argument) => `'${argument.slice(0, 128)}' `).join('')
      this.replies.error(`ERR unknown command '${given.slice(0, 128)}', with args beginning with: ${shown}`)
      return
    }
    const [least, most, run] = command
    if (args.length < least || args.length > most) {
      this.replies.error(`ERR wrong number of arguments for '${given.toLowerCase()}' command`)
    } else if (this.#channels.size > 0 && !WHILE_SUBSCRIBED.has(given.toLowerCase())) {
      const allowed = '(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context'
      this.replies.error(`ERR Can't execute '${given.toLowerCase()}': only ${allowed}`)
    } else {
      run(this, args)
    }
  }

  ping(message: Buffer | undefined): void {
    const { replies } = this
    if (this.#channels.size > 0) {
      replies.list(2)
      replies.bulk('pong')
      replies.bulk(message ?? '')
    } else if (message === undefined) {
      replies.simple('PONG')
    } else {
      replies.bulk(message)
    }
  }

  /** SET key value [NX | XX] [EX seconds | PX milliseconds] */
  set(args: Arguments): void {
    const { replies, store } = this
    const key = args.text(1)
    let expires = Infinity
    let condition: string | undefined
    for (let i = 3; i < args.length; i++) {
      const option = args.text(i).toLowerCase()
      if ((option === 'nx' || option === 'xx') && condition === undefined) {
        condition = option
      } else if ((option === 'ex' || option === 'px') && expires === Infinity && i + 1 < args.length) {
        const time = args.text(++i)
        if (!/^-?\d{1,15}$/.test(time)) {
          replies.error(OUT_OF_RANGE)
          return
        }
        if (Number(time) <= 0) {
          replies.error("ERR invalid expire time in 'set' command")
          return
        }
        expires = Date.now() + Number(time) * (option === 'ex' ? 1000 : 1)
      } else {
        replies.error('ERR syntax error')
        return
      }
    }
    if (condition !== undefined && (store.get(key) !== undefined) !== (condition === 'xx')) {
      replies.nothing()
      return
    }
    store.set(key, args.bytes(2), expires)
    replies.simple('OK')
  }

  increment(key: string): void {
    const { replies, store } = this
    const before = store.get(key)?.toString('latin1') ?? '0'
    const after = /^(0|-?[1-9]\d{0,18})$/.test(before) ? BigInt(before) + 1n : undefined
    if (after === undefined || after > LONG || after <= -LONG) {
      replies.error(OUT_OF_RANGE)
    } else if (after === LONG) {
      replies.error('ERR increment or decrement would overflow')
    } else {
      store.replace(key, Buffer.from(String(after)))
      replies.integer(after)
    }
  }

  subscribe(channel: string): void {
    if (!this.#channels.has(channel)) {
      if (channel.length > CHANNEL_MAX || this.#channels.size >= CHANNELS_MAX) {
        this.replies.error(`ERR at most ${CHANNELS_MAX} channels, with names of at most ${CHANNEL_MAX} bytes`)
        return
      }
      this.pubsub.subscribe(channel)
    }
    this.#channels.add(channel)
    this.#confirm('subscribe', channel)
  }

  /** From these channels, or from all. */
  unsubscribe(channels: readonly string[]): void {
    const from = channels.length > 0 ? channels : [...this.#channels]
    for (const channel of from) {
      if (this.#channels.delete(channel)) this.pubsub.unsubscribe(channel)
      this.#confirm('unsubscribe', channel)
    }
    if (from.length === 0) this.#confirm('unsubscribe', undefined)
  }

  #confirm(what: string, channel: string | undefined): void {
    const { replies } = this
    replies.list(3)
    replies.bulk(what)
    if (channel === undefined) replies.nothing()
    else replies.bulk(channel)
    replies.integer(this.#channels.size)
  }

  quit(): void {
    this.replies.simple('OK')
    this.over = true
  }
}
