/**
 * `marketplace-native/net`: the shape of `node:net` over the native engine. Where the engine can't be loaded
 * it is `node:net` itself, and says so once; with MARKETPLACE_NATIVE=off it is, and says nothing.
 *
 * Owns nothing: the names of exports.ts, the promises, and the default export, as `node:net` has one.
 */
import '../support/instance.js'
import * as names from './exports.js'
import * as promises from './promises.js'

export * from './exports.js'
export { promises }
/** All of it in one object, as `node:net` has it. @hidden */
export default { ...names, promises }
