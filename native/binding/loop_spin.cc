// Busy polling: waiting for the next event awake instead of asleep, for a while; see loop.h.
//
// Invariants: one spin lasts no longer than the option says, plus the turn that it ends with; it
// ends when a timer is due or anything else of the loop's wants to run; between two spins libuv
// looks at all its other descriptors.
#include <algorithm>

#include "loop.h"

namespace marketplace::binding {

void Loop::on_prepare(uv_prepare_t* handle) {
  Loop* self = static_cast<Loop*>(static_cast<Hosted*>(handle->data));
  // Only after something has happened: an idle server sleeps.
  if (self->lively_) self->spin();
}

// libuv is about to sleep until one of its descriptors is ready. To go to sleep and to be woken
// costs more than to look a few times, if the answer to what was just sent is near.
void Loop::spin() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env(), &scope) != napi_ok) return;
  uint64_t now = uv_hrtime();
  const uint64_t latest = now + busy_poll_;
  uint64_t end = spin_end(latest);
  lively_ = false;
  engine_->busy_poll(true);
  shared_.begin_turn(*engine_);
  while (now < end) {
    const int result = engine_->turn();
    if (result < 0 || !engine_->records().empty()) {
      deliver(result, now);
      if (result < 0 || !running()) break;
      shared_.begin_turn(*engine_);
      end = spin_end(latest);
    } else {
      engine_->flush();
    }
    now = uv_hrtime();
  }
  if (running()) {
    engine_->busy_poll(false);
    // What has come since is the next turn's. After a spin with events, the next one follows as
    // soon as libuv has looked at its other descriptors.
    again(engine_->pending() || lively_);
    hold(engine_->counters().queued_bytes > 0);
    // Its notion of the time is from before: it would sleep too long.
    uv_update_time(event_loop());
  }
  static_cast<void>(napi_close_handle_scope(env(), scope));
}

// When the spin has to end: not later than `latest`, and at once if there is other work.
uint64_t Loop::spin_end(uint64_t latest) {
  // What the engine has left to do is done in the spin.
  again(false);
  const int timeout_ms = uv_backend_timeout(event_loop());
  if (timeout_ms < 0) return latest;
  if (timeout_ms == 0) return 0;
  // Relative to when the loop last looked at the clock.
  const uint64_t due_ms = uv_now(event_loop()) + static_cast<uint64_t>(timeout_ms);
  return std::min(latest, due_ms * 1'000'000);
}

}  // namespace marketplace::binding
