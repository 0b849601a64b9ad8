/**
 * What is beside and beyond a ground VM, as JSON: the workers of `serve`, and the nodes that its relays know.
 *
 * Owns the looking for them; both are asked when a client asks.
 */
import type { MessagePort } from 'node:worker_threads'
import { relayFrom } from '../relay/inspected.js'
import type { TransportMetrics } from '../transport/seam/metrics.js'
import type { EventSource } from '../vm/index.js'
import { workersFrom, type InspectedWorkers } from '../workers/inspected.js'
import type { Inspection } from './inspection.js'
import type { NodeRow, WorkerRow } from './shown.js'

/** Nodes of one answer. */
const NODES_MAX = 1000
/** Milliseconds that workers have to say what they have counted. */
const COUNTED_MS = 1000

function* found<T extends object>(
  { ground }: Inspection, from: (source: EventSource<unknown>) => T | undefined,
): Generator<T> {
  const seen = new Set<T>()
  for (const source of ground.activeSources()) {
    const one = from(source)
    if (one === undefined || seen.has(one)) continue
    seen.add(one)
    yield one
  }
}

/** All workers, with what each has counted; and what relays know of other nodes. */
export async function networkView(
  inspection: Inspection,
): Promise<{ readonly workers: WorkerRow[], readonly nodes: NodeRow[], readonly left: number }> {
  const servers = [...found(inspection, workersFrom)]
  const workers = (await Promise.all(servers.map(workerRows))).flat()
  const nodes = [...found(inspection, relayFrom)].flatMap(({ node: relay, peers }) =>
    peers().map((peer) => ({ relay, ...peer })))
  return { workers, nodes: nodes.slice(0, NODES_MAX), left: Math.max(0, nodes.length - NODES_MAX) }
}

type Counted = Awaited<ReturnType<InspectedWorkers['metrics']>>

/** What was asked, and isn't answered yet: workers that are busy for long are not asked again by each who looks. */
const asking = new WeakMap<InspectedWorkers, Promise<Counted>>()

/** What workers have counted; undefined if one of them doesn't say in time. It may be in an endless loop. */
async function countedIn(server: InspectedWorkers): Promise<Counted | undefined> {
  let answer = asking.get(server)
  if (answer === undefined) {
    answer = server.metrics()
    asking.set(server, answer)
    const answered = (): void => { asking.delete(server) }
    answer.then(answered, answered)
  }
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => { resolve(undefined) }, COUNTED_MS).unref()
  })
  try {
    return await Promise.race([answer, late])
  } finally {
    clearTimeout(timer)
  }
}

async function workerRows(server: InspectedWorkers): Promise<WorkerRow[]> {
  const counted = await countedIn(server)
  return server.workers().map(({ index, node, state, connections }) => {
    // While one takes another's place, both have its number; only one that is ready has something to say.
    const metrics = state === 'ready' ? counted?.workers.find(({ worker }) => worker === index)?.metrics : undefined
    return {
      serve: server.name, worker: index, node, state, connections, ...metrics && { counted: countedBy(metrics) },
    }
  })
}

function countedBy(metrics: TransportMetrics): Readonly<Record<string, number>> {
  return Object.fromEntries(Object.entries(metrics).flatMap(([name, value]: [string, unknown]) =>
    typeof value === 'number' ? [[name, value]] : []))
}

/** A port into the VM of a worker, by its name; undefined if there is no such one. */
export function portInto(inspection: Inspection, node: string): MessagePort | undefined {
  for (const server of found(inspection, workersFrom)) {
    const port = server.inspect(node)
    if (port !== undefined) return port
  }
  return undefined
}
