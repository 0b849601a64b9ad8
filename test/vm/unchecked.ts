/** The package as plain JavaScript sees it: any arguments go, to see what is said at run time. */
import * as api from 'marketplace-native'

// eslint-disable-next-line @typescript-eslint/no-explicit-any -- anything goes in, and fits anywhere
type Unchecked = (...args: any[]) => never

const unchecked = (f: unknown): Unchecked => f as Unchecked

export const addEndpoint = unchecked(api.addEndpoint)
export const atMetaLevel = unchecked(api.atMetaLevel)
export const defineRecord = unchecked(api.defineRecord)
export const eventSource = unchecked(api.eventSource)
export const groundVm = unchecked(api.groundVm)
export const kill = unchecked(api.kill)
export const lineSource = unchecked(api.lineSource)
export const nestedVm = unchecked(api.nestedVm)
export const publisherOf = unchecked(api.endpoint.publisher)
export const endpoint = { subscriber: unchecked(api.endpoint.subscriber), publisher: publisherOf }
export const role = unchecked(api.role)
export const sendMessage = unchecked(api.sendMessage)
export const sequence = unchecked(api.sequence)
export const spawn = unchecked(api.spawn)
export const transition = unchecked(api.transition)
export const wild = unchecked(api.wild)
export const yieldTurn = unchecked(api.yieldTurn)
export const EventSource = api.EventSource as unknown as new (...args: unknown[]) => unknown
export const _ = api._
export type { ActionTree } from 'marketplace-native'
