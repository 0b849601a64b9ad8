/** Reading whole bodies, and requests of `http` as promises. */
import { request, type IncomingMessage, type RequestOptions } from 'node:http'

export async function readBytes(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of stream) chunks.push(chunk)
  return Buffer.concat(chunks)
}

export interface Answer {
  readonly response: IncomingMessage
  readonly body: Buffer
}

/** Sends a request with `body`, and reads its answer. */
export function ask(options: RequestOptions, body?: Buffer | string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host: '127.0.0.1', ...options }, (response) => {
      readBytes(response).then((body) => { resolve({ response, body }) }, reject)
    })
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}
