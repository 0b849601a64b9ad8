/**
 * Names of endpoints for drivers, whose endpoints come and go with each connection: a name that no more than one
 * process uses, for one endpoint at a time, and that is found by itself. Owns nothing.
 */
export class Label {
  /** Its `Endpoint`, while there is one; only endpoint-table.ts has to do with it. */
  labelled: object | undefined = undefined
}
