// Connections that somebody else has accepted, on their way to this engine: a queue in memory that
// an acceptor, on a thread of its own, puts them into, and a listener takes them out of. Beside
// that the listener may have a listening socket of the acceptor's, of which it accepts by itself.
//
// Both sides map the memory and have descriptors of their own, so either may end first. A
// descriptor in the queue is the acceptor's until it was taken out; what is left in it when the
// taker has ended, or is not to be waited for, goes back to the acceptor.
//
// Connections may outlive their listener: as long as there are any, its end of this is kept, so
// that they are counted.
//
// Invariants: one side only puts, the other only takes; but the acceptor may take back, and each is
// whose `taken` goes up first; `gone` never counts a connection that was not taken; after
// `released` is set nothing is taken any more; once `own` is 0 nothing is accepted by the taker
// that was not about to be.
#pragma once

#include <atomic>
#include <cstdint>

#include "address.h"
#include "descriptor.h"

namespace marketplace::engine {

constexpr uint32_t inlet_capacity = 512;

// What both sides see.
struct InletMemory {
  struct Entry {
    int32_t descriptor;
    // Of a peer on a Unix socket only the family is told.
    uint32_t length;
    sockaddr_in6 peer;
  };

  // Numbers that go up for ever; their difference is what is in the queue.
  alignas(64) std::atomic<uint32_t> taken;
  // Connections that were taken, or accepted by the taker itself, and have ended.
  std::atomic<uint32_t> gone;
  // Connections that the taker has accepted by itself.
  std::atomic<uint32_t> accepted;
  // Whether the taker wants connections at present.
  std::atomic<uint32_t> open;
  // The taker has ended.
  std::atomic<uint32_t> released;
  alignas(64) std::atomic<uint32_t> put;
  // The acceptor waits for room, or for somebody who wants connections: it is to be woken.
  std::atomic<uint32_t> starved;
  // Whether the taker may accept by itself: otherwise the acceptor does it.
  std::atomic<uint32_t> own;
  alignas(64) Entry entries[inlet_capacity];
};

static_assert(std::atomic<uint32_t>::is_always_lock_free, "it is shared between threads as it is");

// The memory, mapped.
class InletMapping {
 public:
  InletMapping() = default;
  InletMapping(const InletMapping&) = delete;
  InletMapping& operator=(const InletMapping&) = delete;
  ~InletMapping();
  // 0 or negative errno.
  int map(int descriptor);
  InletMemory* operator->() const { return memory_; }

 private:
  InletMemory* memory_ = nullptr;
};

// Makes the memory: its descriptor, or negative errno.
int make_inlet_memory(Descriptor& out);

// Makes the eventfd readable. It fails only where it is readable already.
void wake(int eventfd);

// How the taker is woken: a pipe, of which what was written means nothing but that. No eventfd, as
// the taker's io_uring watches it and has an eventfd to wake the host: from within the wake-up of
// one eventfd the kernel signals no other one, but later, and Linux 6.18 then lost it.
int make_pipe(Descriptor& reading, Descriptor& writing);
// Makes the pipe readable. It fails only where it is readable already.
void tell(int writing);

// What a taker needs of the acceptor's, to be duplicated.
struct InletDescriptors {
  int memory = -1;
  // Readable when something was put: a pipe's end.
  int told = -1;
  // Wakes the acceptor.
  int acceptor = -1;
  // A listening socket, of which the taker accepts by itself; -1: it has none.
  int socket = -1;
};

// The taker's side.
class Inlet {
 public:
  Inlet() = default;
  Inlet(const Inlet&) = delete;
  Inlet& operator=(const Inlet&) = delete;
  // Connections that there are yet are counted no longer.
  ~Inlet();

  // `watched` is readable when there may be a connection; it is to live as long as this. 0 or
  // negative errno.
  int open(const InletDescriptors& theirs, Descriptor& watched);
  // Whether connections are wanted.
  void want(bool wanted);
  // The next one, or -EAGAIN; then what is watched is not readable until there is one. Other errors
  // are those of accepting by itself.
  int next(Descriptor& out, Address& peer);
  // The listening socket of which it accepts by itself, or -1.
  int socket() const { return socket_.get(); }
  // One that it had is no more.
  void left();
  // How many it has.
  uint32_t live() const { return live_; }
  // Nothing is taken from now on.
  void release();

 private:
  int watch(Descriptor& watched);
  int next_of_both(Descriptor& out, Address& peer);
  int take(Descriptor& out, Address& peer);
  int accept_own(Descriptor& out, Address& peer);
  void drop_socket();
  void empty_pipe();
  void tell_starved();

  InletMapping memory_;
  Descriptor told_;
  Descriptor acceptor_;
  Descriptor socket_;
  // What is watched, where there is a socket of its own: both descriptors are in this epoll.
  int epoll_ = -1;
  uint32_t live_ = 0;
  bool released_ = true;
};

}  // namespace marketplace::engine
