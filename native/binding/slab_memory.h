// The memory that slabs are made of: ArrayBuffers on blocks of a pool, which come back to it when
// V8 has freed them.
//
// Owns the pool. Invariants: a block is held by the ArrayBuffer's memory, wherever that was
// transferred to within its environment, and by whoever has claimed it here; only when both let go
// it is used again. The end of an environment takes its ArrayBuffers' memory away, even from
// another thread that it was transferred to: where that can be, this must not be used.
// src/transport/native/receive-memory.ts decides it.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <optional>

#include "../engine/block_pool.h"

namespace marketplace::binding {

class SlabMemory {
 public:
  // Before anything else. `idle_max`: bytes that may wait to be used again; 0: nothing is made
  // here.
  void limit(size_t idle_max);

  // A new ArrayBuffer. nullptr: there is no such memory here, or no environment any more.
  napi_value make(napi_env env, size_t size);
  // The block that the last ArrayBuffer was made of, if it begins here: the caller holds it, too.
  engine::BlockPool::Block claim(const uint8_t* base);
  // As the pool's: to be called from time to time after `make`, until it says false.
  bool settle() { return pool_.has_value() && pool_->settle(); }
  size_t idle() const { return pool_.has_value() ? pool_->idle() : 0; }
  // What is idle goes to the system, and what comes back later, too.
  void close();

 private:
  std::optional<engine::BlockPool> pool_;
  engine::BlockPool::Block made_;
};

}  // namespace marketplace::binding
