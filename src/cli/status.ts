/** A server's status: a live line on a terminal, now and then a plain line elsewhere. */
import type { TransportMetrics } from '../transport/seam/metrics.js'
import { formatStatus } from './messages.js'
import type { Output } from './output.js'

const LIVE_MILLISECONDS = 500
const PLAIN_MILLISECONDS = 10_000

/** Starts reporting; returns what stops it and clears the line. */
export function showStatus(output: Output, metrics: Readonly<TransportMetrics>): () => void {
  let messages = metrics.chunksIn
  let since = performance.now()
  let last = ''
  const show = (): void => {
    const now = performance.now()
    const rate = (metrics.chunksIn - messages) / Math.max((now - since) / 1000, 0.001)
    messages = metrics.chunksIn
    since = now
    const text = formatStatus(metrics, rate)
    if (output.isTerminal) output.status(text)
    // A log needn't hear again and again that nothing happens.
    else if (text !== last && last !== '') output.line(text)
    last = text
  }
  show()
  const timer = setInterval(show, output.isTerminal ? LIVE_MILLISECONDS : PLAIN_MILLISECONDS)
  timer.unref()
  return () => {
    clearInterval(timer)
    output.status('')
  }
}
