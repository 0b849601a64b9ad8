/**
 * The door to what looks after the heap, for sockets that no transport has: theirs make the same garbage. Owns nothing.
 */
export { socketsChanged } from './native/heap-trimmer.js'
