/**
 * The messages of the in-VM benchmarks: packets between addresses, as a TCP driver sends them. An
 * address is one object, made once, that every packet of its connection carries.
 */
import { defineRecord, type RecordFrom } from 'marketplace-native'

export const address = defineRecord('bench-address', ['host', 'port']).of<[string, number]>()
export type Address = RecordFrom<typeof address>

export const packet = defineRecord('bench-packet', ['source', 'destination', 'body']).of<
  [unknown, unknown, number]
>()

export const says = defineRecord('bench-says', ['user', 'line']).of<[string, string]>()

/** As many different addresses; each call makes new ones. */
export function makeAddresses(count: number): Address[] {
  return Array.from({ length: count }, (_none, i) => {
    return address(`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`, 1024 + (i % 60000))
  })
}

export const here = address('127.0.0.1', 5999)
