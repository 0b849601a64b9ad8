import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect } from 'node:net'
import { test } from 'node:test'
import { serve } from './server.js'

/** Starts the server on any free port. */
const started = () => new Promise((resolve, reject) => {
  const vm = serve(0, (port) => resolve({ vm, port }))
  vm.catch(reject)
})

test('what is sent comes back', async () => {
  const { vm, port } = await started()
  try {
    const client = connect(port, '127.0.0.1')
    client.write('hello')
    const [answer] = await once(client, 'data')
    assert.equal(answer.toString(), 'hello')
    client.destroy()
  } finally {
    await vm.stop()
  }
})
