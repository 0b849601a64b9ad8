// What a kernel interface must do for the engine, and what it tells the engine in return.
//
// The shape is that of completion: the backend asks for memory and says when it is filled, it is
// told what is wanted of a socket and says what came of it. Readiness (epoll) imitates that by
// doing the system calls itself; the reverse would leak who owns a buffer during a receive.
//
// Invariants: nothing is reported except from inside `turn` and `settle`; a socket that is gone is
// never reported again, because sockets are looked up by their key when their turn comes, and no
// key comes back.
#pragma once

#include <sys/types.h>
#include <sys/uio.h>

#include <cstdint>

#include "address.h"
#include "descriptor.h"
#include "slab.h"
#include "table.h"

namespace marketplace::engine {

// What is wanted of a socket; a set of bits.
constexpr uint8_t want_nothing = 0;
constexpr uint8_t want_receive = 1;   // fill memory (a listener: accept; datagrams: say so)
constexpr uint8_t want_send = 2;      // say when there is room to send
constexpr uint8_t want_hangup = 4;    // say when the connection is lost, without receiving
constexpr uint8_t want_discard = 8;   // throw away what arrives
constexpr uint8_t want_connect = 16;  // say when the attempt to connect has ended; alone

// A request to receive that stays with the kernel and completes each time that something arrives.
enum class Multishot : uint8_t { idle, armed, cancelled };

// What a socket is for.
enum class Kind : uint8_t { connection, listener, datagrams };

// A socket as a backend knows it: the part of each kind that it may touch.
struct Socket {
  explicit Socket(Kind of = Kind::connection) : kind(of) {}

  Descriptor descriptor;
  Key key = 0;
  uint32_t id = 0;
  const Kind kind;
  bool unix_domain = false;
  bool shared = false;   // others have, or may have, descriptors of the same kernel socket
  bool adopted = false;  // others have opened it, and may have further descriptors of it
  bool carries_descriptors = false;  // what arrives may: it is received in the way for that
  uint8_t wanted = want_nothing;
  // The backend's own: whether the kernel knows the socket, for what, and whether that is stale.
  bool attached = false;
  bool unsettled = false;
  uint32_t armed = 0;
  // The same, of a backend that serves some wants in another way than by readiness; see uring.h.
  uint8_t elsewhere = want_nothing;
  Multishot multishot = Multishot::idle;
  uint8_t bulk_score = 0;
  bool bulk = false;
  bool stashed = false;
  bool unbuffered = false;
};

// What came of reading datagrams: there were none, there were some, or the socket has to be served
// again in the next turn, for lack of memory.
enum class Served : uint8_t { nothing, some, again };

// What the engine does for, and hears from, the backend.
class BackendSink {
 public:
  virtual Socket* find(Key key) = 0;
  // Whether there is room for more reports in this turn. What is ready then waits for the next.
  virtual bool ready_for_more() const = 0;

  // A listener has a connection (whose descriptor the sink takes over), or failed to accept one
  // (negative errno). Returns whether to try for another.
  virtual bool accepted(Socket& listener, Descriptor descriptor, const Address& peer) = 0;
  virtual bool accept_failed(Socket& listener, int error) = 0;
  // The next connection of a listener: 0, or negative errno; -EAGAIN if there is none.
  virtual int accept(Socket& listener, Descriptor& out, Address& peer) = 0;
  // A connection attempt ended: 0 or negative errno.
  virtual void connected(Socket& socket, int result) = 0;
  // Memory for one receive; size 0 when there is none in this turn.
  virtual Memory memory_for(Socket& socket) = 0;
  // The memory was filled: bytes, 0 for FIN, or negative errno. Returns whether to go on.
  virtual bool received(Socket& socket, const Memory& memory, ssize_t result) = 0;
  // A socket for datagrams has some, or an error.
  virtual Served readable(Socket& socket) = 0;
  // What has arrived was thrown away (positive), or FIN (0) or an error (negative errno) came.
  virtual void discarded(Socket& socket, ssize_t result) = 0;
  // There is room for output.
  virtual void sendable(Socket& socket) = 0;
  // The connection is lost, and neither receiving nor sending would show it.
  virtual void hung_up(Socket& socket) = 0;
  // The backend can no longer watch the socket: negative errno.
  virtual void unwatchable(Socket& socket, int error) = 0;
  // The time given to `wake_at` has come.
  virtual void woken() = 0;
  // Receives what may carry descriptors into the memory: bytes, 0 for FIN, or negative errno.
  virtual ssize_t receive_carried(Socket& socket, const Memory& memory) = 0;

 protected:
  ~BackendSink() = default;
};

class Backend {
 public:
  virtual ~Backend() = default;

  // 0 or negative errno. Once it is open, a second call changes nothing.
  virtual int open() = 0;
  // A descriptor that is readable for as long as `turn` has something to do.
  virtual int descriptor() const = 0;
  // The host saw that the descriptor is readable, and is about to call `turn`.
  virtual void acknowledge() {}
  // After `settle`: `turn` has something to do although the descriptor may not say so.
  virtual bool pending() const { return false; }
  // Whether `turn` is called all the time, so that nobody has to be told by the descriptor.
  virtual void busy_poll(BackendSink&, bool) {}
  // From now on the host sleeps in `sleep`, which is to end when this descriptor of the host's is
  // readable, too; it does not look at the backend's own any more. 0 or negative errno.
  virtual int watch_host(int descriptor) = 0;
  // Until `turn` has something to do (then it returns 1), the host has, or so many milliseconds
  // have passed (-1: however many). Or negative errno. To be called after `settle`.
  virtual int sleep(int timeout_ms) = 0;
  // Whether the host's descriptor was readable, as far as `sleep` and `turn` have seen; once.
  virtual bool host_ready() = 0;
  // Takes effect at the next `settle`, so that a socket that changes its mind within a turn, or
  // dies in it, costs no system call.
  virtual void want(Socket& socket, uint8_t wanted) = 0;
  virtual void settle(BackendSink& sink) = 0;
  // The socket's descriptor is about to be closed.
  virtual void forget(Socket&) {}
  // Sends now what the kernel takes now: bytes or negative errno. After -EAGAIN, `want_send`.
  virtual ssize_t send(Socket& socket, const iovec* pieces, int count) = 0;
  // Whether so many sends to different sockets are better queued than sent one by one. The bytes,
  // not the list of pieces, have to stay until `send_queued`, which does all that is queued: its
  // results are those of `send`, in the order of the queue, and stay until the next `queue_send`.
  virtual bool batches(size_t) const { return false; }
  virtual void queue_send(Socket&, const iovec*, int) {}
  virtual const ssize_t* send_queued() { return nullptr; }
  // Asks for `woken` at a time of the monotonic clock, in milliseconds; 0 for never.
  virtual void wake_at(int64_t time_ms) = 0;
  // Reports what has happened since, within the limits of one turn. Never waits.
  // 0 or negative errno.
  virtual int turn(BackendSink& sink) = 0;
};

}  // namespace marketplace::engine
