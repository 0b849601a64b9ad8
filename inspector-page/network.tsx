/**
 * What is beside and beyond the program that is looked into: the workers of `serve`, each of which can be looked into
 * as well, and the nodes that relays know.
 */
import type { VNode } from 'preact'
import { useRef, useState } from 'preact/hooks'
import type { NodeRow, WorkerRow } from '../src/inspector/shown.js'
import { usePolled } from './polled.js'
import { bytes, duration, number } from './text.js'
import { Section } from './value.js'

interface Answer {
  readonly workers: readonly WorkerRow[]
  readonly nodes: readonly NodeRow[]
  readonly left: number
}

/** The worker that is looked into; '' if it is the program's main thread. */
export const lookedInto = new URLSearchParams(location.search).get('worker') ?? ''

/** The address of this page, looking into a worker; or, without one, into the main thread. */
export function addressOf(worker: string): string {
  const query = new URLSearchParams(location.search)
  if (worker === '') query.delete('worker')
  else query.set('worker', worker)
  return `?${query.toString()}`
}

/** What workers have counted a second since the answer before. */
interface Rates {
  readonly inward: number
  readonly outward: number
}

export function Network(): VNode {
  const before = useRef<{ readonly at: number, readonly workers: readonly WorkerRow[] }>()
  const [rates, setRates] = useState(new Map<string, Rates>())
  const { answer, error } = usePolled<Answer>('network', ({ workers }) => {
    const at = performance.now()
    setRates(ratesOf(workers, before.current?.workers ?? [], (at - (before.current?.at ?? at)) / 1000))
    before.current = { at, workers }
  })

  if (answer === undefined) {
    return <div class="view"><p class="empty" role="status">{error === '' ? 'Asking the program…' : error}</p></div>
  }
  const { workers, nodes, left } = answer
  return (
    <div class="view network">
      {error === '' ? null : <p class="error" role="alert">{error}</p>}
      <Section title={`Workers (${workers.length})`}>
        {workers.length === 0 ? <p class="empty">{lookedInto === ''
          ? 'This program serves with no workers.'
          : 'This is a worker; the main thread knows of the others.'}</p> : (
          <div class="scrolls"><table>
            <thead><tr>
              <th>Worker</th><th>State</th><th class="num">Connections</th><th class="num">In</th>
              <th class="num">Out</th><th class="num">Queue</th><th class="num">Accepted</th></tr></thead>
            <tbody>{workers.map((row) => <Worker key={row.node} row={row} rates={rates.get(row.node)} />)}</tbody>
          </table></div>
        )}
      </Section>
      <Section title={`Other nodes (${nodes.length + left})`}>
        {nodes.length === 0
          ? <p class="empty">No relay of this VM has heard another node.</p>
          : (
            <div class="scrolls"><table>
              <thead><tr>
                <th>Node</th><th>State</th><th class="num">Endpoints</th><th class="num">Heard</th>
                <th class="num">Queue</th><th class="num">Gaps</th></tr></thead>
              <tbody>{nodes.map((row) => <Node key={`${row.relay} ${row.node}`} row={row} />)}</tbody>
            </table></div>
          )}
        {left > 0 ? <p class="dim">and {number(left)} more</p> : null}
      </Section>
    </div>
  )
}

function ratesOf(
  now: readonly WorkerRow[], before: readonly WorkerRow[], seconds: number,
): Map<string, Rates> {
  const found = new Map<string, Rates>()
  for (const { node, counted } of now) {
    const then = before.find((row) => row.node === node)?.counted
    if (counted === undefined || then === undefined || seconds <= 0) continue
    const rate = (name: string): number => Math.max(0, (counted[name] ?? 0) - (then[name] ?? 0)) / seconds
    found.set(node, { inward: rate('bytesIn'), outward: rate('bytesOut') })
  }
  return found
}

function Worker({ row, rates }: { readonly row: WorkerRow, readonly rates: Rates | undefined }): VNode {
  const { serve, worker, node, state, connections, counted } = row
  const tag = state === 'ready' ? 'good' : state === 'ended' ? 'bad' : 'warn'
  return (
    <tr>
      <th scope="row">
        <a href={`${addressOf(node)}#/processes`} title="Look into it">{serve} {worker}</a>
        <span class="dim path"> {node}</span>
      </th>
      <td><span class={`tag ${tag}`}>{state}</span></td>
      <td class="num">{number(connections)}</td>
      <td class="num">{rates === undefined ? '–' : `${bytes(rates.inward)}/s`}</td>
      <td class="num">{rates === undefined ? '–' : `${bytes(rates.outward)}/s`}</td>
      <td class="num">{counted === undefined ? '–' : bytes(counted['queuedBytes'] ?? 0)}</td>
      <td class="num">{counted === undefined ? '–' : number(counted['accepts'] ?? 0)}</td>
    </tr>
  )
}

function Node({ row }: { readonly row: NodeRow }): VNode {
  const { relay, node, up, silentMs, queuedBytes, endpoints, gaps } = row
  return (
    <tr>
      <th scope="row">{node} <span class="dim">as {relay} knows it</span></th>
      <td><span class={`tag ${up ? 'good' : 'warn'}`}>{up ? 'up' : 'not complete'}</span></td>
      <td class="num">{number(endpoints)}</td>
      <td class="num">{duration(silentMs)} ago</td>
      <td class="num">{bytes(queuedBytes)}</td>
      <td class={`num ${gaps > 0 ? 'bad' : ''}`}>{number(gaps)}</td>
    </tr>
  )
}
