/** Ends workers at random moments of a storm, one after the other, beside a storm of its own. */
import { Worker } from 'node:worker_threads'
import { randomSource, sleep } from '../support/util.js'

const [transport, rounds, seed] = process.argv.slice(2)
const random = randomSource(Number(seed))

for (let round = 0; round < Number(rounds); round += 1) {
  const workers = [0, 1].map((i) => new Worker(new URL('storm.js', import.meta.url), {
    workerData: { transport, how: 'storm', after: round + i },
  }))
  const failures: unknown[] = []
  const started = workers.map((worker) => new Promise((resolve) => {
    worker.once('message', resolve).once('exit', resolve).on('error', (error) => failures.push(error))
  }))
  // Some are ended before they have come to anything.
  if (random(4) > 0) await Promise.all(started)
  await sleep(random(round % 2 === 0 ? 5 : 40))
  await Promise.all(workers.map((worker) => worker.terminate()))
  if (failures.length > 0) throw failures[0]
}
process.stdout.write('done\n')
