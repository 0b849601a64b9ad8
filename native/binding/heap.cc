// What Node-API has no call for: one of V8's own, and what makes V8 do another one by itself; see
// heap.h.
#include "heap.h"

#include <dlfcn.h>

#include <cstddef>

namespace marketplace::binding {

namespace {

// v8::Isolate::TryGetCurrent, and v8::Isolate::MemoryPressureNotification with its
// v8::MemoryPressureLevel. They are looked up when they are wanted, by the names that they have had
// since 2015 and 2021: the addon goes on without them, and is no other one for each version of V8.
constexpr char current_name[] = "_ZN2v87Isolate13TryGetCurrentEv";
constexpr char notification_name[] =
    "_ZN2v87Isolate26MemoryPressureNotificationENS_19MemoryPressureLevelE";
using Current = void* (*)();
using Notification = void (*)(void* isolate, int level);
// Not `critical`, which collects at once, and all of it in one go.
constexpr int moderate = 1;

// V8 collects young garbage when young ArrayBuffers have 32 MiB together, or 128 in Node 24. Each
// of ours has a little more than 32, as malloc maps that in any case, so that it is zero without
// being touched; and not all that is wanted, as V8 begins to collect everything when 64 come at
// once.
constexpr size_t large_size = size_t{33} * 1024 * 1024;
constexpr size_t large_most = 4;

// False if there is no room for it.
bool make_buffer(napi_env env, size_t size, napi_value& out) {
  if (napi_create_arraybuffer(env, size, nullptr, &out) == napi_ok) return true;
  napi_value error = nullptr;
  static_cast<void>(napi_get_and_clear_last_exception(env, &error));
  return false;
}

// A weak reference to an object that nothing else refers to: it tells of a collection. Null when
// there is none to be had.
napi_ref make_garbage(napi_env env) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return nullptr;
  napi_value object = nullptr;
  napi_ref weak = nullptr;
  if (napi_create_object(env, &object) == napi_ok) napi_create_reference(env, object, 0, &weak);
  napi_close_handle_scope(env, scope);
  return weak;
}

bool is_collected(napi_env env, napi_ref weak) {
  napi_value object = nullptr;
  return napi_get_reference_value(env, weak, &object) == napi_ok && object == nullptr;
}

}  // namespace

bool shrink_heap() {
  const auto current = reinterpret_cast<Current>(dlsym(RTLD_DEFAULT, current_name));
  const auto notification = reinterpret_cast<Notification>(dlsym(RTLD_DEFAULT, notification_name));
  if (current == nullptr || notification == nullptr) return false;
  void* isolate = current();
  if (isolate == nullptr) return false;
  notification(isolate, moderate);
  return true;
}

bool collect_young(napi_env env) {
  constexpr int64_t bytes = large_size;
  napi_ref garbage = make_garbage(env);
  if (garbage == nullptr) return false;
  napi_value large[large_most] = {};
  size_t made = 0;
  int64_t total = 0;
  bool collected = false;
  while (!collected && made < large_most && make_buffer(env, large_size, large[made])) {
    made += 1;
    // Before V8 looks, and never below what there was: the lowest total since the last collection
    // of the old generation is what it compares with.
    napi_adjust_external_memory(env, -bytes, &total);
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env, &scope) != napi_ok) break;
    napi_value small = nullptr;
    // A handle to the garbage goes with its scope: with one, the next collection would spare it.
    collected = make_buffer(env, 1, small) && is_collected(env, garbage);
    napi_close_handle_scope(env, scope);
  }
  for (size_t i = 0; i < made; ++i) {
    napi_adjust_external_memory(env, bytes, &total);
    napi_detach_arraybuffer(env, large[i]);
  }
  napi_delete_reference(env, garbage);
  return collected;
}

}  // namespace marketplace::binding
