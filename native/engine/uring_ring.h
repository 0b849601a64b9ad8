// One io_uring: its descriptor, its shared memory, and the three system calls. No policy.
//
// The ring runs its work only when it is entered (DEFER_TASKRUN), by the one thread that opened it
// (SINGLE_ISSUER): between two calls of `enter` the kernel touches neither completions nor buffers.
//
// Invariants: what `prepare` returned is complete before the next call; functions that can fail
// return negative errno; completions are seen in the order in which the kernel made them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "descriptor.h"
#include "uring_abi.h"

namespace marketplace::engine::uring {

// Memory from mmap, given back when it goes.
class Mapping {
 public:
  Mapping() = default;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  int map(size_t size, int descriptor, uint64_t offset);
  int allocate(size_t size);
  // Leaves it mapped for ever: somebody may still write there.
  void leak() { base_ = nullptr; }
  uint8_t* base() const { return base_; }
  template <typename Type>
  Type* at(uint32_t offset) const {
    return reinterpret_cast<Type*>(base_ + offset);
  }

 private:
  int keep(void* memory, size_t size);

  uint8_t* base_ = nullptr;
  size_t size_ = 0;
};

// The system call `io_uring_enter`, without what the engine never gives it: a result, or -1 and
// errno. Tests put theirs in its place.
using EnterCall = long (*)(int ring, uint32_t count, uint32_t flags, const WaitArgument* wait);
long enter_call(int ring, uint32_t count, uint32_t flags, const WaitArgument* wait);

class Ring {
 public:
  explicit Ring(EnterCall call = enter_call) : call_(call) {}

  int open(uint32_t entries, uint32_t completions);
  bool is_open() const { return descriptor_.valid(); }
  void close() { descriptor_.reset(); }
  int add(uint32_t operation, const void* argument, uint32_t count) const;
  bool supports(Opcode opcode) const;

  // Room for one submission, zeroed; nullptr when the queue is full: `enter` first.
  Sqe* prepare();
  uint32_t prepared() const { return sq_local_ - sq_submitted_; }
  // Submits what is prepared; with `run`, also lets the kernel do the work that waits. -EAGAIN: the
  // kernel has no memory for all of it at present, or was interrupted; what it did not take stays
  // prepared.
  int enter(bool run);
  // Submits what is prepared, and sleeps until there is a completion, for so many milliseconds at
  // most (-1: however many). 0 or negative errno, -ETIME and -EINTR among them.
  int sleep(int timeout_ms);
  // Only that work, and gives the completions that there was no room for.
  int work();
  // What is prepared, and may still be changed.
  template <typename Visitor>
  void each_prepared(Visitor visit) {
    for (uint32_t at = sq_submitted_; at != sq_local_; at++) visit(sqes_.at<Sqe>(0)[at & sq_mask_]);
  }

  // The next completion, or nullptr.
  const Cqe* peek() const;
  void pop();
  // Something can be had by `enter(true)`.
  bool work_waits() const;
  // Completions wait for room, which `enter(true)` gives them.
  bool overflowed() const;
  // Whether completions are to signal the registered eventfd. They are at first.
  void quiet(bool on);

 private:
  EnterCall call_;
  Descriptor descriptor_;
  Mapping rings_;
  Mapping sqes_;
  uint32_t* sq_head_ = nullptr;
  uint32_t* sq_tail_ = nullptr;
  uint32_t* sq_flags_ = nullptr;
  uint32_t* cq_head_ = nullptr;
  uint32_t* cq_tail_ = nullptr;
  uint32_t* cq_flags_ = nullptr;
  const Cqe* cqes_ = nullptr;
  uint32_t sq_mask_ = 0;
  uint32_t cq_mask_ = 0;
  uint32_t sq_local_ = 0;
  uint32_t sq_submitted_ = 0;
};

}  // namespace marketplace::engine::uring
