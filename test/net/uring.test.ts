/**
 * The tests of sockets beside this one that depend on when the kernel is asked for what, on io_uring: each file
 * in a process of its own, where the other tests run on epoll.
 */
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { patient } from '../support/patience.js'
import { missingVariant } from '../support/variants.js'
import { passesOn } from './other-backend.js'

const FILES = ['connect', 'context', 'edges', 'es5', 'onread']
const PATIENCE = patient(60_000)

const skip = missingVariant('native io_uring')

t.jobs = 2
for (const file of FILES) {
  void t.test(`${file} on io_uring`, { skip, timeout: PATIENCE }, async (t) => {
    await passesOn(t, fileURLToPath(new URL(`${file}.test.js`, import.meta.url)), 'io_uring')
  })
}
