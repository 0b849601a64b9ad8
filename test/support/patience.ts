/**
 * How long a test may wait for something that has to happen. Owns the one factor by which all time limits of
 * tests grow on a busy machine; `scripts/test-files.mjs` sets it from the load at the begin of a run.
 */
const factor = Math.max(1, Number(process.env['MARKETPLACE_PATIENCE']) || 1)

/** @param milliseconds that are plenty on a machine with nothing else to do */
export function patient(milliseconds: number): number {
  return milliseconds * factor
}
