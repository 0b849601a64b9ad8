/** The driver `webSocket`: WebSockets of browsers and others, and requests of HTTP on the same ports. */
import { asError } from '../support/errors.js'
import { spawnDriver } from '../vm/action.js'
import type { Action } from '../vm/index.js'
import { onePerVm } from './one-per-vm.js'
import { WebSocketDriver } from './web-socket-driver.js'
import { settingsOf, type WebSocketOptions } from './web-socket-options.js'

/**
 * Starts the driver: an action for the process that wants it in its VM.
 *
 * A subscriber to `wsChannel(_, wsListener(port, path), _)` listens; endpoints on
 * `wsChannel(wsHandle(id), wsAddress(url), _)`, or the other way, connect. Whoever subscribes to `httpRequest` handles
 * requests of HTTP that come to the same ports.
 *
 * @throws TypeError or RangeError when an option is unknown or wrong
 */
export function webSocket(options: WebSocketOptions = {}): Action {
  const settings = settingsOf('webSocket', options)
  return spawnDriver('webSocket', (setGuard) => {
    const driver = new WebSocketDriver(settings)
    setGuard((error, name, subject) => driver.broken(asError(error, 'the WebSocket driver failed'), name, subject))
    return [onePerVm('WebSocket driver', 'webSocket'), driver.boot()]
  })
}
