/** A server with two workers and few descriptors: prints where it listens, and ends when its input does. */
import { serve } from '../../src/index.js'
import { module } from './start.js'

const served = serve({ module, workers: 2, data: {}, signals: false })
await served.ready
console.log(`listens on ${served.addresses()[0]?.port}`)
process.stdin.on('end', () => { void served.stop() }).resume()
