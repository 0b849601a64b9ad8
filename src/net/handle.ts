/**
 * What a connected socket has as `_handle`: the few functions of libuv's handle that programs call.
 * Owns nothing.
 *
 * Node's native code does not take it for one of its own, as it has no `isStreamBase`.
 */

/** What it needs of its socket. */
export interface HandleOwner {
  readonly _nativeReferenced: boolean
  readonly _nativeResource: { asyncId(): number }
  _nativeReadStop(): void
  _nativeReadStart(): void
  ref(): unknown
  unref(): unknown
}

export class SocketHandle {
  /** Whether the stream has it read: Node's `http` sets it to false where it stops a socket. */
  reading = true
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

  /** That of async_hooks, which Node's `http` asks for. */
  getAsyncId(): number {
    return this.#owner._nativeResource.asyncId()
  }

  /** Whether it keeps the process alive. */
  hasRef(): boolean {
    return this.#owner._nativeReferenced
  }
}
