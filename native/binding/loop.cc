// The engine's place in libuv's loop; see loop.h.
#include "loop.h"

#include <cerrno>
#include <new>
#include <string>
#include <utility>

namespace marketplace::binding {

namespace {

// What a turn may report beyond its limit: a few retired slabs and the like.
constexpr uint32_t records_headroom = 64;
// Microseconds. Longer, and what else the loop has to do would notice.
constexpr uint32_t busy_poll_max = 1000;

}  // namespace

Loop* Loop::create(napi_env env, napi_value options) {
  Loop* loop = new (std::nothrow) Loop(env);
  if (loop == nullptr) {
    static_cast<void>(napi_throw_error(env, "ENOMEM", "create: out of memory"));
    return nullptr;
  }
  if (loop->open(options)) return loop;
  loop->give_up();
  return nullptr;
}

bool Loop::open_limits(napi_value options, engine::Options& out) {
  napi_value value = nullptr;
  const auto bytes = [&](const char* name, size_t& limit) {
    double number = 0;
    if (napi_get_named_property(env(), options, name, &value) != napi_ok) return false;
    if (napi_get_value_double(env(), value, &number) != napi_ok || !(number >= 0)) return false;
    // Beyond exact integers there is only infinity.
    if (number < 0x1p53) limit = static_cast<size_t>(number);
    return true;
  };
  if (bytes("each", out.queued_max) && bytes("total", out.queued_total_max) &&
      napi_get_named_property(env(), options, "pauses", &value) == napi_ok &&
      napi_get_value_bool(env(), value, &out.overflow_pauses) == napi_ok) {
    return true;
  }
  static_cast<void>(napi_throw_type_error(env(), nullptr, "create: wrong limits"));
  return false;
}

bool Loop::open_engine(napi_value options) {
  napi_value value = nullptr;
  engine::Options engine_options;
  uint32_t backend = 0;
  uint32_t busy_poll_us = 0;
  bool poison = false;
  if (napi_get_named_property(env(), options, "closeTimeout", &value) != napi_ok ||
      napi_get_value_int64(env(), value, &engine_options.close_timeout_ms) != napi_ok ||
      napi_get_named_property(env(), options, "backend", &value) != napi_ok ||
      napi_get_value_uint32(env(), value, &backend) != napi_ok ||
      backend > static_cast<uint32_t>(engine::BackendName::io_uring) ||
      napi_get_named_property(env(), options, "busyPoll", &value) != napi_ok ||
      napi_get_value_uint32(env(), value, &busy_poll_us) != napi_ok ||
      busy_poll_us > busy_poll_max ||
      napi_get_named_property(env(), options, "reuseSlabs", &value) != napi_ok ||
      napi_get_value_bool(env(), value, &engine_options.reuses_slabs) != napi_ok ||
      napi_get_named_property(env(), options, "poisonSlabs", &value) != napi_ok ||
      napi_get_value_bool(env(), value, &poison) != napi_ok) {
    static_cast<void>(napi_throw_type_error(env(), nullptr, "create: wrong options"));
    return false;
  }
  if (!open_limits(options, engine_options) || !open_memory_limit(options)) return false;
  busy_poll_ = uint64_t{busy_poll_us} * 1000;
  // A turn that begins with less than this in hand ends with less than JavaScript takes at once;
  // one that begins with more (reports of `flush`) receives nothing. So what one turn received
  // always reaches JavaScript whole, before the program runs and can take away the slabs.
  engine_options.records_max = shared_.records_max() / 2 - records_headroom;
  engine_options.poisons_slabs |= poison;
  int result = 0;
  auto chosen = engine::choose_backend(static_cast<engine::BackendName>(backend), info_, result);
  if (chosen != nullptr) {
    engine_ = std::make_unique<engine::Engine>(std::move(chosen), engine_options);
    engine_->set_lender(shared_);
    result = engine_->open();
  }
  if (result == 0) return true;
  const std::string message = std::string("the engine can't be opened with the backend '") +
                              info_.requested + "': " + info_.reason;
  throw_errno(message.c_str(), result);
  return false;
}

bool Loop::open(napi_value options) {
  return shared_.open(env(), options) && open_engine(options) &&
         open_functions(options, "MARKETPLACE") && open_handles(engine_->descriptor());
}

void Loop::open_more(uv_loop_t* loop) {
  if (busy_poll_ == 0) return;
  uv_handle_t* handle = reinterpret_cast<uv_handle_t*>(&prepare_);
  static_cast<void>(uv_prepare_init(loop, &prepare_));
  static_cast<void>(uv_prepare_start(&prepare_, on_prepare));
  // It does nothing of its own, so that it is no reason to go on.
  uv_unref(handle);
  adopt(handle);
}

void Loop::on_turn(bool ready) {
  if (ready) engine_->acknowledge();
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env(), &scope) != napi_ok) return;
  const uint64_t start = uv_hrtime();
  shared_.begin_turn(*engine_);
  deliver(engine_->turn(), start);
  static_cast<void>(napi_close_handle_scope(env(), scope));
}

// What a turn brought goes to the program, and the program's answer to the kernel.
void Loop::deliver(int result, uint64_t start) {
  if (result < 0) return fail(result);
  // One iteration of Node's loop may have several turns, before it polls and while it does;
  // immediates run after all.
  uv_metrics_t metrics = {};
  static_cast<void>(uv_metrics_info(event_loop(), &metrics));
  shared_.set_iteration(metrics.loop_count);
  const uint32_t count = shared_.publish(engine_->records());
  if (count > 0) {
    lively_ = true;
    run_batch(count);
  }
  // The callback may have closed us.
  if (running()) execute();
  shared_.add_time(stat_kernel_time, uv_hrtime() - start - std::exchange(batch_time_, 0));
}

// The clock is read four times per turn, which costs a hundredth of the smallest one.
void Loop::run_batch(uint32_t count) {
  flush_time_ = 0;
  const uint64_t start = uv_hrtime();
  call_batch(count);
  batch_time_ = uv_hrtime() - start;
  // What it had executed early is not its own time.
  shared_.add_time(stat_js_time, batch_time_ - flush_time_);
}

void Loop::flush() {
  const uint64_t start = uv_hrtime();
  execute();
  const uint64_t time = uv_hrtime() - start;
  flush_time_ += time;
  shared_.add_time(stat_kernel_time, time);
}

void Loop::execute() {
  shared_.flush(*engine_);
  // What the flush brought about is the next turn's; the loop must not sleep before that.
  again(engine_->pending());
  hold(engine_->counters().queued_bytes > 0);
}

void Loop::drop_engine() {
  engine_.reset();
  shared_.drop_memory();
}

// A worker that is terminated may be in the middle of a turn.
void Loop::last_turn() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env(), &scope) != napi_ok) return;
  shared_.flush(*engine_);
  static_cast<void>(napi_close_handle_scope(env(), scope));
}

}  // namespace marketplace::binding
