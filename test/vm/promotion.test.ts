/**
 * What was in a VM and is gone does not outlive the young generation of V8's heap: neither processes and their
 * endpoints nor connections. A Map whose entries come and go would keep them all until the next full collection.
 */
import t from 'tap'
import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { connect } from 'node:net'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { patient } from '../support/patience.js'

const ENTRY = new URL('../../src/index.js', import.meta.url).href
const FLAGS = ['--expose-gc', '--trace-gc-nvp', '--input-type=module', '--eval']

/** Bytes that went to the old generation by what V8 says of its collections. */
function promoted(lines: readonly string[]): number {
  const begun = lines.indexOf('begun')
  if (begun < 0) throw new Error(`the program did not begin:\n${lines.join('\n')}`)
  let sum = 0
  for (const line of lines.slice(begun)) sum += Number(/ promoted=(\d+)/.exec(line)?.[1] ?? 0)
  return sum
}

const processes = `
  import { endpoint, groundVm, quit, sendMessage, spawn, defineRecord, eventSource, _ } from '${ENTRY}'
  const session = defineRecord('session', ['id'])
  const COUNT = 20_000
  let sink
  const source = eventSource('rounds', (s) => { sink = s })
  const member = (id) => () => [
    endpoint.subscriber([session(id), _], { onMessage: ([, what]) => (what === 'end' ? quit() : undefined) }),
    endpoint.publisher([_, session(id), 'state']),
  ]
  const round = (first) => {
    const actions = []
    for (let id = first; id < first + 50; id++) {
      actions.push(spawn(member(id)), sendMessage([session(id - 50), 'end']))
    }
    return actions
  }
  const done = groundVm(() => endpoint.subscriber([source, _], {
    name: 'rounds', onMessage: ([, first]) => (first < 0 ? quit() : round(first)),
  }))
  const turn = () => new Promise((resolve) => setImmediate(resolve))
  await turn()
  for (let id = 100; id < 2000; id += 50) { sink.fire(id); await turn() }
  globalThis.gc()
  console.log('begun')
  for (let id = 2000; id < 2000 + COUNT; id += 50) { sink.fire(id); await turn() }
  process.exit(0)
`

t.test('processes and their endpoints', { timeout: patient(60_000) }, async (t) => {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, processes], { maxBuffer: 2 ** 26 })
  const each = promoted(stdout.split('\n')) / 20_000
  t.ok(each < 400, `${each.toFixed(0)} bytes of each process were kept`)
})

const server = `
  import { Session } from 'node:inspector'
  import {
    _, endpoint, groundVm, quit, sendMessage, spawn, tcpBare, tcpChannel, tcpListener, tcpListening,
  } from '${ENTRY}'
  const session = (remote, local) => () => [
    endpoint.publisher(tcpChannel(local, remote, _)),
    endpoint.subscriber(tcpChannel(remote, local, _), {
      onMessage: ({ subpacket }) => subpacket instanceof Uint8Array
        ? sendMessage(tcpChannel(local, remote, subpacket)) : undefined,
      onAbsence: () => quit(),
    }),
  ]
  void groundVm(() => [
    tcpBare(),
    endpoint.subscriber(tcpListening(tcpListener(0), _), {
      interest: 'observer', onPresence: ({ address }) => { console.log('port ' + address.port) },
    }),
    endpoint.subscriber(tcpChannel(_, tcpListener(0), _), {
      name: 'listen',
      onPresence: ({ source, destination }) => spawn(session(source, destination)),
    }),
  ])
  // What V8 has allocated for the package since then and not freed while it was young, by samples.
  const inspector = new Session()
  inspector.connect()
  process.on('SIGUSR2', () => {
    globalThis.gc()
    inspector.post('HeapProfiler.startSampling', { samplingInterval: 1024, includeObjectsCollectedByMajorGC: true })
    console.log('begun')
  })
  const kept = ({ callFrame, selfSize, children }, inside) => {
    const ours = inside || /src.(vm|topic|drivers|transport)./.test(callFrame.url)
    return children.reduce((sum, child) => sum + kept(child, ours), ours ? selfSize : 0)
  }
  process.stdin.on('end', () => {
    globalThis.gc({ type: 'minor' })
    inspector.post('HeapProfiler.stopSampling', (error, result) => {
      console.log('kept ' + (error === null ? kept(result.profile.head, false) : 'nothing: ' + error.message))
      process.exit(0)
    })
  }).resume()
`

async function roundTrip(port: number): Promise<void> {
  const socket = connect(port, '127.0.0.1')
  socket.write('hello')
  await once(socket, 'data')
  socket.end()
  await once(socket, 'close')
}

t.test('connections', { timeout: patient(120_000) }, async (t) => {
  const child = spawn(process.execPath, [...FLAGS, server], { stdio: ['pipe', 'pipe', 'inherit'] })
  const lines: string[] = []
  const heard = createInterface(child.stdout)
  const until = async (what: RegExp): Promise<string> => {
    for (;;) {
      const found = lines.find((line) => what.test(line))
      if (found !== undefined) return found
      await once(heard, 'line')
    }
  }
  heard.on('line', (line) => { lines.push(line) })
  const port = Number(/\d+/.exec(await until(/^port /))?.[0])
  const many = async (count: number): Promise<void> => {
    const worker = async (): Promise<void> => { for (let i = 0; i < count / 10; i++) await roundTrip(port) }
    await Promise.all(Array.from({ length: 10 }, worker))
  }
  await many(1000)
  child.kill('SIGUSR2')
  await until(/^begun$/)
  await many(4000)
  child.stdin.end()
  const each = Number(/\d+/.exec(await until(/^kept/))?.[0]) / 4000
  await once(child, 'close')
  t.ok(each < 1000, `${each.toFixed(0)} bytes of each connection were kept`)
})
