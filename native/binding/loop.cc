// Life and death of an engine on libuv's loop; see loop.h. What a turn does is in turn.cc.
#include "loop.h"

#include <new>
#include <string>

#include "options.h"

namespace marketplace::binding {

namespace {

// What a turn may report beyond its limit: a few retired slabs and the like.
constexpr uint32_t records_headroom = 64;
// Microseconds. Longer, and what else the loop has to do would notice.
constexpr uint32_t busy_poll_max = 1000;
// Milliseconds: longer than garbage is left lying when so much is received that it matters.
constexpr uint64_t settle_period = 2000;
// What a timer that never runs has for a period, if an engine sleeps: no timer has that by chance.
constexpr uint64_t sleeper_mark = 0x6d61726b6574706c;

bool function_reference(napi_env env, napi_value options, const char* name, napi_ref& out) {
  napi_value value = nullptr;
  napi_valuetype type = napi_undefined;
  return napi_get_named_property(env, options, name, &value) == napi_ok &&
         napi_typeof(env, value, &type) == napi_ok && type == napi_function &&
         napi_create_reference(env, value, 1, &out) == napi_ok;
}

}  // namespace

void Loop::throw_errno(const std::string& what, int error) const {
  static_cast<void>(napi_throw_error(env_, uv_err_name(error), what.c_str()));
}

Loop* Loop::create(napi_env env, napi_value options) {
  Loop* loop = new (std::nothrow) Loop(env);
  if (loop == nullptr) {
    static_cast<void>(napi_throw_error(env, "ENOMEM", "create: out of memory"));
    return nullptr;
  }
  if (loop->open(options)) return loop;
  // If something of libuv is open, it is closing by now and has a reference of its own.
  if (loop->open_handles_ == 0) loop->release_references();
  loop->unref();
  return nullptr;
}

bool Loop::open(napi_value options) {
  return shared_.open(env_, options) && open_engine(options) && open_functions(options) &&
         open_handles();
}

bool Loop::open_engine(napi_value options) {
  engine::Options engine_options;
  uint32_t backend = 0;
  uint32_t busy_poll_us = 0;
  uint32_t idle_max = 0;
  bool poison = false;
  const Properties from(env_, options);
  if (!from.number("backend", backend) ||
      backend > static_cast<uint32_t>(engine::BackendName::io_uring) ||
      !from.number("busyPoll", busy_poll_us) || busy_poll_us > busy_poll_max ||
      !from.flag("busyPollAdapts", adapts_) || !from.flag("sleeps", sleeps_) ||
      !from.flag("reuseSlabs", engine_options.reuses_slabs) || !from.flag("poisonSlabs", poison) ||
      !from.number("idleMemoryMax", idle_max)) {
    static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong options"));
    return false;
  }
  memory_.limit(idle_max);
  busy_poll_ = uint64_t{busy_poll_us} * 1000;
  waits_ = engine::Waits(busy_poll_);
  // A turn that begins with less than this in hand ends with less than JavaScript takes at once;
  // one that begins with more (reports of `flush`) receives nothing. So what one turn received
  // always reaches JavaScript whole, before the program runs and can take away the slabs.
  engine_options.marks_max = shared_.marks_max();
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
  throw_errno(std::string("the engine can't be opened with the backend '") + info_.requested +
                  "': " + info_.reason,
              result);
  return false;
}

bool Loop::open_functions(napi_value options) {
  if (!function_reference(env_, options, "onBatch", on_batch_) ||
      !function_reference(env_, options, "onClosed", on_closed_)) {
    static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong callbacks"));
    return false;
  }
  napi_value name = nullptr;
  napi_value receiver = nullptr;
  return napi_create_string_utf8(env_, "MARKETPLACE", NAPI_AUTO_LENGTH, &name) == napi_ok &&
         napi_create_object(env_, &receiver) == napi_ok &&
         napi_create_reference(env_, receiver, 1, &receiver_) == napi_ok &&
         napi_async_init(env_, receiver, name, &context_) == napi_ok;
}

bool Loop::open_handles() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  int result = uv_poll_init(loop, &poll_, engine_->descriptor());
  if (result == 0) {
    // From here on something is open, so that failure means to close, not to delete. What can still
    // fail, fails only for a bad argument or while the environment ends.
    static_cast<void>(uv_idle_init(loop, &idle_));
    static_cast<void>(uv_prepare_init(loop, &prepare_));
    static_cast<void>(uv_timer_init(loop, &settle_));
    static_cast<void>(uv_timer_init(loop, &mark_));
    handles_ = {plain(&poll_), plain(&idle_), plain(&prepare_), plain(&settle_), plain(&mark_)};
    for (uv_handle_t* handle : handles_) handle->data = this;
    open_handles_ = handles_.size();
    references_++;
    // To spin, or to give memory back, is no reason to go on.
    uv_unref(plain(&prepare_));
    uv_unref(plain(&settle_));
    sleeps_ = sleeps_ && may_sleep(loop);
    if (sleeps_) result = engine_->watch_host(uv_backend_fd(loop));
    if (sleeps_) look_only();
    if (!sleeps_) result = uv_poll_start(&poll_, UV_READABLE, on_ready);
    if (busy_poll_ > 0 || sleeps_) static_cast<void>(uv_prepare_start(&prepare_, on_prepare));
    refer();
    if (result == 0 && napi_add_async_cleanup_hook(env_, on_teardown, this, &hook_) == napi_ok) {
      return true;
    }
    close();
  }
  throw_errno("the event loop refuses the engine", result);
  return false;
}

// Only one engine can: it does not hear of the others' sockets but by libuv's descriptor. There may
// be two copies of this addon.
bool Loop::may_sleep(uv_loop_t* loop) {
  bool taken = false;
  uv_walk(
      loop,
      [](uv_handle_t* handle, void* data) {
        if (uv_handle_get_type(handle) != UV_TIMER || uv_is_closing(handle) != 0) return;
        const uv_timer_t* timer = reinterpret_cast<const uv_timer_t*>(handle);
        if (uv_timer_get_repeat(timer) == sleeper_mark) *static_cast<bool*>(data) = true;
      },
      &taken);
  if (taken || !sleep_time_.find(loop)) return false;
  uv_timer_set_repeat(&mark_, sleeper_mark);
  info_.features.push_back("sleep in the engine");
  return true;
}

void Loop::unref() {
  if (--references_ == 0) delete this;
}

napi_value Loop::make_memory(size_t size) {
  napi_value buffer = memory_.make(env_, size);
  if (buffer != nullptr && uv_is_active(plain(&settle_)) == 0) {
    static_cast<void>(uv_timer_start(&settle_, on_settle, settle_period, settle_period));
  }
  return buffer;
}

void Loop::on_settle(uv_timer_t* handle) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (!self->memory_.settle()) static_cast<void>(uv_timer_stop(handle));
}

void Loop::keep_alive(bool on) {
  wanted_ = on;
  refer();
}

void Loop::hold(bool on) {
  if (on == held_) return;
  held_ = on;
  refer();
}

void Loop::refer() {
  for (uv_handle_t* handle : {sleeps_ ? plain(&prepare_) : plain(&poll_), plain(&idle_)}) {
    if (wanted_ || held_) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }
}

void Loop::fail(int error) {
  static_cast<void>(uv_poll_stop(&poll_));
  static_cast<void>(uv_prepare_stop(&prepare_));
  static_cast<void>(uv_idle_stop(&idle_));
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value exception = nullptr;
  if (napi_create_string_utf8(env_, uv_err_name(error), NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env_, "marketplace: the event loop of the engine failed",
                              NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_error(env_, code, message, &exception) == napi_ok) {
    static_cast<void>(napi_fatal_exception(env_, exception));
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

void Loop::close() {
  if (state_ != State::running) return;
  state_ = State::closing;
  for (uv_handle_t* handle : handles_) uv_close(handle, on_handle_closed);
}

void Loop::on_handle_closed(uv_handle_t* handle) {
  Loop* self = static_cast<Loop*>(handle->data);
  if (--self->open_handles_ == 0) self->closed();
}

void Loop::closed() {
  state_ = State::closed;
  // The engine first, and then the memory that it used.
  engine_.reset();
  shared_.drop_memory();
  memory_.close();
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

// The environment ends: references go while it is still there, the rest when libuv has let go. A
// worker that is terminated may be in the middle of a turn: what was to be done at its end is done
// now.
void Loop::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  Loop* self = static_cast<Loop*>(data);
  self->teardown_ = true;
  napi_handle_scope scope = nullptr;
  if (self->running()) self->engine_->release_borrowed();
  if (self->running() && napi_open_handle_scope(self->env_, &scope) == napi_ok) {
    self->shared_.flush(*self->engine_);
    static_cast<void>(napi_close_handle_scope(self->env_, scope));
  }
  self->release_references();
  self->close();
}

// Those to JavaScript's memory and functions go while there still is an environment.
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
