/**
 * `marketplace-native/tls`: the shape of `node:tls` over TLS in the native engine. Where the engine can't be loaded, or
 * has no TLS, it is `node:tls` itself, and says so once.
 *
 * Owns nothing: the names of exports.ts, and the default export, as `node:tls` has one.
 */
import '../support/instance.js'
import * as names from './exports.js'

export * from './exports.js'
// By their names, too: tools that check the types of CommonJS look for some.
export { connect, createServer } from './exports.js'
/** All of it in one object, as `node:tls` has it. @hidden */
export default { ...names }
