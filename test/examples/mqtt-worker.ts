/** A worker of the MQTT broker, which its test can let die. */
import type { CurrentWorker } from 'marketplace-native'
import program from '../../examples/mqtt.js'
import { mortal } from '../workers/mortal.js'

export default (worker: CurrentWorker) => {
  mortal(worker)
  return program(worker)
}
