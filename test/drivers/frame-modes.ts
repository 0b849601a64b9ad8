/**
 * A table of modes that cut streams into frames, each with what makes such a stream: written without a look at how
 * the driver does it.
 */
import type { FrameMode } from 'marketplace-native'

export interface Framed {
  readonly name: string
  readonly mode: FrameMode
  /** Bodies to be sent. */
  readonly bodies: readonly Buffer[]
  /** A body as it is in the stream. */
  readonly onWire: (body: Buffer) => Buffer
  /** A body as the program gets it, or sends it, in this mode. */
  readonly inProgram: (body: Buffer) => Buffer
  /** Whether the program that sends what `inProgram` says writes what `onWire` does. */
  readonly sends: boolean
}

const buffers = (...texts: readonly string[]): Buffer[] => texts.map((text) => Buffer.from(text))

const plain = buffers('', 'a', 'hello', '', '', 'x'.repeat(20), '\r\n', '\0\0', '\u00ff', 'aaaab?', 'end')

/** A number as so many bytes. */
function field(value: number, size: number, little: boolean): Buffer {
  const bytes = Buffer.alloc(8)
  if (little) bytes.writeBigUInt64LE(BigInt(value))
  else bytes.writeBigUInt64BE(BigInt(value))
  return little ? bytes.subarray(0, size) : bytes.subarray(8 - size)
}

function lengths(): Framed[] {
  const result: Framed[] = []
  for (const bytes of [1, 2, 4, 8] as const) {
    for (const endian of ['big', 'little'] as const) {
      const onWire = (body: Buffer): Buffer => Buffer.concat([field(body.length, bytes, endian === 'little'), body])
      result.push({
        name: `length ${bytes} ${endian}`, mode: { frame: 'length', bytes, endian }, bodies: plain, onWire,
        inProgram: (body) => body, sends: true,
      })
    }
  }
  return result
}

function others(): Framed[] {
  const inclusive = (body: Buffer): Buffer => Buffer.concat([field(body.length + 2, 2, false), body])
  const typed = (body: Buffer): Buffer =>
    Buffer.concat([Buffer.from([body.length % 7, 9]), field(body.length, 4, true), body])
  // The length counts two bytes of trailer less than there are.
  const adjusted = (body: Buffer): Buffer => Buffer.concat([field(body.length + 3, 1, false), body])
  const counted = (body: Buffer): Buffer => {
    const bytes: number[] = []
    let rest = body.length
    for (; rest > 127; rest >>= 7) bytes.push(rest & 127 | 128)
    return Buffer.from([...bytes, rest, ...body])
  }
  const same = (body: Buffer): Buffer => body
  return [
    {
      name: 'length that counts itself', mode: { frame: 'length', bytes: 2, inclusive: true }, bodies: plain,
      onWire: inclusive, inProgram: same, sends: true,
    }, {
      name: 'length that counts 3 more', mode: { frame: 'length', bytes: 1, adjust: -3 }, bodies: plain,
      onWire: adjusted, inProgram: same, sends: true,
    }, {
      name: 'length passed on, after a type', bodies: plain, onWire: typed, inProgram: typed, sends: true,
      mode: { frame: 'length', bytes: 4, endian: 'little', offset: 2, strip: false },
    }, {
      name: 'length after a type, both taken off', bodies: plain, onWire: typed, inProgram: same, sends: false,
      mode: { frame: 'length', bytes: 4, endian: 'little', offset: 2 },
    }, {
      name: 'varint', mode: { frame: 'varint' }, bodies: [...plain, Buffer.alloc(300, 'v')], onWire: counted,
      inProgram: same, sends: true,
    }, {
      name: 'varint passed on', mode: { frame: 'varint', strip: false }, bodies: [...plain, Buffer.alloc(300, 'v')],
      onWire: counted, inProgram: counted, sends: true,
    },
    ...(['\0', '\r\n', 'aaaab', 'abab', '--boundary--'] as const).map((delimiter): Framed => ({
      name: `delimiter ${JSON.stringify(delimiter)}`, mode: { frame: 'delimiter', delimiter },
      bodies: [...plain, Buffer.from('aaaaa'), Buffer.from('abaab'), Buffer.from('--bound')]
        .filter((body) => `${body.toString('latin1')}${delimiter}`.indexOf(delimiter) === body.length),
      onWire: (body) => Buffer.concat([body, Buffer.from(delimiter)]), inProgram: same, sends: true,
    })), {
      name: 'delimiter passed on', mode: { frame: 'delimiter', delimiter: Buffer.of(0xff, 0xfe), strip: false },
      bodies: plain, onWire: (body) => Buffer.concat([body, Buffer.of(0xff, 0xfe)]),
      inProgram: (body) => Buffer.concat([body, Buffer.of(0xff, 0xfe)]), sends: true,
    }, {
      name: 'fixed', mode: { frame: 'fixed', bytes: 5 }, bodies: buffers('abcde', '12345', '\0\n\r\0\0'),
      onWire: same, inProgram: same, sends: true,
    }, {
      name: 'fixed, of one byte', mode: { frame: 'fixed', bytes: 1 }, bodies: buffers('a', 'b', 'c', '\n'),
      onWire: same, inProgram: same, sends: true,
    },
    ...['\n', '\r\n', '\r'].map((end): Framed => ({
      name: `lines with ${JSON.stringify(end)}`, mode: { frame: 'lines' },
      bodies: buffers('', 'a line', '', '', 'x'.repeat(20), '\0'),
      onWire: (body) => Buffer.concat([body, Buffer.from(end)]), inProgram: same, sends: false,
    })),
  ]
}

export const FRAMED: readonly Framed[] = [...lengths(), ...others()]

export function streamOf({ bodies, onWire }: Framed): Buffer {
  return Buffer.concat(bodies.map(onWire))
}

/** What a program has to get of such a stream, in hexadecimal digits. */
export function framesOf({ bodies, inProgram }: Framed): string[] {
  return bodies.map((body) => inProgram(body).toString('hex'))
}
