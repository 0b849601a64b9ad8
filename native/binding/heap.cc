// The one call to V8 that Node-API has no counterpart for, and one that it has none for, but means;
// see heap.h.
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

// With so many bytes of young ArrayBuffers V8 collects them; and a little more, as malloc maps
// memory of more than 32 MiB in any case, so that it is zero without being touched.
constexpr size_t young_max = size_t{33} * 1024 * 1024;

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
  constexpr int64_t bytes = young_max;
  napi_value large = nullptr;
  napi_value small = nullptr;
  int64_t total = 0;
  if (napi_create_arraybuffer(env, young_max, nullptr, &large) != napi_ok) {
    napi_value error = nullptr;
    napi_get_and_clear_last_exception(env, &error);
    return false;
  }
  // Before V8 looks, and never below what there was: the lowest total since the last collection of
  // the old generation is what it compares with.
  napi_adjust_external_memory(env, -bytes, &total);
  napi_create_arraybuffer(env, 1, nullptr, &small);
  napi_adjust_external_memory(env, bytes, &total);
  napi_detach_arraybuffer(env, large);
  return true;
}

}  // namespace marketplace::binding
