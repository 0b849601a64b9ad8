/** Workers of `serve` and nodes of relays, as an inspector shows them; and looking into a worker. */
import { once } from 'node:events'
import { MessageChannel } from 'node:worker_threads'
import t from 'tap'
import { groundVm, portCarrier, relay, serving, endpoint } from 'marketplace-native'
import { client as dial } from '../support/util.js'
import { module, quiet, skip } from '../workers/start.js'
import { Client, inspected, type Answer } from './program.js'
import { patient } from '../support/patience.js'

const TIME = { timeout: patient(60_000) }

t.test('workers: their state, connections, counters; and each of their VMs', { skip, ...TIME }, async (t) => {
  quiet(t)
  const { client, url } = await inspected(t, () => serving({
    module, workers: 2, name: 'tested', data: {}, backoff: { first: 10, most: 50 },
  }))
  const network = async (fits: (workers: Answer[]) => boolean): Promise<Answer[]> => {
    for (;;) {
      const { workers } = await client.ask('network')
      if (fits(workers as Answer[])) return workers as Answer[]
    }
  }
  const workers = await network((rows) => rows.length === 2 && rows.every(({ state }) => state === 'ready'))
  t.match(workers, [
    { serve: 'tested', worker: 0, connections: 0, counted: { accepts: 0 } }, { serve: 'tested', worker: 1 },
  ])

  const node = workers[0]['node'] as string
  const inside = await new Client(`${url}&worker=${node}`).opened()
  t.teardown(() => { inside.socket.terminate() })
  t.match(await inside.hears('hello'), { protocol: 1, readOnly: false, worker: node })
  const { processes } = await inside.ask('tree')
  t.match((processes as Answer[]).map(({ name }) => name as string), ['main', 'tcpBare'])
  const { listeners } = await inside.ask('sockets')
  const port = Number(/:(\d+)$/.exec((listeners as Answer[])[0]['address'] as string)?.[1])
  const socket = await dial(port)
  t.teardown(() => socket.destroy())
  socket.write('who\n')
  const [answer] = await once(socket, 'data') as [Buffer]
  const busy = await network((rows) => rows.some(({ connections }) => connections === 1))
  const has = busy.find(({ connections }) => connections === 1) as Answer
  t.equal(`${has['worker'] as number} ${has['node'] as string}\n`, answer.toString(), 'the one that has it')

  // What it sends in there is heard there.
  await inside.ask('trace')
  await inside.ask('send', { message: "['nobody']" })
  await t.rejects(inside.ask('kill', { path: '77' }), { message: 'there is no process 77' })
  const second = await new Client(`${url}&worker=${node}`).opened()
  t.ok((await second.ask('tree'))['processes'], 'two look at the same time')
  await second.close()
  t.ok((await inside.ask('tree'))['processes'], 'and the other one goes on')

  // A worker that is gone takes its clients with it, and nobody else.
  const closed = once(inside.socket, 'close')
  await inside.ask('pause', { path: (processes as Answer[])[0]['path'] as string })
  const lost = await dial(port)
  t.teardown(() => lost.destroy())
  await inside.ask('resume')
  for (const one of [socket, lost]) {
    one.on('error', () => undefined)
    one.write('die exit\n')
  }
  await closed
  const again = await network((rows) => rows.length === 2 && rows.every(({ state, node: name }) =>
    state === 'ready' && name !== node))
  t.equal(again.length, 2, 'it was started again')
  const gone = new Client(`${url}&worker=${node}`)
  const [code, reason] = await once(gone.socket, 'close') as [number, Buffer]
  t.same([code, reason.toString()], [1011, `there is no worker ${node}`])
  const long = new Client(`${url}&worker=${'x'.repeat(5000)}`)
  t.equal((await once(long.socket, 'close') as [number])[0], 1011, 'whatever a client asks for')
  await client.ask('tree')
})

t.test('a worker in an endless loop is shown, without what it has counted', { skip, ...TIME }, async (t) => {
  quiet(t)
  const looping = new Int32Array(new SharedArrayBuffer(4))
  const { client, url } = await inspected(t, () => serving({
    module, workers: 1, name: 'looping', data: { stuck: looping }, backoff: { first: 10, most: 50 },
  }))
  let workers: Answer[] = []
  while (workers[0]?.['state'] !== 'ready') workers = (await client.ask('network'))['workers'] as Answer[]
  const inside = await new Client(`${url}&worker=${String(workers[0]['node'])}`).opened()
  const { listeners } = await inside.ask('sockets')
  const socket = await dial(Number(/:(\d+)$/.exec((listeners as Answer[])[0]['address'] as string)?.[1]))
  socket.on('error', () => undefined)
  t.teardown(() => socket.destroy())
  socket.write('die loop\n')
  while (Atomics.load(looping, 0) === 0) await new Promise((resolve) => setTimeout(resolve, 10))
  const answers = await Promise.all([client.ask('network'), client.ask('network')])
  for (const answer of answers) {
    const [row] = answer['workers'] as Answer[]
    t.match(row, { serve: 'looping', state: 'ready' })
    t.equal(row['counted'], undefined)
  }
  const large = JSON.stringify({ do: 'hello', more: 'x'.repeat(200_000) })
  for (let i = 0; i < 100; i++) inside.socket.send(large)
  const [code] = await once(inside.socket, 'close') as [number]
  t.equal(code, 1013, 'what a client asks of it is not kept without end')
})

t.test('with redact, workers are not looked into: nothing would keep values back', { skip, ...TIME }, async (t) => {
  quiet(t)
  const { client, url } = await inspected(t, () => serving({
    module, workers: 1, name: 'kept', data: {}, backoff: { first: 10, most: 50 },
  }), { redact: (value) => value })
  let workers: Answer[] = []
  while (workers[0]?.['state'] !== 'ready') workers = (await client.ask('network'))['workers'] as Answer[]
  const refused = new Client(`${url}&worker=${workers[0]['node'] as string}`)
  const [code, reason] = await once(refused.socket, 'close') as [number, Buffer]
  t.same([code, reason.toString()], [1008, 'with redact, workers are not looked into'])
})

t.test('nodes: what a relay knows of them', { timeout: patient(30_000) }, async (t) => {
  const { port1, port2 } = new MessageChannel()
  const other = groundVm(() => [
    relay({ node: 'there', carrier: portCarrier({ here: port2 }), topics: ['room'] }),
    endpoint.publisher('room'),
  ])
  t.teardown(() => other.stop())
  const { client } = await inspected(t, () => [
    relay({ node: 'here', carrier: portCarrier({ there: port1 }), topics: ['room'] }),
    endpoint.subscriber('room', { onMessage: () => undefined }),
  ])
  let row: Answer | undefined
  while (row?.['up'] !== true) row = ((await client.ask('network'))['nodes'] as Answer[]).at(0)
  t.match(row, { relay: 'here', node: 'there', up: true, endpoints: 1, gaps: 0 })
  for (const name of ['silentMs', 'queuedBytes']) t.ok(Number(row[name]) >= 0, name)
})
