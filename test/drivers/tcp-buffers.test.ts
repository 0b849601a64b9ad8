/** Borrowed buffers through drivers and VM: what is kept too long shows, what is sent in time is right. */
import { onBoth, server } from './tcp-program.js'
import { onBothWithCredit, writeApart } from './credit-session.js'
import {
  _, endpoint, quit, sendMessage, tcpChannel, yieldTurn, type ActionTree, type TcpEnd,
} from 'marketplace-native'
import { client, pattern, until } from '../support/util.js'

const lent = { buffers: 'borrowed', poison: true } as const

onBoth('borrowed: an echo of 4 MiB through a VM that is busy for many turns', async (t, start) => {
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => {
      // More rounds than a slice has; what was received meanwhile comes behind it.
      let rounds = 0
      const later = (): ActionTree => {
        if (++rounds < 3000) return yieldTurn(later)
        return sendMessage(tcpChannel(us, them, subpacket))
      }
      return later()
    },
  })
  const program = start(() => [server(session)], lent)
  const socket = await client(await program.port())
  const sent = pattern(4 * 1024 * 1024)
  const back: Buffer[] = []
  let length = 0
  socket.on('data', (data) => {
    back.push(data)
    length += data.length
  })
  socket.write(sent)
  await until(() => length === sent.length)
  t.ok(Buffer.concat(back).equals(sent))
  socket.destroy()
})

onBoth('borrowed: what a process keeps for later is overwritten', async (t, start, transport) => {
  const kept: Buffer[] = []
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => {
      kept.push(subpacket as Buffer)
      return sendMessage(tcpChannel(us, them, subpacket))
    },
  })
  const program = start(() => [server(session)], lent)
  const socket = await client(await program.port())
  let answer = ''
  socket.on('data', (data) => { answer += data.toString() })
  socket.write('secret')
  await until(() => answer === 'secret')
  t.same(kept[0], transport === 'native' ? Buffer.alloc(6, 0xdb) : Buffer.from('secret'))
  socket.destroy()
})

onBothWithCredit('borrowed: lines in pieces are kept by the driver', async (t, open) => {
  const { session, socket } = await open(lent)
  session.mode('lines', 3)
  await writeApart(socket, ['fi', 'r', 'st\nsec', 'ond', '\nthird\nfou', 'rth\nrest'])
  await session.gets(['first', 'second', 'third'])
  session.mode('lines', 1)
  await session.gets(['first', 'second', 'third', 'fourth'])
  t.strictSame(session.got, ['first', 'second', 'third', 'fourth'])
})

onBoth('borrowed: first bytes that wait while a slice is long are not written over', async (t, start) => {
  // A slice of the ground VM ends with more than 20,000 actions, before it is idle: what came with the
  // greeting of a connection still waits then.
  const got: string[] = []
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => [
    endpoint.subscriber(tcpChannel(them, us, _), {
      onAbsence: () => quit(),
      onMessage: ({ subpacket }) => { got.push((subpacket as Buffer).toString()) },
    }),
    Array.from({ length: 21_000 }, () => sendMessage('busy')),
  ]
  const program = start(() => [server(session)], lent)
  const port = await program.port()
  const sockets: Awaited<ReturnType<typeof client>>[] = []
  for (let i = 0; i < 5; i++) {
    const socket = await client(port)
    socket.write(`first words of ${i}`)
    sockets.push(socket)
  }
  await until(() => got.join('').split('first').length === 6)
  t.strictSame([...got].sort(), [0, 1, 2, 3, 4].map((i) => `first words of ${i}`))
  for (const socket of sockets) socket.destroy()
})

onBoth('borrowed: a VM that is never idle still receives', async (t, start) => {
  let length = 0
  let wrong = 0
  let over = false
  const sent = pattern(6 * 1024 * 1024)
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => {
    const busy = (): ActionTree => (over ? undefined : yieldTurn(busy))
    return [
      endpoint.subscriber(tcpChannel(them, us, _), {
        onAbsence: () => quit(),
        onMessage: ({ subpacket }) => {
          const data = subpacket as Buffer
          if (!data.equals(sent.subarray(length, length + data.length))) wrong++
          length += data.length
        },
      }),
      yieldTurn(busy),
    ]
  }
  const program = start(() => [server(session)], lent)
  const socket = await client(await program.port())
  socket.write(sent)
  await until(() => length === sent.length)
  over = true
  t.equal(wrong, 0)
  socket.destroy()
})

/** Texts of what came, when each piece was in memory of its own that could be given to another thread. */
function transferred(pieces: readonly Buffer[]): string[] {
  return pieces.map((piece) => {
    const { byteLength } = piece.buffer
    if (byteLength !== piece.length) throw new Error(`${byteLength} for ${piece.length}`)
    const there = structuredClone(piece, { transfer: [piece.buffer as ArrayBuffer] })
    if (piece.length !== 0) throw new Error('it was copied')
    return Buffer.from(there).toString()
  })
}

onBothWithCredit('isolated: bytes and lines, split by credit and joined of pieces', async (t, open) => {
  const pieces: Buffer[] = []
  const { session, socket } = await open({ buffers: 'isolated' }, (data) => {
    pieces.push(data)
    return undefined
  })
  session.mode('bytes', 3)
  socket.write('abcdefgh')
  await until(() => pieces.length === 1)
  session.credit(5)
  await until(() => pieces.length === 2)
  session.mode('lines', 3)
  await writeApart(socket, ['one\r\ntw', 'o\n', 'three\nre'])
  await until(() => pieces.length === 5)
  session.mode('bytes', 100)
  await until(() => pieces.length === 6)
  t.strictSame(transferred(pieces), ['abc', 'defgh', 'one', 'two', 'three', 're'])
  socket.destroy()
})

onBoth('isolated: what a connection hears is in no other one\'s memory', async (t, start) => {
  const heard: Buffer[] = []
  const session = (them: TcpEnd, us: TcpEnd): ActionTree => endpoint.subscriber(tcpChannel(them, us, _), {
    onAbsence: () => quit(),
    onMessage: ({ subpacket }) => {
      heard.push(subpacket as Buffer)
      return sendMessage(tcpChannel(us, them, subpacket))
    },
  })
  const program = start(() => [server(session)], { buffers: 'isolated' })
  const port = await program.port()
  const sockets = await Promise.all(Array.from({ length: 20 }, () => client(port)))
  let echoed = 0
  const sent: string[] = []
  for (const [index, socket] of sockets.entries()) {
    socket.on('data', ({ length }) => { echoed += length })
    const text = String.fromCharCode(97 + index).repeat(10 + 97 * index)
    sent.push(text)
    socket.write(text)
  }
  await until(() => echoed === sent.join('').length)
  const texts = transferred(heard)
  for (const text of texts) t.equal(new Set(text).size, 1, 'the bytes of one connection')
  t.equal(texts.join('').length, sent.join('').length)
  for (const socket of sockets) socket.destroy()
})
