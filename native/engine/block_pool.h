// Memory for slabs that is used again, with the pages that it already has: memory from the system
// costs a page fault for each few of them, in which the kernel clears them.
//
// Owns blocks of memory and which of them are idle. Invariants: a block is idle, or somebody holds
// it, or it is the system's again; it comes back when the last holder lets go, on whatever thread
// that is, and also after the pool has ended: then the system gets it. Idle blocks are at most the
// limit. They are not cleared: what was received into them is still there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace marketplace::engine {

class BlockPool {
 public:
  // Who has a copy of it holds the block, which begins at a page.
  using Block = std::shared_ptr<uint8_t>;

  // Bytes that may be idle.
  explicit BlockPool(size_t idle_max);

  // The block of this size that became idle last, as it is the warmest in the cache; otherwise a
  // new one. Empty: the system has no memory.
  Block take(size_t size);

  // To be called from time to time after `take`, until it says false: nothing is idle, and nothing
  // is wanted. Gives the system half of what was idle all the time since the last call. When no
  // block was taken since then, it gives all of it, in steps, and blocks that come back are not
  // kept.
  bool settle();

  size_t idle() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace marketplace::engine
