/**
 * An MQTT 3.1.1 broker.
 *
 *   node dist/examples/mqtt.js --port 1883
 *   node dist/examples/mqtt.js --tls --key key.pem --cert cert.pem
 *   node dist/examples/mqtt.js --workers 2 --nats nats://127.0.0.1:4222
 */
import { tcpBare, timerDriver } from 'marketplace-native'
import { mqttBroker } from './mqtt/broker.js'
import {
  isMain, natsArguments, networkOf, numberOf, onWorker, runExample, tlsArguments, tlsOf, workersArguments, type Example,
} from './support/run.js'

/** Who doesn't read what it subscribed to is let go, and holds up nobody. */
export const driverOptions = { maxQueuedBytes: 8 * 1024 * 1024 } as const

const example: Example = {
  usage: 'usage: mqtt.js [--host 127.0.0.1] [--port 1883] [--tls --key FILE --cert FILE]\n'
    + '  [--workers N: as many threads, or auto] [--nats URL [--node NAME]: one broker with others]',
  options: {
    host: { type: 'string', default: '127.0.0.1' },
    port: { type: 'string', default: '1883' },
    ...tlsArguments, ...workersArguments, ...natsArguments,
  },
  hint: (host, port) => `try it: mosquitto_sub -h ${host} -p ${port} -t '#' -v`,
  module: import.meta.url,
  boot: (values, worker) => [
    tcpBare({ ...driverOptions, host: String(values['host']), ...tlsOf(values) }),
    timerDriver(),
    mqttBroker(numberOf(values, 'port', 65_535), networkOf(values, worker)),
  ],
}

/** What a worker runs. */
export default onWorker(example)

if (isMain(import.meta.url)) await runExample(example)
