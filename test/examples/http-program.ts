/** The HTTP example under test, with its drivers, and a client that says exactly the bytes it is told to. */
import { onBoth, type Program } from '../drivers/tcp-program.js'
import { timerDriver, type ActionTree } from 'marketplace-native'
import type { Test } from 'tap'
import { routes } from '../../examples/http.js'
import type { HttpOptions } from '../../examples/http/connection.js'
import { driverOptions, httpServer } from '../../examples/http/server.js'
import { client } from '../support/util.js'

export interface Running {
  readonly program: Program
  readonly port: number
  readonly url: string
}

type Run = (options?: Partial<HttpOptions>, ...more: ActionTree[]) => Promise<Running>

/** Registers a test per transport; `run` starts a server with the example's routes and some more. */
export function onHttp(
  name: string, body: (t: Test, run: Run) => Promise<void>, skip?: string | false,
): void {
  onBoth(name, (t, start) => body(t, async (options, ...more) => {
    const program = start(
      () => [timerDriver(), httpServer(0, options), routes(), more], { driver: 'tcp', ...driverOptions },
    )
    const port = await program.port()
    return { program, port, url: `http://127.0.0.1:${port}` }
  }), skip)
}

/** Says something, and hears all that comes until the server closes; the client itself doesn't end. */
export async function say(port: number, ...pieces: (string | Buffer)[]): Promise<string> {
  const socket = await client(port)
  let heard = ''
  socket.setEncoding('latin1').on('data', (text: string) => { heard += text })
  const ended = new Promise<void>((resolve, reject) => {
    socket.on('end', resolve).on('error', reject)
  })
  for (const piece of pieces) socket.write(piece)
  await ended
  socket.end()
  return heard
}

/** The status codes of the answers in a text, in order. */
export const statuses = (text: string): number[] =>
  [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map(([, status]) => Number(status))

/** A request as it goes over the wire, which asks the server to close unless told otherwise. */
export const get = (path: string, ...headers: string[]): string =>
  [`GET ${path} HTTP/1.1`, 'Host: here', ...headers, '', ''].join('\r\n')

export const last = 'Connection: close'
