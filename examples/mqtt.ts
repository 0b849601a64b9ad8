/**
 * An MQTT 3.1.1 broker.
 *
 *   node dist/examples/mqtt.js --port 1883
 */
import { pathToFileURL } from 'node:url'
import { tcpBare, timerDriver } from 'marketplace-native'
import { mqttBroker } from './mqtt/broker.js'
import { numberOf, runExample } from './support/run.js'

/** Who doesn't read what it subscribed to is let go, and holds up nobody. */
export const driverOptions = { maxQueuedBytes: 8 * 1024 * 1024 } as const

const options = {
  host: { type: 'string', default: '127.0.0.1' },
  port: { type: 'string', default: '1883' },
} as const

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await runExample({
    usage: 'usage: mqtt.js [--host 127.0.0.1] [--port 1883]',
    options,
    hint: (host, port) => `try it: mosquitto_sub -h ${host} -p ${port} -t '#' -v`,
    boot: (values) => [
      tcpBare({ ...driverOptions, host: String(values['host']) }),
      timerDriver(),
      mqttBroker(numberOf(values, 'port', 65_535)),
    ],
  })
}
