/** The misuse that doesn't compile gives a clear TypeError in plain JavaScript; and what `sequence` does. */
import { collectLog } from '../vm/log-records.js'
import t from 'tap'
import * as api from 'marketplace-native'

const { _, addEndpoint, endpoint, role, sendMessage, sequence, transition } = api

type Program = (api: unknown) => unknown

const IMPORTS = `const { ${Object.keys(api).join(', ')} } = api;`

/** Plain JavaScript, that no compiler has seen. */
function javaScript(source: string): Program {
  // eslint-disable-next-line @typescript-eslint/no-implied-eval -- the point is that it isn't compiled
  return new Function('api', `'use strict'; ${IMPORTS} ${source}`) as Program
}

t.test('mistakes are reported where they are made', async (t) => {
  const mistakes: Record<string, string> = {
    "tcpAddress('host')": 'tcp-address: expected 2 fields; got 1',
    'tcpListener(1, 2)': 'tcp-listener: expected 1 field; got 2',
    'endpoint.subscriber(_, { onPresense() {} })':
      "endpoint.subscriber: unknown option 'onPresense'; did you mean 'onPresence'?",
    'endpoint.subscriber(_, { onMessage: 5 })':
      'endpoint.subscriber: options.onMessage must be a function; got 5',
    "endpoint.publisher(_, { interest: 'some' })":
      "role: interest must be 'participant', 'observer' or 'everything'; got 'some'",
    'endpoint.publisher(_, () => {})':
      'endpoint.publisher: options must be an object of handlers; got [Function (anonymous)]',
    'spawn(5)': 'spawn: boot must be a function; got 5',
    'spawn(sendMessage(1))': /^spawn: boot must be a function; got SendMessage/ as unknown as string,
    "role('both')": "role: orientation must be 'publisher' or 'subscriber'; got 'both'",
    "sendMessage(1, 'up')": "sendMessage: orientation must be 'publisher' or 'subscriber'; got 'up'",
    "addEndpoint('x', 'publisher', {})": "addEndpoint: role must be a role(...); got 'publisher'",
    "addEndpoint('x', role('publisher', _), { onMesage() {} })":
      "addEndpoint: unknown option 'onMesage' of handlers; did you mean 'onMessage'?",
    'endpoint.subscriber(_, Promise.resolve({}))':
      /^endpoint.subscriber: options must be an object of handlers; got Promise/ as unknown as string,
    'endpoint.subscriber(_, [() => {}])':
      'endpoint.subscriber: options must be an object of handlers; got [ [Function (anonymous)] ]',
    'spawn(() => {}, [])': 'spawn: options must be an object; got []',
    'nestedVm(() => {}, Promise.resolve({}))':
      /^nestedVm: options must be an object; got Promise/ as unknown as string,
    'groundVm(() => {}, new Map())': 'groundVm: options must be an object; got Map(0) {}',
    'webSocket(tcpListener(80))': 'webSocket: options must be an object; got tcp-listener(80)',
    "webSocket({ files: '' })": "webSocket: options.files must be a string that is not empty; got ''",
    'atMetaLevel([quit(), 5])': 'atMetaLevel: action must be an action, or arrays of them; got 5',
    "kill('x')": "kill: pid must be a pid; got 'x'",
    'groundVm(quit())': /^groundVm: boot must be a function; got Quit/ as unknown as string,
    "eventSource('x', 5)": 'eventSource: activate must be a function; got 5',
    "defineRecord('x', 'y')": "defineRecord: fields must be an array of distinct names; got 'y'",
  }
  for (const [source, message] of Object.entries(mistakes)) {
    t.throws(() => javaScript(`return ${source}`)(api), { name: 'TypeError', message }, source)
  }
})

t.test('mistakes in what a handler returns end its process, with the mistake as reason', async (t) => {
  const mistakes: Record<string, RegExp> = {
    '5': /got 5\. A function that is called for its effect only has braces: \(...\) => { ... }$/,
    "'quit'": /got 'quit'\. /,
    true: /got true\. /,
    '[Promise.resolve(quit())]': /got a promise inside an action tree$/,
    '[transition(1)]': /got a transition inside an action tree$/,
    quit: /got \[Function: quit\]\. /,
  }
  const { end } = collectLog()
  for (const [returned, expected] of Object.entries(mistakes)) {
    const program = javaScript(`
      return (tell) => groundVm(() => [
        spawn(() => endpoint.publisher(['p'], { onPresence: () => ${returned} })),
        spawn(() => endpoint.subscriber(['p'], { onAbsence: (topic, state, reason) => tell(reason) })),
      ])`)(api) as (tell: (reason: unknown) => void) => Promise<void>
    const reasons: unknown[] = []
    await program((reason) => reasons.push(reason))
    t.equal(reasons.length, 1, returned)
    t.ok(reasons[0] instanceof TypeError, returned)
    t.match((reasons[0] as Error).message, expected, returned)
  }
  end()
})

t.test('handlers may be methods of a class', async (t) => {
  const got: unknown[] = []
  class Handlers {
    onMessage([, n]: readonly [unknown, unknown]): void { got.push(n) }
  }
  await api.groundVm(() => [
    endpoint.subscriber(['m', _], new Handlers()), addEndpoint('low', role('subscriber', ['m', _]), new Handlers()),
    sendMessage(['m', 1]),
  ])
  t.same(got, [1, 1])
})

t.test('the arguments of groundVm and sequence', async (t) => {
  const wrong: Record<string, RegExp> = {
    'groundVm(() => [], { name: 5 })': /^groundVm: options.name must be a string; got 5/,
    'sequence(5)': /^sequence: first must be a transition; got 5/,
    'sequence([sendMessage(1)])': /^sequence: first must be a transition/,
  }
  for (const [source, message] of Object.entries(wrong)) {
    const error = { name: 'TypeError', message: message as unknown as string }
    t.throws(() => javaScript(`return ${source}`)(api), error, source)
  }
})

t.test('sequence: the state goes from step to step, the actions add up', async (t) => {
  const seen: number[] = []
  const [a, b, c, d] = [1, 2, 3, 4].map((n) => sendMessage(n))
  const result = sequence<number>(
    transition<number>(1, a),
    (state) => {
      seen.push(state)
      return transition(state + 1, b)
    },
    [c],
    undefined,
    (state) => {
      seen.push(state)
      return d
    },
    (state) => {
      seen.push(state)
      return undefined
    },
  )
  t.same(seen, [1, 2, 2])
  t.equal(result.state, 2)
  t.same((result.actions as unknown[]).flat(4).filter((action) => action !== undefined), [a, b, c, d])
})

t.test('one action value may be performed many times', async (t) => {
  const got: unknown[] = []
  const send = sendMessage(['m', 1])
  await api.groundVm(() => [
    endpoint.subscriber(['m', _], { onMessage: ([, n]) => void got.push(n) }),
    [send, [send], send],
  ])
  t.same(got, [1, 1, 1])
})
