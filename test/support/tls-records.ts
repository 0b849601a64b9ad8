/**
 * A client of TLS 1.3 that writes its own records once Node has done its handshake: for what Node's sockets never send,
 * such as a wish for new keys. Owns the keys of that direction.
 */
import { createCipheriv, createHmac } from 'node:crypto'
import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { Duplex } from 'node:stream'
import { connect as secure } from 'node:tls'

const HANDSHAKE = 22
const DATA = 23
const TAG = 16

/** As TLS 1.3 has it: HKDF-Expand-Label without a context, of one block. */
function derived(secret: Buffer, name: string, length: number): Buffer {
  const label = `tls13 ${name}`
  const info = Buffer.from([length >> 8, length & 0xff, label.length, ...Buffer.from(label), 0, 1])
  return createHmac('sha256', secret).update(info).digest().subarray(0, length)
}

/** What a client sends, encrypted. */
export class TlsRecords {
  #secret: Buffer
  #number = 0

  /** @param secret of its direction, as Node's 'keylog' tells it */
  constructor(secret: Buffer) {
    this.#secret = secret
  }

  #seal(type: number, content: Buffer): Buffer {
    const nonce = derived(this.#secret, 'iv', 12)
    nonce.writeUInt32BE((nonce.readUInt32BE(8) ^ this.#number++) >>> 0, 8)
    const length = content.length + 1 + TAG
    const head = Buffer.from([DATA, 3, 3, length >> 8, length & 0xff])
    const cipher = createCipheriv('aes-128-gcm', derived(this.#secret, 'key', 16), nonce)
    cipher.setAAD(head)
    const sealed = cipher.update(Buffer.concat([content, Buffer.from([type])]))
    return Buffer.concat([head, sealed, cipher.final(), cipher.getAuthTag()])
  }

  data(content: string): Buffer {
    return this.#seal(DATA, Buffer.from(content))
  }

  /** Its own keys are others from now on, and the server's are to be, too: it has to answer. */
  newKeys(): Buffer {
    const record = this.#seal(HANDSHAKE, Buffer.from([24, 0, 0, 1, 1]))
    this.#secret = derived(this.#secret, 'traffic upd', 32)
    this.#number = 0
    return record
  }
}

/**
 * @param port of a server that sends something when the handshake is over
 * @returns when that has come; the socket, which is paused, is the caller's
 */
export async function tlsRecords(port: number): Promise<{ raw: Socket, records: TlsRecords }> {
  const raw = connect(port, '127.0.0.1')
  await once(raw, 'connect')
  const between = new Duplex({
    read() { /* It comes by itself. */ },
    write(chunk: Buffer, _encoding, done) { raw.write(chunk, done) },
  })
  const pass = (chunk: Buffer): void => { between.push(chunk) }
  raw.on('data', pass)
  const options = { rejectUnauthorized: false, minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' } as const
  const socket = secure({ socket: between, ...options })
  let secret: Buffer | undefined
  socket.on('keylog', (line: Buffer) => {
    const [, hex] = /^CLIENT_TRAFFIC_SECRET_0 \S+ (\S+)/.exec(line.toString()) ?? []
    if (hex !== undefined) secret = Buffer.from(hex, 'hex')
  })
  await once(socket, 'data')
  raw.off('data', pass).pause()
  return { raw, records: new TlsRecords(secret as Buffer) }
}
