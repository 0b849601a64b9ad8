/**
 * How a transport's batches reach the VM, and when the memory of what was received is free again.
 *
 * Invariant: borrowed memory is given back only when the VM is idle, so that messages on their way
 * from process to process are as good as delivered ones.
 */
import type { Transport, TransportEvent, TransportSink } from '../transport/seam/transport.js'
import type { EventSink } from '../vm/index.js'

/** What a transport is opened with. */
export function delivery(
  transport: Transport, sink: EventSink<readonly TransportEvent[]>, borrowed: boolean,
): TransportSink {
  if (!borrowed) return (events) => { sink.fire(events) }
  let waiting = false
  const reuse = (): void => {
    waiting = !sink.isIdle()
    // The VM goes on in the next turns of the event loop; what it does there comes before this.
    if (waiting) setImmediate(reuse)
    else transport.reuse()
  }
  return (events) => {
    sink.fire(events)
    if (sink.isIdle()) return true
    if (!waiting) {
      waiting = true
      setImmediate(reuse)
    }
    return false
  }
}
