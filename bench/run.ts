/** `npm run bench`: the echo and chat servers against their peers, the field's axes, and routing inside the VM. */
import { runBench } from './lib/run.js'
import { peers } from './lib/programme.js'

await runBench(peers)
