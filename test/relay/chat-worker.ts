/** A worker of a chat server, which its test can let die. */
import { tcpBare, type CurrentWorker } from 'marketplace-native'
import { chatServerOfWorker } from '../../examples/chat.js'
import type { Nats } from '../../examples/support/network.js'
import { mortal } from '../workers/mortal.js'

export default (worker: CurrentWorker) => {
  const { nats } = worker.data as { nats: Nats }
  mortal(worker)
  return [tcpBare({ transport: 'native', host: '127.0.0.1' }), chatServerOfWorker(0, worker, nats)]
}
