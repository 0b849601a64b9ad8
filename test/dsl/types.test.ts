/**
 * Types: what is inferred from topics, and what doesn't compile. The compiler is the judge: a line
 * below `@ts-expect-error` that compiles is an error. Nothing in `misuse` is ever called.
 */
import t from 'tap'
import {
  _, addEndpoint, answering, asking, atMetaLevel, defineRecord, endpoint, eof, eventSource, every, groundVm, kill,
  nestedVm, quit, role, sendFeedback, sendMessage, sequence, spawn, tcpAddress, tcpChannel, tcpHandle, tcpListener,
  transition, yieldTurn,
  type Action, type ActionTree, type Eof, type Meeting, type MessageOf, type RecordFrom, type RecordOf, type Role,
  type TcpAddress, type TcpChannel, type TcpEnd, type TcpListener, type Transition, type Wildcard,
} from 'marketplace-native'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

/** Compiles only if the two types are the same. */
function same<A, B>(..._proof: Equal<A, B> extends true ? [] : [never]): void {
  return undefined
}
function typeOf<T>(_value: T): { is: <U>(..._proof: Equal<T, U> extends true ? [] : [never]) => void } {
  return { is: () => undefined }
}

const says = defineRecord('says', ['who', 'what']).of<[who: string, what: string]>()
const untyped = defineRecord('untyped', ['a', 'b'])
type Says = RecordFrom<typeof says>

interface State {
  readonly n: number
}

/** Never called: it has to compile. */
export const inference = {
  tcp: (them: TcpAddress, us: TcpListener): Action[] => [
    endpoint.subscriber(tcpChannel(them, us, _), {
      onPresence: ({ source, destination }) => {
        typeOf(source).is<TcpAddress>()
        typeOf(destination).is<TcpListener>()
      },
      onMessage: ({ subpacket, source }, _state) => {
        typeOf(subpacket).is<Buffer | Eof>()
        typeOf(source).is<TcpAddress>()
        return subpacket === eof ? quit() : sendMessage(tcpChannel(us, them, subpacket))
      },
      onAbsence: (topic, _state, reason, peer) => {
        typeOf(topic.subpacket).is<Buffer | Eof>()
        typeOf(reason).is<unknown>()
        typeOf(peer).is<Role>()
      },
    }),
    endpoint.subscriber(tcpChannel(_, tcpListener(80), _), {
      interest: 'observer',
      onPresence: ({ source }) => {
        typeOf(source).is<TcpEnd>()
      },
    }),
    endpoint.publisher(tcpChannel(tcpHandle('id'), tcpAddress('host', 1), _)),
  ],

  /** Whoever can't know that his peers have no wildcards in their topics is made to look. */
  meetings: (): Action[] => [
    endpoint.subscriber(tcpChannel(_, tcpListener(80), _), {
      interest: 'observer',
      onPresence: ({ source, destination }: Meeting<TcpChannel>) => {
        typeOf(source).is<Meeting<TcpEnd> | Wildcard>()
        if (!tcpAddress.is(source) || !tcpListener.is(destination)) return undefined
        typeOf(source.port).is<number>()
        return sendMessage(tcpChannel(destination, source, 'hello'))
      },
      onAbsence: ({ subpacket }: Meeting<TcpChannel>, _state, reason) => {
        typeOf(subpacket).is<Buffer | Eof | Wildcard>()
        typeOf(reason).is<unknown>()
      },
    }),
    endpoint.subscriber(says(_, _), {
      onPresence: ({ who }: Meeting<Says>) => {
        typeOf(who).is<string | Wildcard>()
        return typeof who === 'string' ? sendMessage(says(who, 'welcome')) : undefined
      },
    }),
    endpoint.subscriber(['news', [_, 5]], {
      onPresence: ([, more]: Meeting<readonly ['news', readonly [unknown, 5]]>) => {
        typeOf(more).is<readonly [unknown, 5 | Wildcard] | Wildcard>()
      },
    }),
  ],

  records: (): Action[] => [
    endpoint.subscriber(says(_, _), {
      onMessage: ({ who, what }) => {
        typeOf(who).is<string>()
        typeOf(what).is<string>()
      },
    }),
    endpoint.subscriber(says('bob', _), {
      onMessage: (message) => {
        typeOf(message.who).is<'bob'>()
        typeOf(message.what).is<string>()
      },
    }),
    endpoint.subscriber(untyped(1, _), {
      onMessage: ({ a, b }) => {
        typeOf(a).is<1>()
        typeOf(b).is<unknown>()
      },
    }),
  ],

  arrays: (): Action[] => [
    endpoint.subscriber(['news', _, 5], {
      onMessage: (message) => {
        typeOf(message).is<readonly ['news', unknown, 5]>()
        const [label, value] = message
        typeOf(label).is<'news'>()
        typeOf(value).is<unknown>()
      },
    }),
    endpoint.subscriber(['deep', [says(_, 'x'), _]], {
      onMessage: ([, [record, rest]]) => {
        typeOf(record.what).is<'x'>()
        typeOf(record.who).is<string>()
        typeOf(rest).is<unknown>()
      },
    }),
    endpoint.subscriber(_, {
      onMessage: (message) => {
        typeOf(message).is<unknown>()
      },
    }),
    endpoint.subscriber('atom', {
      onMessage: (message) => {
        typeOf(message).is<'atom'>()
      },
    }),
  ],

  sources: (): Action => {
    const ticks = eventSource<number>('ticks', (sink) => {
      sink.fire(1)
    })
    return endpoint.subscriber([ticks, _], {
      onMessage: ([source, value]) => {
        typeOf(source).is<typeof ticks>()
        typeOf(value).is<number>()
      },
    })
  },

  states: (): Transition<State> =>
    transition(
      { n: 1 },
      endpoint.subscriber(['m'], { onMessage: (_body, state: State) => transition({ n: state.n + 1 }) }),
      addEndpoint('x', role('publisher'), (event, state: State) => {
        typeOf(event.type).is<'presence' | 'absence' | 'message'>()
        if (event.type === 'absence') typeOf(event.reason).is<unknown>()
        return transition(state)
      }),
      yieldTurn((state: State) => [sendMessage(state.n), undefined, false, [[quit()]]]),
      spawn(() => transition('another'), { parent: (pid, state: State) => transition({ n: state.n + pid }) }),
      spawn(() => undefined, {
        link: true,
        sequential: true,
        parent: (_pid, _state, failure) => failure instanceof Error ? quit(failure) : undefined,
      }),
      atMetaLevel(endpoint.publisher(['m'], { onMessage: (_body, state: State) => transition(state) })),
    ),

  results: (): Action[] => [
    endpoint.subscriber(['m'], { onMessage: async () => Promise.resolve(sendMessage(1)) }),
    endpoint.subscriber('m', { onPresence: () => null, onAbsence: () => false, onMessage: () => undefined }),
    endpoint.subscriber(['m'], { onMessage: () => [[sendMessage(1)], quit('x'), sendFeedback(2)] }),
  ],

  sequences: (): Transition<number> =>
    sequence(transition(1), sendMessage(1), (n) => transition(n + 1), [quit()]),
}

same<MessageOf<readonly ['a', typeof _]>, readonly ['a', unknown]>()
same<MessageOf<Says>, Says>()
same<Says, RecordOf<'says', readonly ['who', 'what'], [who: string, what: string]>>()
same<Says['who'], string>()

const wantsState = endpoint.subscriber('m', { onMessage: (_b, state: State) => transition({ n: state.n }) })

/** Never called: each line must not compile. */
export const misuse = [
  // @ts-expect-error -- too few fields
  () => says('bob'),
  // @ts-expect-error -- too many fields
  () => says('bob', 'hello', 1),
  // @ts-expect-error -- a field of the wrong type
  () => says('bob', 5),
  // @ts-expect-error -- a wrong address
  () => tcpChannel(tcpAddress('host', '80'), tcpListener(1), _),
  // @ts-expect-error -- not an end of a connection
  () => tcpChannel('host', tcpListener(1), _),
  // @ts-expect-error -- not a subpacket
  () => tcpChannel(tcpAddress('host', 80), tcpListener(1), 5),
  // @ts-expect-error -- not a list of names
  () => defineRecord('x', 'y'),
  // @ts-expect-error -- not as many types as fields
  () => defineRecord('x', ['a', 'b']).of<[string]>(),
  // @ts-expect-error -- no such field
  (): unknown => says(_, _)['when'],
  // @ts-expect-error -- fields are read-only
  () => (says('a', 'b').who = 'c'),
  // @ts-expect-error -- a handler that returns a number
  () => endpoint.subscriber(_, { onMessage: () => 5 }),
  // @ts-expect-error -- a handler that returns a string
  () => endpoint.publisher(_, { onPresence: () => 'quit' }),
  // @ts-expect-error -- true is no action
  () => endpoint.publisher(_, { onPresence: () => true }),
  // @ts-expect-error -- a promise in a list
  () => endpoint.subscriber(_, { onMessage: () => [Promise.resolve(quit())] }),
  // @ts-expect-error -- a promise of a transition
  () => endpoint.subscriber(_, { onMessage: (_body, state: State) => Promise.resolve(transition(state)) }),
  // @ts-expect-error -- an unknown option
  () => endpoint.subscriber(_, { onPresense: () => undefined }),
  // @ts-expect-error -- no such interest
  () => endpoint.subscriber(_, { interest: 'some' }),
  // @ts-expect-error -- not a function
  () => endpoint.subscriber(_, { onMessage: 5 }),
  // @ts-expect-error -- the handler wants another message
  () => endpoint.subscriber(['a', 5], { onMessage: ([, n]: readonly ['a', string]) => sendMessage(n) }),
  // @ts-expect-error -- no such part
  () => endpoint.subscriber(['a', 5], { onMessage: ([, , third]) => sendMessage(third) }),
  // @ts-expect-error -- a field of a meeting may be a wildcard
  () => endpoint.subscriber(says(_, _), { onPresence: ({ who }: Meeting<Says>) => sendMessage(who.length) }),
  // @ts-expect-error -- the handlers expect another state
  () => transition('text', wantsState),
  // @ts-expect-error -- at the meta-level too
  () => transition('text', atMetaLevel(wantsState)),
  // @ts-expect-error -- in a list too
  (): ActionTree<string> => [[wantsState]],
  // @ts-expect-error -- a transition to another state than the handler got
  () => endpoint.subscriber(_, { onMessage: (_body, state: State) => transition(String(state.n)) }),
  // @ts-expect-error -- the same in a parent's continuation
  () => transition('text', spawn(() => undefined, { parent: (_pid, state: number) => transition(state) })),
  // @ts-expect-error -- the same in a yield
  () => transition('text', yieldTurn((state: number) => transition(state))),
  // @ts-expect-error -- not a function
  () => spawn(5),
  // @ts-expect-error -- a boot that returns a number
  () => spawn(() => 5),
  // @ts-expect-error -- an unknown option
  () => spawn(() => undefined, { nmae: 'x' }),
  // @ts-expect-error -- a VM has no handlers
  () => nestedVm(() => undefined, { sequential: true }),
  // @ts-expect-error -- not a boolean
  () => spawn(() => undefined, { link: 'yes' }),
  // @ts-expect-error -- what a boot has thrown may be anything
  () => spawn(() => undefined, { parent: (_pid, _state, failure) => quit(failure.message) }),
  // @ts-expect-error -- a boot that returns a string
  () => nestedVm(() => 'x'),
  // @ts-expect-error -- not an action
  () => atMetaLevel(['quit']),
  // @ts-expect-error -- no such orientation
  () => sendMessage(1, 'up'),
  // @ts-expect-error -- no such orientation
  () => role('both'),
  // @ts-expect-error -- no such interest
  () => role('publisher', _, 'none'),
  // @ts-expect-error -- not a role
  () => addEndpoint('x', 'publisher', {}),
  // @ts-expect-error -- a pid is needed
  () => kill(),
  // @ts-expect-error -- not a function
  () => groundVm(quit()),
  // @ts-expect-error -- what is asked for is a number
  (): Promise<string> => asking().ask<number>('x'),
  // @ts-expect-error -- no such option
  () => asking().ask('x', { timeuot: 5 }),
  // @ts-expect-error -- not a function
  () => answering(['price', _], 5),
  // @ts-expect-error -- the question has three parts
  () => answering(['price', _, _], ([, , , none]) => none),
  // @ts-expect-error -- the handler expects another state
  () => transition('text', answering('x', (_body, state: number) => state)),
  // @ts-expect-error -- a tick is a number
  () => endpoint.subscriber([every(100), _], { onMessage: ([, n]) => sendMessage(n.length) }),
  // @ts-expect-error -- not what the source fires
  () => eventSource<number>('x', (sink) => sink.fire('text')),
  // @ts-expect-error -- a release is a function
  () => eventSource<number>('x', () => 5),
  // @ts-expect-error -- an action is no transition to begin with
  () => sequence(quit()),
]

t.test('types', async (t) => {
  t.ok(Object.values(inference).every((example) => typeof example === 'function'))
  t.ok(misuse.length > 30, 'all of this was checked when it was compiled')
})
