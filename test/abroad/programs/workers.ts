/** Worker threads that have sockets of their own. */
import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import { programs, type Environment, type Net } from '../program.js'
import nodeNet from 'node:net'

const OURS = import.meta.resolve('marketplace-native/net')

/** A thread that runs `code`, in which `net` is the module and `port` a number. */
function thread(net: Net, port: number, code: string): Worker {
  const source = `import net from ${JSON.stringify(net === nodeNet ? 'node:net' : OURS)}
    import { parentPort, workerData } from 'node:worker_threads'
    import { once } from 'node:events'
    const { port } = workerData
    ${code}`
  return new Worker(new URL(`data:text/javascript,${encodeURIComponent(source)}`), { workerData: { port } })
}

async function closed({ server }: { server: ReturnType<Net['createServer']> }): Promise<void> {
  server.close()
  await once(server, 'close')
}

const collected = async ({ serve }: Environment) => {
  const heard: string[] = []
  let tell: (() => void) | undefined
  const served = await serve((socket) => {
    let text = ''
    socket.on('data', (data) => { text += data.toString() }).on('error', () => { text += ' reset' })
      .on('close', () => { heard.push(text); tell?.() })
  })
  const all = async (count: number): Promise<string[]> => {
    while (heard.length < count) await new Promise<void>((resolve) => { tell = resolve })
    return heard.sort()
  }
  return { ...served, all }
}

export default programs({
  'clients in threads': async (environment) => {
    const { net, print } = environment
    const served = await collected(environment)
    const threads = [1, 2, 3].map((i) => thread(net, served.port, `
      net.connect(port, '127.0.0.1').end('from ${i}')`))
    await Promise.all(threads.map((worker) => once(worker, 'exit')))
    print(await served.all(3))
    await closed(served)
  },
  'a server in a thread': async ({ net, print }) => {
    const worker = thread(net, 0, `
      const server = net.createServer((socket) => { socket.pipe(socket); server.close() })
      server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port))`)
    const exit = once(worker, 'exit')
    const [port] = await once(worker, 'message') as [number]
    const client = net.connect(port, '127.0.0.1')
    client.end('there and back')
    let text = ''
    for await (const data of client) text += String(data)
    print(text, await exit)
  },
  'exit in a thread after write': async (environment) => {
    const { net, print } = environment
    const served = await collected(environment)
    const worker = thread(net, served.port, `
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      socket.write('last words')
      process.exit()`)
    await once(worker, 'exit')
    print((await served.all(1))[0].startsWith('last words'))
    await closed(served)
  },
  'terminated when it has written': async (environment) => {
    const { net, print } = environment
    const served = await collected(environment)
    const worker = thread(net, served.port, `
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      // In a turn that does not end by itself.
      setImmediate(() => {
        socket.write('last words')
        parentPort.postMessage('written')
        for (;;);
      })`)
    await once(worker, 'message')
    await worker.terminate()
    print((await served.all(1))[0].startsWith('last words'))
    await closed(served)
  },
  'terminated with many writes of one turn': async (environment) => {
    const { net, print } = environment
    const served = await collected(environment)
    const worker = thread(net, served.port, `
      const sockets = [1, 2, 3].map(() => net.connect(port, '127.0.0.1'))
      await Promise.all(sockets.map((socket) => once(socket, 'connect')))
      setImmediate(() => {
        for (const socket of sockets) for (let i = 0; i < 10; i++) socket.write(String(i))
        parentPort.postMessage('written')
        for (;;);
      })`)
    await once(worker, 'message')
    await worker.terminate()
    print((await served.all(3)).map((text) => text.slice(0, 10)))
    await closed(served)
  },
  'an exception in a thread after write': async (environment) => {
    const { net, print } = environment
    const served = await collected(environment)
    const worker = thread(net, served.port, `
      const socket = net.connect(port, '127.0.0.1')
      await once(socket, 'connect')
      setImmediate(() => { socket.write('last words'); throw new Error('mine') })`)
    const [error] = await once(worker, 'error') as [Error]
    print(error.message, (await served.all(1))[0].startsWith('last words'))
    await closed(served)
  },
})
