/**
 * The field's own axes inside the VM (external ones are in lib/series.ts): the programs that say that
 * they stand on one are its points.
 */
import type { Axis, MicroAxis } from '../lib/result.js'

const count = (title: string, unit: string): Axis => ({ title, unit, scale: 'log' })
const time = (title: string, unit = 'ns'): Axis => ({ title, unit, scale: 'log' })

export const axes: readonly MicroAxis[] = [
  {
    name: 'processes-message',
    title: 'cost of a routed message against processes, all visited in turn',
    x: count('processes in one VM', 'processes'),
    y: time('per message', 'ns/message'),
  },
  {
    name: 'processes-latency',
    title: 'round trip of one message between two processes against other processes',
    x: count('processes in one VM', 'processes'),
    y: time('round trip'),
  },
  {
    name: 'presence-observers',
    title: 'cost of a presence and its absence against observers',
    x: count('observers', 'observers'),
    y: time('coming and going of one endpoint', 'ns/change'),
  },
  {
    name: 'topics-message',
    title: "cost of a routed message against one process's distinct topics, all visited in turn",
    x: count('distinct topics', 'topics'),
    y: time('per message', 'ns/message'),
  },
  {
    name: 'nesting-message',
    title: 'cost of a message against the levels that it crosses',
    x: { title: 'levels of nesting', unit: 'levels', scale: 'linear' },
    y: { title: 'per message', unit: 'ns/message', scale: 'linear' },
  },
]
