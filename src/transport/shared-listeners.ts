/**
 * Listeners that several threads share: the door to the acceptor, for the thread that has the listeners, and to who
 * lends them, for those that borrow. Native only. Owns nothing.
 */
export {
  Acceptor, NO_ANSWER, RouteAnswer, type AcceptorListener, type RouteQuestion, type WorkerConnections,
} from './native/acceptor.js'
export { loadNative } from './native/addon.js'
export { threadMetrics } from './native/engine.js'
export {
  endThread, onThreadEnd, ownListener, setLender, type Lender, type Loan, type LoanRequest,
} from './native/loan.js'
