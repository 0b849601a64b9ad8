/** The MQTT example under test, and a client that is nothing but a codec on a socket. */
import { generate, parser, type Packet } from 'mqtt-packet'
import type { Socket } from 'node:net'
import type { Test } from 'tap'
import { timerDriver } from 'marketplace-native'
import { driverOptions } from '../../examples/mqtt.js'
import { mqttBroker } from '../../examples/mqtt/broker.js'
import { onBoth, type Program } from '../drivers/tcp-program.js'
import { client, until } from '../support/util.js'

/** Registers a test per transport; `run` starts a broker and gives its port. */
export function onMqtt(
  name: string, body: (t: Test, run: () => Promise<{ program: Program, port: number }>) => Promise<void>,
  skip?: string | false,
): void {
  onBoth(name, (t, start) => body(t, async () => {
    const program = start(() => [timerDriver(), mqttBroker(0)], { driver: 'bare', ...driverOptions })
    return { program, port: await program.port() }
  }), skip)
}

type Fields = Readonly<Record<string, unknown>>

export const HELLO = {
  cmd: 'connect', protocolId: 'MQTT', protocolVersion: 4, clean: true, keepalive: 0,
} as const

export class MqttClient {
  readonly heard: Packet[] = []
  closed = false

  private constructor(readonly socket: Socket) {
    const codec = parser({ protocolVersion: 4 })
    codec.on('packet', (packet) => this.heard.push(packet))
    socket.on('data', (bytes: Buffer) => codec.parse(bytes))
    socket.on('error', () => undefined).on('end', () => socket.end())
    socket.on('close', () => { this.closed = true })
  }

  /** A connection on which nothing was said yet. */
  static async open(port: number): Promise<MqttClient> {
    return new MqttClient(await client(port))
  }

  static async connect(port: number, clientId: string, more: Fields = {}): Promise<MqttClient> {
    const made = await MqttClient.open(port)
    made.say({ ...HELLO, clientId, ...more })
    await made.next('connack')
    return made
  }

  say(packet: Fields): void {
    this.socket.write(generate(packet as unknown as Packet))
  }

  /** The next packet of a kind that was not taken yet. */
  async next(cmd: Packet['cmd']): Promise<Fields> {
    const at = (): number => this.heard.findIndex((packet) => packet.cmd === cmd)
    await until(() => at() >= 0 || this.closed)
    const [packet] = this.heard.splice(at(), 1)
    return packet as unknown as Fields
  }

  async subscribe(topic: string, qos = 0): Promise<unknown> {
    this.say({ cmd: 'subscribe', messageId: 1, subscriptions: [{ topic, qos }] })
    return (await this.next('suback'))['granted']
  }

  publish(topic: string, payload: string, more: Fields = {}): void {
    this.say({ cmd: 'publish', topic, payload, qos: 0, retain: false, dup: false, ...more })
  }

  /** What has been published to it, once an answer to a ping says that nothing is on its way. */
  async messages(): Promise<string[]> {
    this.say({ cmd: 'pingreq' })
    await this.next('pingresp')
    const published = this.heard.filter((packet) => packet.cmd === 'publish')
    for (const packet of published) this.heard.splice(this.heard.indexOf(packet), 1)
    return published.map(({ topic, payload, retain }) =>
      `${topic}=${String(payload)}${retain ? ' (retained)' : ''}`)
  }
}
