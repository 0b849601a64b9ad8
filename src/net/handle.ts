/**
 * What a connected socket has as `_handle`: the few functions of libuv's handle that programs call.
 * Owns nothing.
 *
 * Node's native code does not take it for one of its own, as it has no `isStreamBase`.
 */

/** What it needs of its socket. */
export interface HandleOwner {
  readonly _nativeReferenced: boolean
  _nativeReadStop(): void
  _nativeReadStart(): void
  ref(): unknown
  unref(): unknown
}

export class SocketHandle {
  readonly #owner: HandleOwner

  constructor(owner: HandleOwner) {
    this.#owner = owner
  }

  /** Nothing is read of the kernel's socket any more, whatever the stream asks for. Returns 0, as libuv's. */
  readStop(): number {
    this.#owner._nativeReadStop()
    return 0
  }

  /** Goes on as the stream asks for. Returns 0, as libuv's. */
  readStart(): number {
    this.#owner._nativeReadStart()
    return 0
  }

  ref(): void {
    this.#owner.ref()
  }

  unref(): void {
    this.#owner.unref()
  }

  /** Whether it keeps the process alive. */
  hasRef(): boolean {
    return this.#owner._nativeReferenced
  }
}
