/** Ready-made event sources, in the ground VM and through relays in nested VMs. */
import { collectLog } from '../vm/log-records.js'
import { run, type Print, type RunOptions } from '../vm/harness.js'
import { spawn as spawnChild, spawnSync } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { PassThrough } from 'node:stream'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import {
  _, deleteEndpoint, emitterSource, endpoint, eof, eventRelay, every, groundVm, iterableSource, lineSource, nestedVm,
  quit, signalSource, spawn, type Action, type ActionTree, type EventSource,
} from 'marketplace-native'
import { patient } from '../support/patience.js'

/** Prints what a source fires, until it fires `last`. */
const listener = (print: Print, source: EventSource<unknown>, last: unknown): Action =>
  spawn(() => endpoint.subscriber([source, _], {
    onMessage: ([, value]: readonly [unknown, unknown]) => {
      print(value)
      return value === last && quit()
    },
  }))

/** Runs the program in the ground VM, and one and two levels deeper. */
async function atEveryDepth(
  program: (print: Print) => ActionTree, check: (lines: string[], ended: boolean) => void,
  meanwhile: RunOptions['meanwhile'] = () => undefined,
): Promise<void> {
  for (let depth = 0; depth <= 2; depth++) {
    const wrap = (actions: ActionTree, levels: number): ActionTree =>
      levels === 0 ? actions : nestedVm(() => [eventRelay(), wrap(actions, levels - 1)])
    const { lines, ended } = await run((print) => wrap(program(print), depth), { meanwhile })
    check(lines, ended)
  }
}

t.test('lines end with LF, CRLF or CR; the stream\'s end is eof', { timeout: patient(10_000) }, async (t) => {
  let stream = new PassThrough()
  await atEveryDepth((print) => {
    stream = new PassThrough()
    return listener(print, lineSource(stream), eof)
  }, (lines, ended) => {
    t.strictSame(lines, ['lf', 'crlf', 'cr', 'next', '', 'grüße', 'cut', 'last', 'Symbol(eof)'])
    t.ok(ended)
  }, async () => {
    const bytes = Buffer.from('lf\ncrlf\r\ncr\rnext\n\ngrüße\ncut\r')
    for (const part of [...Array.from(bytes, (byte) => Buffer.of(byte)), Buffer.from('\nlast')]) {
      stream.write(part)
      await sleep(1)
    }
    stream.end()
  })
})

t.test('nothing is read before somebody listens, and no more afterwards', { timeout: patient(10_000) }, async (t) => {
  const stream = new PassThrough()
  const source = lineSource(stream)
  stream.write('one\n')
  t.equal(stream.readableLength, 4)
  const { lines, ended } = await run((print) => listener(print, source, 'one'))
  t.strictSame(lines, ['one'])
  t.ok(ended)
  stream.write('two\n')
  await sleep(5)
  t.equal(stream.readableLength, 4, 'it waits')
  const again = await run((print) => listener(print, source, 'two'))
  t.strictSame(again.lines, ['two'])
})

t.test('an emitter\'s events', { timeout: patient(10_000) }, async (t) => {
  const emitter = new EventEmitter()
  const plain = emitterSource(emitter, 'news')
  const mapped = emitterSource(emitter, 'news', (a: number, b: number) => a + b)
  await atEveryDepth((print) => [listener(print, plain, 5), listener(print, mapped, 11)], (lines, ended) => {
    t.strictSame(lines.sort(), ['1', '11', '3', '5'])
    t.ok(ended)
    t.equal(emitter.listenerCount('news'), 0, 'given back')
  }, async () => {
    await sleep(5)
    t.equal(emitter.listenerCount('news'), 2)
    emitter.emit('news', 1, 2)
    emitter.emit('other', 3)
    emitter.emit('news', 5, 6)
  })
})

t.test('the map of an emitter is no async function', { timeout: patient(10_000) }, async (t) => {
  const { records, end } = collectLog(({ level }) => level === 'error')
  const emitter = new EventEmitter()
  const got: unknown[] = []
  const hear = { onMessage: ([, value]: readonly [unknown, unknown]) => { got.push(value) } }
  const failing = emitterSource(emitter, 'news', () => Promise.reject(new Error('async fault')))
  const vm = groundVm(() => [failing, emitterSource(emitter, 'news')].map((source) =>
    endpoint.subscriber([source, _], hear)))
  const promise = Promise.resolve('emitted')
  while (emitter.listenerCount('news') < 2) await sleep(1)
  emitter.emit('news', promise)
  await sleep(5)
  await vm.stop()
  end()
  t.same(got, [promise], 'a promise that was emitted is fired')
  t.equal(records.length, 1)
  const told = 'emitterSource: map() must be given at once, by a function that is not async; got Promise'
  t.ok(String(records[0].fields['reason']).includes(told))
})

async function* counting(to: number, onEnd: () => void, failure?: unknown): AsyncGenerator<number> {
  try {
    for (let i = 1; i <= to; i++) {
      await sleep(1)
      yield i
    }
    if (failure !== undefined) throw failure
  } finally {
    onEnd()
  }
}

t.test('an iterable: its values, eof; early release closes it', { timeout: patient(10_000) }, async (t) => {
  let closed = 0
  const end = (): void => { closed++ }
  await atEveryDepth((print) => listener(print, iterableSource(counting(3, end)), eof), (lines, ended) => {
    t.strictSame(lines, ['1', '2', '3', 'Symbol(eof)'])
    t.ok(ended)
  })
  t.equal(closed, 3)
  await atEveryDepth((print) => listener(print, iterableSource(counting(1e9, end)), 2), (lines, ended) => {
    t.strictSame(lines, ['1', '2'])
    t.ok(ended)
  })
  await sleep(10)
  t.equal(closed, 6, 'its finally ran')
})

t.test('an iterable is iterated once', { timeout: patient(10_000) }, async (t) => {
  let iterated = 0
  const source = iterableSource({
    [Symbol.asyncIterator]: () => {
      iterated++
      return counting(3, () => undefined)
    },
  })
  await run((print) => listener(print, source, 2))
  const { lines } = await run((print) => listener(print, source, 2), { patience: 100 })
  t.strictSame(lines.filter((line) => line !== 'TIMEOUT'), ['Symbol(eof)'])
  t.equal(iterated, 1)
})

t.test('an iterable\'s error is fired like a value', { timeout: patient(10_000) }, async (t) => {
  for (const [failure, text] of [[new TypeError('broken'), /^TypeError: broken/], ['text', /^Error: text/]]) {
    const source = iterableSource(counting(1, () => undefined, failure))
    const { lines, ended } = await run((print) => spawn(() => endpoint.subscriber([source, _], {
      onMessage: ([, value]) => {
        print(value instanceof Error ? String(value) : value)
        return value instanceof Error && quit()
      },
    })))
    t.match(lines, ['1', text])
    t.ok(ended)
  }
})

const PACKAGE = JSON.stringify(new URL('../../src/index.js', import.meta.url).href)
const env = { ...process.env, NODE_OPTIONS: '', MARKETPLACE_LOG: 'off' }

t.test('an iterable that fails when it is closed does no harm', { timeout: patient(10_000) }, async (t) => {
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { _, endpoint, groundVm, iterableSource, quit } from ${PACKAGE}
    async function* failing() {
      try { yield 1; yield 2 } finally { throw new Error('in finally') }
    }
    await groundVm(() => endpoint.subscriber([iterableSource(failing()), _], { onMessage: () => quit() }))
    await new Promise((resolve) => setTimeout(resolve, 50))
    console.log('alive')
  `], { env, encoding: 'utf8' })
  t.strictSame([status, stdout], [0, 'alive\n'])
})

t.test('a stream that fails does not end the program', { timeout: patient(10_000) }, async (t) => {
  const { status, stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', `
    import { createReadStream } from 'node:fs'
    import { _, endpoint, groundVm, lineSource, quit } from ${PACKAGE}
    const source = lineSource(createReadStream('/no/such/file'))
    await groundVm(() => endpoint.subscriber([source, _], { onMessage: () => quit() }))
    console.log('ended')
  `], { env, encoding: 'utf8', timeout: patient(30_000) })
  t.strictSame([status, stdout], [0, 'ended\n'])
})

t.test('signals: taken while somebody listens, and only then', { timeout: patient(10_000) }, async (t) => {
  const child = spawnChild(process.execPath, ['--input-type=module', '-e', `
    import { _, endpoint, groundVm, quit, signalSource, transition } from ${PACKAGE}
    const program = () => transition(0, endpoint.subscriber([signalSource('SIGTERM'), _], {
      onMessage: ([, name], count) => {
        console.log(name)
        return count === 1 ? quit() : transition(count + 1)
      },
    }))
    setTimeout(() => console.log('ready'))
    await groundVm(program)
    console.log('ended')
    setTimeout(() => undefined, 5000)
  `], { env })
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (part: string) => { text += part })
  const grown = async (line: string): Promise<void> => {
    while (!text.endsWith(line)) await sleep(5)
  }
  await grown('ready\n')
  child.kill('SIGTERM')
  await grown('ready\nSIGTERM\n')
  child.kill('SIGTERM')
  await grown('SIGTERM\nSIGTERM\nended\n')
  child.kill('SIGTERM')
  const [, signal] = await once(child, 'exit') as [unknown, string]
  t.equal(signal, 'SIGTERM', 'then it does what it always does')
})

t.test('one relay per VM shares a source; it is released with its last listener', async (t) => {
  const emitter = new EventEmitter()
  const source = emitterSource<string>(emitter, 'x')
  const first = (print: Print, name: string): Action => spawn(() => endpoint.subscriber([source, _], {
    name: 'x',
    onMessage: ([, value]) => {
      print(name, value)
      return value === name && deleteEndpoint('x')
    },
  }))
  const { lines, ended } = await run((print) => nestedVm(() => [
    eventRelay(), first(print, 'a'), first(print, 'b'),
    nestedVm(() => [eventRelay(), first(print, 'c')]),
  ]), {
    meanwhile: async () => {
      await sleep(5)
      for (const [i, value] of ['hello', 'a', 'b', 'c'].entries()) {
        t.equal(emitter.listenerCount('x'), 1, `one subscription outside, ${i}`)
        emitter.emit('x', value)
        await sleep(5)
      }
      t.equal(emitter.listenerCount('x'), 0)
    },
  })
  t.ok(ended)
  t.strictSame(lines.sort(), [
    'a a', 'a hello', 'b a', 'b b', 'b hello', 'c a', 'c b', 'c c', 'c hello',
  ])
})

t.test('wrong arguments are told', async (t) => {
  t.throws(() => signalSource('SIGNIT' as never), { message: /^signalSource: name must be/ })
  t.throws(() => endpoint.subscriber(signalSource('SIGINT')), {
    message: /^endpoint.subscriber: topic must be \[source, _\] for an event source; got/,
  })
  t.throws(() => signalSource('INT' as never), { name: 'TypeError', message: /^signalSource: name must be/ })
  t.throws(() => lineSource({} as never), { name: 'TypeError', message: /^lineSource: stream must be/ })
  t.throws(() => lineSource({ on: () => undefined } as never), { message: /^lineSource: stream must be/ })
  t.throws(() => emitterSource({ on: () => undefined } as never, 'x'), { message: /^emitterSource: emitter must be/ })
  t.throws(() => emitterSource(null as never, 'x'), { message: /^emitterSource: emitter must be/ })
  t.throws(() => emitterSource(new EventEmitter(), 'x', 5 as never), {
    name: 'TypeError', message: 'emitterSource: map must be a function; got 5',
  })
  for (const name of ['SIGKILL', 'SIGSTOP'] as const) {
    const message = `signalSource: name must be a signal that a program can hear; got '${name}'`
    t.throws(() => signalSource(name), { name: 'TypeError', message })
  }
  t.throws(() => iterableSource([1] as never), { message: /^iterableSource: iterable must be/ })
})

t.test('ticks come in time, without drift, at every depth', { timeout: patient(10_000) }, async (t) => {
  const MSECS = 12.5
  let began = 0
  const late: number[] = []
  let last = 0
  let ordered = true
  const ticks = every(MSECS)
  await atEveryDepth((print) => {
    began = performance.now()
    last = 0
    return spawn(() => endpoint.subscriber([ticks, _], {
      onMessage: ([, n]) => {
        const since = performance.now() - began
        late.push(since - n * MSECS)
        ordered &&= n > last
        last = n
        if (n < 20) return undefined
        print('over')
        return quit()
      },
    }))
  }, (lines, ended) => {
    t.strictSame(lines, ['over'])
    t.ok(ended, 'released: nothing holds the VM')
  })
  t.ok(ordered, 'each begins at 1, and goes up')
  t.ok(Math.min(...late) >= 0, 'none is early')
  // The best of the last ones: with drift, all of them would be late by what has added up.
  t.ok(Math.min(...late.slice(-10)) < MSECS, `late by ${late.slice(-10).map(Math.round).join()}`)
})

t.test('ticks that a busy loop has missed are left out', { timeout: patient(10_000) }, async (t) => {
  const MSECS = 2
  const seen: number[] = []
  const { ended } = await run(() => spawn(() => endpoint.subscriber([every(MSECS), _], {
    onMessage: ([, n]) => {
      seen.push(n)
      if (seen.length === 5) return quit()
      for (const until = performance.now() + 20 * MSECS; performance.now() < until;);
      return undefined
    },
  })))
  t.ok(ended)
  t.equal(seen.length, 5)
  for (let i = 1; i < seen.length; i++) t.ok(seen[i] - seen[i - 1] >= 20, `${seen[i - 1]} to ${seen[i]}`)
})

t.test('every subscriber of one source hears the same ticks, and the last one releases it', async (t) => {
  const source = every(5)
  const heard: Record<string, number[]> = { a: [], b: [] }
  const one = (name: string, enough: number): Action => spawn(() => endpoint.subscriber([source, _], {
    onMessage: ([, n]) => {
      heard[name].push(n)
      return heard[name].length === enough && quit()
    },
  }))
  const { ended } = await run(() => [one('a', 2), one('b', 5)])
  t.ok(ended)
  t.equal(heard['a'].length, 2)
  t.equal(heard['b'].length, 5)
  t.strictSame(heard['b'].slice(0, 2), heard['a'])
})

t.test('what is no interval', (t) => {
  for (const msecs of ['5', undefined, null]) {
    t.throws(() => every(msecs as unknown as number), {
      code: 'ERR_INVALID_ARG_TYPE', message: /^every: msecs must be a number of milliseconds, 1 or more; got/,
    })
  }
  for (const msecs of [0, 0.9, -1, NaN, Infinity]) {
    t.throws(() => every(msecs), { code: 'ERR_OUT_OF_RANGE', message: /^every: msecs must be .* got/ })
  }
  t.doesNotThrow(() => [every(1), every(1e12), every(16.7)])
  t.end()
})
