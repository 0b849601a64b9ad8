// The engine's place in libuv's loop; see loop.h.
#include "loop.h"

#include <cerrno>
#include <new>
#include <string>
#include <utility>

#include "malloc.h"

namespace marketplace::binding {

namespace {

// What a turn may report beyond its limit: a few retired slabs and the like.
constexpr uint32_t records_headroom = 64;
// Microseconds. Longer, and what else the loop has to do would notice.
constexpr uint32_t busy_poll_max = 1000;

bool function_reference(napi_env env, napi_value options, const char* name, napi_ref& out) {
  napi_value value = nullptr;
  napi_valuetype type = napi_undefined;
  return napi_get_named_property(env, options, name, &value) == napi_ok &&
         napi_typeof(env, value, &type) == napi_ok && type == napi_function &&
         napi_create_reference(env, value, 1, &out) == napi_ok;
}

void throw_errno(napi_env env, const char* what, int error) {
  static_cast<void>(napi_throw_error(env, uv_err_name(error), what));
}

}  // namespace

Loop* Loop::create(napi_env env, napi_value options) {
  Loop* loop = new (std::nothrow) Loop(env);
  if (loop == nullptr) {
    throw_errno(env, "create: out of memory", -ENOMEM);
    return nullptr;
  }
  if (loop->open(options)) return loop;
  // Nothing of libuv is open when `open` fails.
  loop->release_references();
  loop->unref();
  return nullptr;
}

bool Loop::open_limits(napi_value options, engine::Options& out) {
  napi_value value = nullptr;
  const auto bytes = [&](const char* name, size_t& limit) {
    double number = 0;
    if (napi_get_named_property(env_, options, name, &value) != napi_ok) return false;
    if (napi_get_value_double(env_, value, &number) != napi_ok || !(number >= 0)) return false;
    // Beyond exact integers there is only infinity.
    if (number < 0x1p53) limit = static_cast<size_t>(number);
    return true;
  };
  if (bytes("each", out.queued_max) && bytes("total", out.queued_total_max) &&
      napi_get_named_property(env_, options, "pauses", &value) == napi_ok &&
      napi_get_value_bool(env_, value, &out.overflow_pauses) == napi_ok) {
    return true;
  }
  static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong limits"));
  return false;
}

bool Loop::open_engine(napi_value options) {
  napi_value value = nullptr;
  engine::Options engine_options;
  uint32_t backend = 0;
  uint32_t busy_poll_us = 0;
  bool poison = false;
  if (napi_get_named_property(env_, options, "closeTimeout", &value) != napi_ok ||
      napi_get_value_int64(env_, value, &engine_options.close_timeout_ms) != napi_ok ||
      napi_get_named_property(env_, options, "backend", &value) != napi_ok ||
      napi_get_value_uint32(env_, value, &backend) != napi_ok ||
      backend > static_cast<uint32_t>(engine::BackendName::io_uring) ||
      napi_get_named_property(env_, options, "busyPoll", &value) != napi_ok ||
      napi_get_value_uint32(env_, value, &busy_poll_us) != napi_ok ||
      busy_poll_us > busy_poll_max ||
      napi_get_named_property(env_, options, "reuseSlabs", &value) != napi_ok ||
      napi_get_value_bool(env_, value, &engine_options.reuses_slabs) != napi_ok ||
      napi_get_named_property(env_, options, "poisonSlabs", &value) != napi_ok ||
      napi_get_value_bool(env_, value, &poison) != napi_ok ||
      !function_reference(env_, options, "onBatch", on_batch_) ||
      !function_reference(env_, options, "onClosed", on_closed_)) {
    static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong options"));
    return false;
  }
  if (!open_limits(options, engine_options)) return false;
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
  throw_errno(env_, message.c_str(), result);
  return false;
}

bool Loop::open(napi_value options) {
  keep_freed_memory();
  if (!shared_.open(env_, options) || !open_engine(options)) return false;
  napi_value name = nullptr;
  napi_value receiver = nullptr;
  if (napi_create_string_utf8(env_, "MARKETPLACE", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_object(env_, &receiver) != napi_ok ||
      napi_create_reference(env_, receiver, 1, &receiver_) != napi_ok ||
      napi_async_init(env_, receiver, name, &context_) != napi_ok) {
    return false;
  }
  return open_handles();
}

bool Loop::open_handles() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  int result = uv_poll_init(loop, &poll_, engine_->descriptor());
  if (result < 0) {
    throw_errno(env_, "create: the event loop refuses the engine", result);
    return false;
  }
  // From here on something is open, so that failure means to close, not to delete. What can still
  // fail, fails only for a bad argument or while the environment ends.
  poll_.data = this;
  idle_.data = this;
  prepare_.data = this;
  static_cast<void>(uv_idle_init(loop, &idle_));
  static_cast<void>(uv_prepare_init(loop, &prepare_));
  open_handles_ = 3;
  references_++;
  // It does nothing of its own, so that it is no reason to go on.
  uv_unref(reinterpret_cast<uv_handle_t*>(&prepare_));
  if (busy_poll_ > 0) static_cast<void>(uv_prepare_start(&prepare_, on_prepare));
  result = uv_poll_start(&poll_, UV_READABLE, on_ready);
  if (result == 0 && napi_add_async_cleanup_hook(env_, on_teardown, this, &hook_) == napi_ok) {
    return true;
  }
  close();
  throw_errno(env_, "create: the event loop refuses the engine", result);
  return false;
}

void Loop::unref() {
  if (--references_ == 0) delete this;
}

void Loop::on_ready(uv_poll_t* handle, int status, int) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (status < 0) return self->fail(status);
  self->engine_->acknowledge();
  self->turn();
}

void Loop::on_again(uv_idle_t* handle) {
  static_cast<Loop*>(handle->data)->turn();
}

void Loop::turn() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  const uint64_t start = uv_hrtime();
  shared_.begin_turn(*engine_);
  deliver(engine_->turn(), start);
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// What a turn brought goes to the program, and the program's answer to the kernel.
void Loop::deliver(int result, uint64_t start) {
  if (result < 0) return fail(result);
  const uint32_t count = shared_.publish(engine_->records());
  napi_value argument = nullptr;
  if (count > 0 && napi_create_uint32(env_, count, &argument) == napi_ok) {
    lively_ = true;
    run_batch(argument);
  }
  // The callback may have closed us.
  if (running()) execute();
  shared_.add_time(stat_kernel_time, uv_hrtime() - start - std::exchange(batch_time_, 0));
}

// The clock is read four times per turn, which costs a hundredth of the smallest one.
void Loop::run_batch(napi_value count) {
  flush_time_ = 0;
  const uint64_t start = uv_hrtime();
  call(on_batch_, 1, &count);
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
  // What the flush brought about is the next turn's; the loop must not sleep before that. An idle
  // handle does it without a system call.
  again(engine_->pending());
}

void Loop::again(bool on) {
  if (on == again_) return;
  again_ = on;
  static_cast<void>(on ? uv_idle_start(&idle_, on_again) : uv_idle_stop(&idle_));
}

void Loop::keep_alive(bool on) {
  for (uv_handle_t* handle :
       {reinterpret_cast<uv_handle_t*>(&poll_), reinterpret_cast<uv_handle_t*>(&idle_)}) {
    if (on) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }
}

// An exception goes where one from any callback of Node's goes: to 'uncaughtException'.
void Loop::call(napi_ref function, size_t count, const napi_value* arguments) {
  napi_value receiver = nullptr;
  napi_value callee = nullptr;
  if (napi_get_reference_value(env_, receiver_, &receiver) != napi_ok) return;
  if (napi_get_reference_value(env_, function, &callee) != napi_ok) return;
  const napi_status status =
      napi_make_callback(env_, context_, receiver, callee, count, arguments, nullptr);
  if (status == napi_ok) return;
  // Any other failure means that the environment is about to end and cannot run JavaScript.
  bool pending = false;
  if (napi_is_exception_pending(env_, &pending) != napi_ok || !pending) return;
  napi_value exception = nullptr;
  if (napi_get_and_clear_last_exception(env_, &exception) != napi_ok) return;
  static_cast<void>(napi_fatal_exception(env_, exception));
}

// The engine itself is broken, which no argument can bring about: loudly, and without spinning.
void Loop::fail(int error) {
  static_cast<void>(uv_poll_stop(&poll_));
  static_cast<void>(uv_prepare_stop(&prepare_));
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value exception = nullptr;
  if (napi_create_string_utf8(env_, uv_err_name(error), NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env_, "marketplace: the engine's event loop failed", NAPI_AUTO_LENGTH,
                              &message) == napi_ok &&
      napi_create_error(env_, code, message, &exception) == napi_ok) {
    static_cast<void>(napi_fatal_exception(env_, exception));
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

void Loop::close() {
  if (state_ != State::running) return;
  state_ = State::closing;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), on_handle_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), on_handle_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&prepare_), on_handle_closed);
}

void Loop::on_handle_closed(uv_handle_t* handle) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (--self->open_handles_ == 0) self->closed();
}

void Loop::closed() {
  state_ = State::closed;
  engine_.reset();
  if (!teardown_) {
    napi_handle_scope scope = nullptr;
    if (napi_open_handle_scope(env_, &scope) == napi_ok) {
      call(on_closed_, 0, nullptr);
      release_references();
      static_cast<void>(napi_close_handle_scope(env_, scope));
    }
  }
  if (hook_ != nullptr) static_cast<void>(napi_remove_async_cleanup_hook(hook_));
  hook_ = nullptr;
  unref();
}

// The environment ends: references go while it is still there, the rest when libuv has let go.
void Loop::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  Loop* self = static_cast<Loop*>(data);
  self->teardown_ = true;
  self->release_references();
  self->close();
}

void Loop::release_references() {
  shared_.release_all(env_);
  for (napi_ref* reference : {&on_batch_, &on_closed_, &receiver_}) {
    if (*reference != nullptr) static_cast<void>(napi_delete_reference(env_, *reference));
    *reference = nullptr;
  }
  if (context_ != nullptr) static_cast<void>(napi_async_destroy(env_, context_));
  context_ = nullptr;
}

}  // namespace marketplace::binding
