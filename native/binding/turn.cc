// A turn of the engine: what happened goes to the program, and its answer to the kernel. And
// waiting for the next one awake instead of asleep, for a while. See loop.h.
#include <algorithm>
#include <utility>

#include "loop.h"

namespace marketplace::binding {

namespace {

// So many turns, and so many nanoseconds awake, before libuv has a turn of its own although nothing
// asks for it: some of its callbacks are for each of its turns.
constexpr int turns_max = 64;
constexpr uint64_t awake_max = 1'000'000;

}  // namespace

void Loop::on_ready(uv_poll_t* handle, int status, int) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (status < 0) return self->fail(status);
  self->turn(true);
}

void Loop::on_again(uv_idle_t* handle) {
  static_cast<Loop*>(handle->data)->turn(false);
}

void Loop::again(bool on) {
  // Then it is `rest` that looks whether there is.
  if (sleeps_ || on == again_) return;
  again_ = on;
  static_cast<void>(on ? uv_idle_start(&idle_, on_again) : uv_idle_stop(&idle_));
}

// `ready`: the engine's descriptor is, or else `again` is on.
void Loop::turn(bool ready) {
  if (ready) engine_->acknowledge();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  take_turn(uv_hrtime());
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

void Loop::take_turn(uint64_t start) {
  release_if_over();
  shared_.begin_turn(*engine_);
  deliver(engine_->turn(), start);
}

// A worker that is terminated may have a turn yet, which nobody would hear of: what an acceptor has
// for this engine is for others then.
void Loop::release_if_over() {
  if (!engine_->borrows()) return;
  napi_value receiver = nullptr;
  bool has = false;
  // The cheapest call that says whether JavaScript can run.
  const bool runs = napi_get_reference_value(env_, receiver_, &receiver) == napi_ok &&
                    napi_has_element(env_, receiver, 0, &has) == napi_ok;
  if (!runs) engine_->release_borrowed();
}

// What a turn brought goes to the program, and the program's answer to the kernel.
void Loop::deliver(int result, uint64_t start) {
  if (result < 0) return fail(result);
  // One iteration of Node's loop may have several turns, before it polls and while it does;
  // immediates run after all.
  uv_metrics_t metrics = {};
  static_cast<void>(uv_metrics_info(poll_.loop, &metrics));
  shared_.set_iteration(metrics.loop_count);
  const uint32_t count = shared_.publish(*engine_);
  if (count > 0) {
    lively_ = true;
    waits_.end(start);
    run_batch(count);
  }
  // The callback may have closed us.
  if (running()) execute();
  shared_.add_time(&Stats::kernel_time, uv_hrtime() - start - std::exchange(batch_time_, 0));
}

// The clock is read four times per turn, which costs a hundredth of the smallest one.
void Loop::run_batch(uint32_t count) {
  flush_time_ = 0;
  const uint64_t start = uv_hrtime();
  call_batch(count);
  batch_time_ = uv_hrtime() - start;
  // What it had executed early is not its own time.
  shared_.add_time(&Stats::js_time, batch_time_ - flush_time_);
}

void Loop::call_batch(uint32_t count) {
  bool more = true;
  for (; more && running(); count = 0) {
    // Of its own for each entry: a batch may take thousands of them.
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
    napi_value argument = nullptr;
    more = napi_create_uint32(env_, count, &argument) == napi_ok && call(on_batch_, 1, &argument);
    static_cast<void>(napi_close_handle_scope(env_, scope));
  }
}

// An exception goes where one from any callback of Node's goes: to 'uncaughtException'.
bool Loop::call(napi_ref function, size_t count, const napi_value* arguments) {
  napi_value receiver = nullptr;
  napi_value callee = nullptr;
  napi_value result = nullptr;
  if (napi_get_reference_value(env_, receiver_, &receiver) != napi_ok) return false;
  if (napi_get_reference_value(env_, function, &callee) != napi_ok) return false;
  const napi_status status =
      napi_make_callback(env_, context_, receiver, callee, count, arguments, &result);
  if (status == napi_ok) {
    bool more = false;
    // What is no boolean is no wish to be called again.
    return napi_get_value_bool(env_, result, &more) == napi_ok && more;
  }
  // Any other failure means that the environment is about to end and cannot run JavaScript.
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) != napi_ok || !pending) return false;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env_, &exception) != napi_ok) return false;
  static_cast<void>(napi_fatal_exception(env_, exception));
  return true;
}

void Loop::flush() {
  const uint64_t start = uv_hrtime();
  execute();
  const uint64_t time = uv_hrtime() - start;
  flush_time_ += time;
  shared_.add_time(&Stats::kernel_time, time);
}

void Loop::execute() {
  shared_.flush(*engine_);
  // What the flush brought about is the next turn's; the loop must not sleep before that.
  again(engine_->pending());
  hold(engine_->queued_bytes() > 0);
}

void Loop::on_prepare(uv_prepare_t* handle) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (self->prepared_at_ != 0) self->note_delay();
  // Active from the last `rest` until here.
  if (self->sleeps_) static_cast<void>(uv_idle_stop(&self->idle_));
  // Only after something has happened: an idle server sleeps.
  const bool lively = std::exchange(self->lively_, false);
  if (lively && self->busy_poll_ > 0 && self->spinning_pays()) self->spin();
  if (self->sleeps_ && self->running()) self->rest();
}

void Loop::watch_delay() {
  const bool wanted = engine_->minds_delay();
  if (wanted == (prepared_at_ != 0)) return;
  prepared_at_ = 0;
  if (!wanted) return;
  // Node has asked for it already, for eventLoopUtilization; it cannot fail.
  static_cast<void>(uv_loop_configure(poll_.loop, UV_METRICS_IDLE_TIME));
  slept_ = uv_metrics_idle_time(poll_.loop);
  prepared_at_ = uv_hrtime();
  static_cast<void>(uv_prepare_start(&prepare_, on_prepare));
}

// How long the loop was at work since it was about to sleep the last time: whoever came right after
// that has waited for so long.
void Loop::note_delay() {
  if (!engine_->minds_delay()) {
    prepared_at_ = 0;
    return;
  }
  const uint64_t now = uv_hrtime();
  const uint64_t slept = uv_metrics_idle_time(poll_.loop);
  const uint64_t passed = now - std::exchange(prepared_at_, now);
  const uint64_t sleep = slept - std::exchange(slept_, slept);
  constexpr uint64_t millisecond = 1'000'000;
  const uint64_t delay = passed > sleep ? passed - sleep : 0;
  engine_->note_delay(static_cast<int64_t>(delay / millisecond));
}

bool Loop::spinning_pays() {
  if (!adapts_) return true;
  waits_.begin(uv_hrtime());
  return waits_.are_short();
}

// libuv is about to sleep until one of its descriptors is ready. To go to sleep and to be woken
// costs more than to look a few times, if the answer to what was just sent is near.
void Loop::spin() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  uint64_t now = uv_hrtime();
  const uint64_t latest = now + busy_poll_;
  uint64_t end = spin_end(latest);
  engine_->busy_poll(true);
  shared_.count_spin();
  shared_.begin_turn(*engine_);
  while (now < end) {
    release_if_over();
    const int result = engine_->turn();
    if (result < 0 || !engine_->records().empty()) {
      deliver(result, now);
      if (result < 0 || !running()) break;
      shared_.begin_turn(*engine_);
      end = spin_end(latest);
      now = uv_hrtime();
      waits_.begin(now);
    } else {
      engine_->flush();
      now = uv_hrtime();
    }
  }
  if (running()) {
    engine_->busy_poll(false);
    // What has come since is the next turn's. After a spin with events, the next one follows as
    // soon as libuv has looked at its other descriptors.
    again(engine_->pending() || lively_);
    hold(engine_->queued_bytes() > 0);
    // Its notion of the time is from before: it would sleep too long.
    uv_update_time(poll_.loop);
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// When the spin has to end: not later than `latest`, and at once if there is other work.
uint64_t Loop::spin_end(uint64_t latest) {
  // What the engine has left to do is done in the spin.
  again(false);
  const int timeout_ms = uv_backend_timeout(poll_.loop);
  if (timeout_ms < 0) return latest;
  if (timeout_ms == 0) return 0;
  // Relative to when the loop last looked at the clock.
  const uint64_t due_ms = uv_now(poll_.loop) + static_cast<uint64_t>(timeout_ms);
  return std::min(latest, due_ms * 1'000'000);
}

// libuv would sleep now: the engine does so instead, and has its turns, until libuv's descriptors,
// its timers or its other work ask for a turn of libuv's own.
void Loop::rest() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  uint64_t awake = 0;
  // Between two spins libuv has its turn.
  const int turns = busy_poll_ > 0 ? 1 : turns_max;
  const bool spins_on = busy_poll_ > 0 && lively_;
  int timeout_ms = uv_backend_timeout(poll_.loop);
  if (spins_on || engine_->host_ready()) timeout_ms = 0;
  for (int i = 0; i < turns && awake < awake_max; i++) {
    // The engine's own work is no reason for libuv's turn.
    const int result = sleep(engine_->pending() ? 0 : timeout_ms);
    const uint64_t start = uv_hrtime();
    if (result < 0) {
      fail(result);
      break;
    }
    if (result > 0 || engine_->pending()) take_turn(start);
    if (!running()) break;
    // Its notion of the time is from before.
    uv_update_time(poll_.loop);
    if (engine_->host_ready() || timeout_ms == 0) break;
    timeout_ms = uv_backend_timeout(poll_.loop);
    if (timeout_ms == 0) break;
    awake += uv_hrtime() - start;
  }
  // Neither closed nor failed. What the last turn brought about comes before what libuv has, as it
  // does where libuv sleeps.
  const auto goes_on = [this] { return uv_is_active(plain(&prepare_)) != 0; };
  if (goes_on() && engine_->pending()) take_turn(uv_hrtime());
  if (goes_on()) look_only();
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// Until the next `rest` libuv doesn't sleep: nobody would hear of the engine's sockets.
void Loop::look_only() {
  static_cast<void>(uv_idle_start(&idle_, [](uv_idle_t*) {}));
}

// As Engine::sleep.
int Loop::sleep(int timeout_ms) {
  if (timeout_ms == 0) return engine_->sleep(0);
  sleep_time_.begin(uv_hrtime());
  const int result = engine_->sleep(timeout_ms);
  sleep_time_.end(uv_hrtime());
  return result;
}

}  // namespace marketplace::binding
