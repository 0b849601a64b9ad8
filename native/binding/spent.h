// Slabs that are full: only the program's views keep them alive from here on. How many bytes that
// is, is known by weak references, which cost nothing until somebody looks.
//
// Invariants: `bytes` is never less than what is reachable; it is more by what became unreachable
// since the last look, which is before the list grows to more than twice of what was reachable
// then.
#pragma once

#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <vector>

namespace marketplace::binding {

class SpentSlabs {
 public:
  // Takes over a strong reference to an ArrayBuffer of that size, and makes it a weak one.
  void add(napi_env env, napi_ref reference, uint32_t size);
  // Forgets what was collected, or is no longer there for another reason.
  void prune(napi_env env);
  // Has the garbage collector look for slabs that nothing refers to any more. Takes as long as a
  // full collection does.
  void press(napi_env env) const;
  size_t bytes() const { return bytes_; }
  void release_all(napi_env env);

 private:
  static constexpr size_t prune_min = 64;

  struct Spent {
    napi_ref reference;
    uint32_t size;
  };
  std::vector<Spent> slabs_;
  size_t bytes_ = 0;
  size_t prune_at_ = prune_min;
};

}  // namespace marketplace::binding
