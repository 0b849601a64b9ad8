// Connections that somebody else has accepted, on their way to this engine: a queue in memory that
// an acceptor, on a thread of its own, puts them into, and a listener takes them out of.
//
// Both sides map the memory and have descriptors of their own, so either may end first. A
// descriptor in the queue is the acceptor's until it was taken out; what is left in it when the
// taker has ended, or is not to be waited for, goes back to the acceptor.
//
// Invariants: one side only puts, the other only takes; but the acceptor may take back, and each is
// whose `taken` goes up first; `gone` never counts a connection that was not taken; after
// `released` is set nothing is taken any more.
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
  // Connections that were taken and have ended.
  std::atomic<uint32_t> gone;
  // Whether the taker wants connections at present.
  std::atomic<uint32_t> open;
  // The taker has ended.
  std::atomic<uint32_t> released;
  alignas(64) std::atomic<uint32_t> put;
  // The acceptor waits for room, or for somebody who wants connections: it is to be woken.
  std::atomic<uint32_t> starved;
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

// The taker's side.
class Inlet {
 public:
  Inlet() = default;
  Inlet(const Inlet&) = delete;
  Inlet& operator=(const Inlet&) = delete;
  ~Inlet() { release(); }

  // The memory, and the eventfd that wakes the acceptor. 0 or negative errno; both descriptors stay
  // the caller's.
  int open(int memory, int acceptor);
  // Whether connections are wanted.
  void want(bool wanted);
  // The next one, or -EAGAIN; then `eventfd` is not readable until there is one.
  int take(int eventfd, Descriptor& out, Address& peer);
  // One that was taken is no more.
  void left() { memory_->gone.fetch_add(1, std::memory_order_release); }
  // Nothing is taken from now on.
  void release();

 private:
  void tell_starved();

  InletMapping memory_;
  Descriptor acceptor_;
  bool released_ = true;
};

}  // namespace marketplace::engine
