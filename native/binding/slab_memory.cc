// ArrayBuffers on blocks of a pool; see slab_memory.h.
#include "slab_memory.h"

#include <utility>

namespace marketplace::binding {

namespace {

using engine::BlockPool;

// The ArrayBuffer's share of a block.
struct Holder {
  BlockPool::Block block;
};

void let_go(napi_env, void*, void* hint) {
  delete static_cast<Holder*>(hint);
}

}  // namespace

void SlabMemory::limit(size_t idle_max) {
  if (idle_max > 0) pool_.emplace(idle_max);
}

napi_value SlabMemory::make(napi_env env, size_t size) {
  if (!pool_.has_value()) return nullptr;
  BlockPool::Block block = pool_->take(size);
  if (block == nullptr) return nullptr;
  napi_value buffer = nullptr;
  Holder* holder = new Holder{block};
  const napi_status status =
      napi_create_external_arraybuffer(env, block.get(), size, let_go, holder, &buffer);
  if (status == napi_ok) {
    made_ = std::move(block);
    return buffer;
  }
  // Some embedders have no memory from outside of V8's own: not now, and not later.
  if (status == napi_no_external_buffers_allowed) {
    delete holder;
    pool_.reset();
  } else {
    // The environment ends, and nobody says whether `let_go` will be called.
    holder->block.reset();
  }
  return nullptr;
}

BlockPool::Block SlabMemory::claim(const uint8_t* base) {
  BlockPool::Block block = std::move(made_);
  made_.reset();
  return block.get() == base ? block : BlockPool::Block{};
}

void SlabMemory::close() {
  made_.reset();
  pool_.reset();
}

}  // namespace marketplace::binding
