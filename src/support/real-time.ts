/**
 * The timers and the clock as they were when the package was loaded. Tests of programs put fakes in the place of
 * the global ones; sockets go on nevertheless, as Node's own do, which have internal ones.
 *
 * For sockets only: what a program sees as time, such as the timer driver, has the global ones. Owns nothing.
 */
export const {
  clearImmediate, clearInterval, clearTimeout, performance, queueMicrotask, setImmediate, setInterval, setTimeout,
} = globalThis
