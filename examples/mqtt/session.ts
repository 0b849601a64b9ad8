/** One client: what its packets mean. Connected it is a presence, and each of its filters is an endpoint. */
import { randomUUID } from 'node:crypto'
import { generate, parser, type IConnectPacket, type Packet } from 'mqtt-packet'
import {
  addEndpoint, deleteEndpoint, endpoint, quit, role, spawn, _, type ActionTree,
} from 'marketplace-native'
import { isLater } from './clock.js'
import { CLIENT_ID_BYTES_MAX, Counts, FILTERS_MAX, FORMS_MAX } from './limits.js'
import { Frames } from './frames.js'
import {
  filterOf, messageOf, mqttClient, mqttContent, mqttMessage, mqttRetained, Pattern, type Content, type Message,
  type QoS,
} from './topics.js'
import { executor, published, type Broker } from './wills.js'

/** Messages that a client may leave unacknowledged. */
const IN_FLIGHT_MAX = 10_000
/** Milliseconds until a connection has to say who it is. */
const CONNECT_WITHIN = 10_000

/** The first byte of a packet of 4 that acknowledges a message with QoS 1. */
const PUBACK = 0x40

/** CONNACK's return codes. */
const REFUSED = { version: 1, identifier: 2 }

type Handlers = {
  readonly [C in Packet['cmd']]?: (packet: Extract<Packet, { cmd: C }>) => ActionTree
}

export class Session {
  /** When something came last, and how long nothing may come. */
  lastHeard = Date.now()
  silenceMax = CONNECT_WITHIN
  readonly #client: number
  readonly #broker: Broker
  readonly #send: (bytes: Buffer) => ActionTree
  readonly #frames = new Frames()
  readonly #parser = parser({ protocolVersion: 4 })
  readonly #filters = new Map<string, { readonly form: string, readonly pattern: Pattern, readonly qos: QoS }>()
  readonly #forms = new Counts()
  /** Identifiers of what was sent and not acknowledged, and of what came with QoS 2 and is not released. */
  readonly #sent = new Set<number>()
  readonly #received = new Set<number>()
  #nextId = 1
  #subscriptions = 0
  #connected = false
  /** It said that it goes: then nobody publishes its will. */
  #disconnected = false
  #actions: ActionTree[] = []
  #latest: Message | undefined

  /** @param client a number that no other one of this node has */
  constructor(client: number, broker: Broker, send: (bytes: Buffer) => ActionTree) {
    this.#client = client
    this.#broker = broker
    this.#send = send
    this.#parser.on('packet', (packet) => { this.#actions.push(this.#perform(packet)) })
    this.#parser.on('error', (error) => { this.#actions.push(quit(error)) })
  }

  /** Performs the packets that bytes complete. */
  receive(bytes: Buffer): ActionTree {
    this.lastHeard = Date.now()
    let problem: ActionTree
    try {
      const packets = this.#acknowledged(this.#frames.add(bytes))
      if (packets.length > 0) this.#parser.parse(packets)
    } catch (error) {
      problem = quit(error)
    }
    const actions = this.#actions
    this.#actions = []
    return [actions, problem]
  }

  /**
   * Takes the acknowledgements that whole packets begin with: there are as many of these as of messages.
   *
   * @returns the packets behind them
   */
  #acknowledged(packets: Buffer): Buffer {
    if (!this.#connected) return packets
    let at = 0
    for (; packets[at] === PUBACK && packets[at + 1] === 2; at += 4) this.#sent.delete(packets.readUInt16BE(at + 2))
    return at === 0 ? packets : packets.subarray(at)
  }

  #reply(packet: Packet): ActionTree {
    return this.#send(generate(packet))
  }

  #perform(packet: Packet): ActionTree {
    if (this.#connected === (packet.cmd === 'connect')) return quit(new Error(`unexpected ${packet.cmd}`))
    const handler = this.#handlers[packet.cmd] as ((packet: Packet) => ActionTree) | undefined
    return handler === undefined ? quit(new Error(`unexpected ${packet.cmd}`)) : handler(packet)
  }

  readonly #handlers: Handlers = {
    connect: (packet) => this.#connect(packet),
    publish: ({ topic, payload, qos, retain, messageId = 0 }) => {
      // A copy, as retained messages stay: the bytes lie in memory together with what others sent.
      const action = published(mqttContent(topic, Buffer.from(payload), qos, retain), this.#broker)
      if (action === undefined) return quit(new Error('a topic has no wildcards, and is not too long'))
      if (qos < 2) return [action, qos === 1 && this.#reply({ cmd: 'puback', messageId })]
      const again = this.#received.has(messageId)
      this.#received.add(messageId)
      return [!again && action, this.#reply({ cmd: 'pubrec', messageId })]
    },
    pubrel: ({ messageId = 0 }) => {
      this.#received.delete(messageId)
      return this.#reply({ cmd: 'pubcomp', messageId })
    },
    puback: ({ messageId = 0 }) => void this.#sent.delete(messageId),
    pubrec: ({ messageId = 0 }) => this.#reply({ cmd: 'pubrel', messageId, qos: 1 } as Packet),
    pubcomp: ({ messageId = 0 }) => void this.#sent.delete(messageId),
    subscribe: ({ subscriptions, messageId = 0 }) => {
      if (subscriptions.length > FILTERS_MAX) return quit(new RangeError('too many filters in a packet'))
      const actions = subscriptions.map(({ topic, qos }) => this.#subscribe(topic, qos))
      const granted = actions.map((action, i) => (action === undefined ? 0x80 : subscriptions[i].qos))
      return [this.#reply({ cmd: 'suback', messageId, granted }), actions]
    },
    unsubscribe: ({ unsubscriptions, messageId = 0 }) => {
      if (unsubscriptions.length > FILTERS_MAX) return quit(new RangeError('too many filters in a packet'))
      for (const filter of unsubscriptions) this.#forget(filter)
      const gone = unsubscriptions.map((filter) => [deleteEndpoint(filter), deleteEndpoint(['old', filter])])
      return [gone, this.#reply({ cmd: 'unsuback', messageId } as Packet)]
    },
    pingreq: () => this.#reply({ cmd: 'pingresp' }),
    disconnect: () => {
      this.#disconnected = true
      return quit()
    },
  }

  #connect({ clientId, protocolVersion, clean, keepalive = 0, will }: IConnectPacket): ActionTree {
    const refuse = (returnCode: number): ActionTree =>
      [this.#reply({ cmd: 'connack', returnCode, sessionPresent: false }), quit('refused')]
    if (protocolVersion !== 4) return refuse(REFUSED.version)
    const wrong = clientId === '' ? clean !== true : Buffer.byteLength(clientId) > CLIENT_ID_BYTES_MAX
    if (wrong) return refuse(REFUSED.identifier)
    this.#connected = true
    this.silenceMax = keepalive === 0 ? Infinity : keepalive * 1500
    const { node, clock } = this.#broker
    const since = clock.next()
    // A name that nobody can guess, who could take its place then.
    const id = clientId === '' ? `unnamed ${randomUUID()}` : clientId
    return [
      // Whoever comes later under this name takes its place.
      endpoint.subscriber(mqttClient(id, _, _), {
        onPresence: (other) => isLater(other, { since, node }) && quit(`${id} connected again`),
      }),
      will !== undefined && spawn(() =>
        executor(id, since, willOf(will), this.#broker, () => this.#disconnected)),
      endpoint.publisher(mqttClient(id, since, node)),
      this.#reply({ cmd: 'connack', returnCode: 0, sessionPresent: false }),
    ]
  }

  #forget(filter: string): void {
    const known = this.#filters.get(filter)
    if (known !== undefined) this.#forms.remove(known.form)
    this.#filters.delete(filter)
  }

  /** @returns undefined if it is refused */
  #subscribe(filter: string, qos: QoS): ActionTree {
    const place = filterOf(filter)
    if (place === undefined) return undefined
    this.#forget(filter)
    if (this.#filters.size >= FILTERS_MAX) return undefined
    if (this.#forms.size >= FORMS_MAX && !this.#forms.has(place.form)) return undefined
    this.#filters.set(filter, { form: place.form, pattern: new Pattern(place), qos })
    this.#forms.add(place.form)
    const { root, levels } = place
    const retained = mqttRetained([this.#client, ++this.#subscriptions], root, levels, _)
    return [
      // Anew each time: to appear is to be sent what was retained.
      deleteEndpoint(['old', filter]),
      endpoint.subscriber(mqttMessage(root, levels, _), {
        name: filter, onMessage: ({ content }) => this.#deliver(messageOf(content), false),
      }),
      addEndpoint(['old', filter], role('subscriber', retained), {
        onMessage: ({ message }: typeof retained) => this.#deliver(message, true),
      }),
    ]
  }

  /** Once, though several filters may find it; with the best quality that one of them was granted. */
  #deliver(message: Message | undefined, retain: boolean): ActionTree {
    if (message === undefined || (message === this.#latest && !retain)) return undefined
    this.#latest = message
    const { levels } = message
    let granted: QoS = 0
    for (const { pattern, qos } of this.#filters.values()) {
      if (granted >= message.qos) break
      if (qos > granted && pattern.finds(levels)) granted = qos
    }
    const qos = Math.min(message.qos, granted) as QoS
    if (qos > 0 && this.#sent.size >= IN_FLIGHT_MAX) return quit(new RangeError('too much is not acknowledged'))
    const messageId = qos === 0 ? 0 : this.#newId()
    return this.#send(retain ? message.retainedPacket(qos, messageId) : message.packet(qos, messageId))
  }

  #newId(): number {
    while (this.#sent.has(this.#nextId)) this.#nextId = (this.#nextId % 65_535) + 1
    this.#sent.add(this.#nextId)
    return this.#nextId
  }
}

function willOf({ topic, payload, qos = 0, retain = false }: NonNullable<IConnectPacket['will']>): Content {
  return mqttContent(topic, Buffer.from(payload), qos, retain)
}
