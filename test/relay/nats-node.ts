/**
 * A node: a program that the tests start, stop and kill. It has a member in a room, says what it is told to, and tells
 * its parent what it hears.
 */
import { subscribe } from 'node:diagnostics_channel'
import {
  _, defineRecord, endpoint, eventSource, groundVm, LOG_CHANNEL, natsRelay, relayNode, sendMessage, spawn,
  type LogRecord, type NatsRelayOptions,
} from 'marketplace-native'

const says = defineRecord('says', ['who', 'what']).of<[who: string, what: unknown]>()
const item = defineRecord('item', ['node', 'number']).of<[node: string, number: number]>()

/** What the parent wants. */
export type Command =
  | { readonly say: readonly unknown[] }
  /** Bytes in each of so many messages. */
  | { readonly flood: number; readonly bytes: number }
  /** So many endpoints. */
  | { readonly items: number }
  | { readonly leave: true }

/** What has happened here. */
export type Told =
  | { readonly event: 'arrived'; readonly who: string }
  | { readonly event: 'node'; readonly who: string }
  | { readonly event: 'departed'; readonly who: string; readonly code: string | undefined }
  | { readonly event: 'lost'; readonly who: string; readonly code: string | undefined }
  | { readonly event: 'said'; readonly who: string; readonly what: unknown }
  | { readonly event: 'items'; readonly count: number }
  | { readonly event: 'ended'; readonly code: string | undefined; readonly message: string }

const tell = (told: Told): void => { process.send?.(told) }
const options = JSON.parse(process.argv[2]) as Omit<NatsRelayOptions, 'topics'>
const me = options.node
const codeOf = (reason: unknown): string | undefined => (reason as { code?: string } | undefined)?.code

const commands = eventSource<Command>('commands', (sink) => {
  const take = (command: Command): void => { sink.fire(command) }
  process.on('message', take)
  return () => { process.off('message', take) }
})

let items = 0

// What has ended the relay is in the log; the program goes on.
subscribe(LOG_CHANNEL, (record) => {
  const { level, fields: { reason } } = record as LogRecord
  if (level !== 'error') return
  const { code, message } = reason as { code?: string, message: string }
  tell({ event: 'ended', code, message })
})

const vm = groundVm(() => [
  natsRelay({ ...options, topics: [says(_, _), item(_, _)] }),
  spawn(() => [
    endpoint.publisher(says(me, _)),
    endpoint.subscriber(says(_, _), {
      onPresence: ({ who }) => { if (who !== me) tell({ event: 'arrived', who }) },
      onAbsence: ({ who }, _state, reason) => {
        if (who !== me) tell({ event: 'departed', who, code: codeOf(reason) })
      },
      onMessage: ({ who, what }) => {
        if (who === me) return
        tell({ event: 'said', who, what: what instanceof Uint8Array ? what.length : what })
      },
    }),
    endpoint.subscriber(item(_, _), {
      onPresence: ({ node }) => { if (node !== me) tell({ event: 'items', count: ++items }) },
      onAbsence: ({ node }) => { if (node !== me) tell({ event: 'items', count: --items }) },
    }),
    endpoint.subscriber(relayNode(_), {
      onPresence: ({ node: who }) => { tell({ event: 'node', who }) },
      onAbsence: ({ node: who }, _state, reason) => { tell({ event: 'lost', who, code: codeOf(reason) }) },
    }),
    endpoint.subscriber([commands, _], {
      onMessage: ([, command]) => {
        if ('say' in command) return command.say.map((what) => sendMessage(says(me, what)))
        if ('flood' in command) {
          return Array.from({ length: command.flood }, () => sendMessage(says(me, new Uint8Array(command.bytes))))
        }
        if ('items' in command) {
          return spawn(() => Array.from({ length: command.items }, (_v, i) => endpoint.publisher(item(me, i))))
        }
        void vm.stop()
        return undefined
      },
    }),
  ], { name: 'member' }),
])
// Without its parent it has nothing to do.
process.once('disconnect', () => { process.exit() })
await vm
process.exit()
