/**
 * Whether tests take all of their cases, or those that show most in a short time: `npm test` does the latter.
 * Everything else takes all of them: `npm run test:long`, `npm test -- NAMES`, and a test file that is run by itself.
 */

/** Whether this is `npm test`. */
export const quick = process.env['MARKETPLACE_QUICK'] === '1'

/** For the option `skip` of a test that `npm test` leaves out. */
export const unlessQuick: string | false = quick ? 'npm run test:long has it' : false
