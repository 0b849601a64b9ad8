/**
 * What a connected socket has as `_handle`: the few functions of libuv's handle that programs call.
 * Owns nothing.
 *
 * Node's native code does not take it for one of its own, as it has no `isStreamBase`.
 */
import type { NetSocket } from './net-socket.js'

export class SocketHandle {
  /** Whether the stream has it read: Node's `http` sets it to false where it stops a socket. */
  reading = true
  #closed = false

  /** @param owner its socket */
  constructor(readonly owner: NetSocket) {}

  /** Nothing is read of the kernel's socket any more, whatever the stream asks for. Returns 0, as libuv's. */
  readStop(): number {
    this.owner._nativeReader.stop()
    return 0
  }

  /** Goes on as the stream asks for. Returns 0, as libuv's. */
  readStart(): number {
    this.owner._nativeReader.start()
    return 0
  }

  /** Returns 0, as libuv's. */
  setNoDelay(on: boolean): number {
    this.owner._nativeLink?.setNoDelay(on)
    return 0
  }

  /** Times are seconds. Returns 0, as libuv's. */
  setKeepAlive(on: boolean, delay: number, interval?: number, count?: number): number {
    this.owner._nativeLink?.setKeepAlive(on, delay, interval, count)
    return 0
  }

  ref(): void {
    this.owner.ref()
  }

  unref(): void {
    this.owner.unref()
  }

  /** That of async_hooks, which Node's `http` asks for. */
  getAsyncId(): number {
    return this.owner._nativeResource.asyncId()
  }

  /**
   * Closes the connection under the socket, which notices it at its next write, with EBADF.
   *
   * @param callback called in a later phase; of the first call only, as libuv's
   */
  close(callback?: () => void): void {
    if (this.#closed) return
    this.#closed = true
    this.owner._nativeHandleClose(() => { callback?.call(this) })
  }

  get closed(): boolean {
    return this.#closed
  }

  /** The kernel's number, so that a child process can have the socket as its `stdio`. */
  get fd(): number {
    return this.owner.fd ?? -1
  }

  /** Whether it keeps the process alive. */
  hasRef(): boolean {
    return this.owner._nativeReader.referenced && !this.#closed
  }
}
