/** The same program on several threads: what the rest of the project uses of this folder. */
export { serve, serving, type Served } from './serve.js'
export type { ServeOptions } from './options.js'
export type { ServedMetrics, WorkerMetrics, WorkerStatus } from './server.js'
export { currentWorker, type CurrentWorker, type WorkerPeer } from './current.js'
export type { Route, RoutedConnection } from './router.js'
export { workerReady, type WorkerReady } from './records.js'
