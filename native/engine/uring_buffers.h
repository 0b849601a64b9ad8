// The memory that the kernel receives into: a few blocks of the engine's own, provided in a ring.
// What arrived is copied out of them at once, so that they stay few and warm in the cache, and no
// memory of the host's is ever in the kernel's hands.
//
// With incremental consumption (Linux 6.12) a block is filled by many receives, one after another;
// without it each receive takes a whole block, so that there are more and smaller ones.
//
// Invariants: every block is either provided, or has a completion that is not done yet; `free` is
// the number of those that the kernel may still choose.
#pragma once

#include <cstdint>
#include <vector>

#include "uring_ring.h"

namespace marketplace::engine::uring {

struct Received {
  const uint8_t* data = nullptr;
  uint32_t length = 0;
};

class ReceiveBuffers {
 public:
  static constexpr uint16_t group = 0;

  int open(const Ring& ring, bool incremental);
  bool incremental() const { return incremental_; }
  // The bytes of a completion. In the order of the completions, and each once: where a block's next
  // bytes begin follows from those before. A length beyond the block's end is refused.
  Received take(const Cqe& cqe);
  // They were copied: gives the block back if that was all of it.
  void done(const Cqe& cqe);
  // With none, a receive ends without having received.
  uint32_t free() const { return free_; }
  void leak();

 private:
  void provide(uint16_t id);
  bool used_up(const Cqe& cqe) const;

  bool incremental_ = false;
  uint32_t count_ = 0;
  uint32_t size_ = 0;
  uint32_t free_ = 0;
  uint16_t tail_ = 0;
  Mapping ring_memory_;
  Mapping memory_;
  std::vector<uint32_t> used_;
};

}  // namespace marketplace::engine::uring
