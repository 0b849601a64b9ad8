/** Sockets and servers that another process gets: by `send`, or as its `stdio`. */
import { fork, spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import type { Test } from 'tap'
import { both, closed, portOf, type Server, type Socket } from './both.js'

/** A child that runs `code`, and can be sent to. */
function childThat(t: Test, code: string): ChildProcess {
  const child = fork('-', [], { execArgv: ['-e', code], stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
  t.teardown(() => { child.kill() })
  return child
}

async function textOf(socket: Socket): Promise<string> {
  let text = ''
  socket.setEncoding('utf8').on('data', (more: string) => { text += more })
  await once(socket, 'end')
  return text
}

const connections = (server: Server): Promise<number> => new Promise((resolve, reject) => {
  server.getConnections((error, count) => { if (error) reject(error); else resolve(count) })
})

const ANSWERS = 'process.on("message", (text, socket) => { if (socket) socket.end(text + " from the child") })'

both('other:child-process-fork-net-socket', 'a socket that is sent is the other process\'', async (t, env) => {
  const child = childThat(t, ANSWERS)
  const { client, peer, server } = await env.pair({ pauseOnConnect: true })
  const received = textOf(client)
  await new Promise<void>((resolve, reject) => {
    child.send('hello', peer, (error) => { if (error) reject(error); else resolve() })
  })
  t.equal((peer as unknown as { _handle: unknown })._handle, null)
  t.equal(peer.remoteAddress, undefined)
  t.equal(await received, 'hello from the child')
  client.destroy()
  await closed(client)
  // The child is asked, who may not have heard of the end yet.
  while (await connections(server) > 0);
  t.pass('the server counts it no more')
})

both('other:child-process-send-keep-open', 'with keepOpen both have it', async (t, env) => {
  const child = childThat(t, `
    process.on("message", (text, socket) => socket.write(text + " child ", () => process.send("done")))`)
  const { client, peer } = await env.pair()
  const received = textOf(client)
  child.send('the', peer, { keepOpen: true })
  await once(child, 'message')
  child.kill()
  await once(child, 'exit')
  peer.end('and the parent')
  t.equal(await received, 'the child and the parent')
})

both('other:child-process-fork-net-server', 'a server that is sent listens in both', async (t, env) => {
  const child = childThat(t, `process.on("message", (text, server) => {
    server.on("connection", (socket) => socket.end(text))
    process.send("listening")
  })`)
  const server = await env.listen()
  const port = portOf(server)
  child.send('the child', server)
  await once(child, 'message')
  t.equal(server.listening, true)
  server.close()
  await once(server, 'close')
  const client = env.own(env.net.connect(port, '127.0.0.1'))
  t.equal(await textOf(client), 'the child')
})

both('other:child-process-recv-handle', 'handles are sent, and in order', async (t, env) => {
  const child = childThat(t, `const got = []
    process.on("message", (text, handle) => {
      got.push(text + (handle === undefined ? "" : " with " + typeof handle.close))
      if (got.length === 3) process.send(got)
    })`)
  const server = await env.listen()
  child.send('one')
  child.send('two', (server as unknown as { _handle: never })._handle)
  child.send('three')
  t.strictSame((await once(child, 'message'))[0], ['one', 'two with function', 'three'])
})

both('other:listen-fd-server', 'the listener as a child\'s stdio', async (t, env) => {
  const server = await env.listen()
  const port = portOf(server)
  const code = `require("net").createServer((socket) => socket.end("the child"))
    .listen({ fd: 3 }, () => process.send("listening"))`
  const handle = (server as unknown as { _handle: never })._handle
  const child = spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'ignore', 'inherit', handle, 'ipc'] })
  t.teardown(() => { child.kill() })
  await once(child, 'message')
  server.close()
  await once(server, 'close')
  t.equal(await textOf(env.own(env.net.connect(port, '127.0.0.1'))), 'the child')
})

both('other:child-process-send-keep-open', 'a socket that is destroyed goes on in who shares it', async (t, env) => {
  const { client, peer } = await env.pair()
  const received = textOf(client)
  const shell = 'read line; echo "got $line" >&3'
  const child = spawn('sh', ['-c', shell], { stdio: ['pipe', 'ignore', 'inherit', peer] })
  const exited = once(child, 'exit')
  peer.destroy()
  await closed(peer)
  child.stdin?.end('hello\n')
  t.equal(await received, 'got hello\n')
  t.equal((await exited)[0] ?? 0, 0)
})

both('other:child-process-send-keep-open', 'who can\'t be told keeps the socket', async (t, env) => {
  const child = childThat(t, 'process.disconnect()')
  await once(child, 'exit')
  const { client, peer } = await env.pair()
  const failed = once(child, 'error')
  t.equal(child.send('hello', peer), false)
  t.match((await failed)[0], { code: 'ERR_IPC_CHANNEL_CLOSED' })
  peer.end('still here')
  t.equal(await textOf(client), 'still here')
})
