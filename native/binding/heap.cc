// The one call to V8 that Node-API has no counterpart for; see heap.h.
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

}  // namespace marketplace::binding
