// See sleep_time.h.
#include "sleep_time.h"

#include <atomic>
#include <cstring>

namespace marketplace::binding {

namespace {

// How libuv's own description of a loop begins, from 1.45 on.
struct Internals {
  unsigned int flags;
  uv_metrics_t metrics;
  uint64_t since;
  uint64_t total;
};

constexpr uint64_t second = 1'000'000'000;

void store(uint64_t* place, uint64_t value) {
  std::atomic_ref<uint64_t>(*place).store(value, std::memory_order_release);
}

// Whether a change there is a change of what libuv says.
bool is_total(uv_loop_t* loop, Internals& at) {
  const uint64_t before = at.total;
  store(&at.total, before + second);
  const bool yes = uv_metrics_idle_time(loop) == before + second;
  store(&at.total, before);
  return yes && uv_metrics_idle_time(loop) == before;
}

bool is_since(uv_loop_t* loop, Internals& at) {
  const uint64_t now = uv_hrtime();
  store(&at.since, now - second);
  const uint64_t said = uv_metrics_idle_time(loop) - at.total;
  const uint64_t later = uv_hrtime();
  store(&at.since, 0);
  return said >= second && said <= second + (later - now) && uv_metrics_idle_time(loop) == at.total;
}

}  // namespace

bool SleepTime::find(uv_loop_t* loop) {
  uv_metrics_t metrics = {};
  if (loop->internal_fields == nullptr || uv_metrics_info(loop, &metrics) != 0) return false;
  Internals& at = *static_cast<Internals*>(loop->internal_fields);
  if (std::memcmp(&at.metrics, &metrics, sizeof(metrics)) != 0) return false;
  if (at.since != 0 || at.total != uv_metrics_idle_time(loop)) return false;
  if (!is_total(loop, at) || !is_since(loop, at)) return false;
  // Where nobody has asked for it, it is not counted.
  if ((at.flags & UV_METRICS_IDLE_TIME) == 0) return true;
  since_ = &at.since;
  total_ = &at.total;
  return true;
}

void SleepTime::begin(uint64_t now) {
  if (since_ != nullptr) store(since_, now);
}

void SleepTime::end(uint64_t now) {
  if (since_ == nullptr) return;
  const uint64_t slept = now - *since_;
  store(since_, 0);
  store(total_, *total_ + slept);
}

}  // namespace marketplace::binding
