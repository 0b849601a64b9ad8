// Weak references to full slabs; see spent.h.
#include "spent.h"

#include <algorithm>

namespace marketplace::binding {

namespace {

// More external memory than V8 lets grow between two collections.
constexpr int64_t pressure = int64_t{4} << 30;

// Whether the program may still see the slab's memory.
bool reachable(napi_env env, napi_ref reference) {
  napi_value buffer = nullptr;
  void* data = nullptr;
  size_t length = 0;
  if (napi_get_reference_value(env, reference, &buffer) != napi_ok || buffer == nullptr) {
    return false;
  }
  // A detached one has passed its memory on.
  return napi_get_arraybuffer_info(env, buffer, &data, &length) == napi_ok && length > 0;
}

}  // namespace

void SpentSlabs::add(napi_env env, napi_ref reference, uint32_t size) {
  uint32_t count = 0;
  // Fails only while the environment ends.
  static_cast<void>(napi_reference_unref(env, reference, &count));
  slabs_.push_back(Spent{reference, size});
  bytes_ += size;
  if (slabs_.size() >= prune_at_) prune(env);
}

void SpentSlabs::prune(napi_env env) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  std::erase_if(slabs_, [&](const Spent& slab) {
    if (reachable(env, slab.reference)) return false;
    static_cast<void>(napi_delete_reference(env, slab.reference));
    bytes_ -= slab.size;
    return true;
  });
  prune_at_ = std::max(prune_min, 2 * slabs_.size());
  static_cast<void>(napi_close_handle_scope(env, scope));
}

void SpentSlabs::press(napi_env env) const {
  // V8 collects when it is told of that much, and forgets it again.
  int64_t total = 0;
  static_cast<void>(napi_adjust_external_memory(env, pressure, &total));
  static_cast<void>(napi_adjust_external_memory(env, -pressure, &total));
}

void SpentSlabs::release_all(napi_env env) {
  for (const Spent& slab : slabs_) static_cast<void>(napi_delete_reference(env, slab.reference));
  slabs_.clear();
  bytes_ = 0;
}

}  // namespace marketplace::binding
