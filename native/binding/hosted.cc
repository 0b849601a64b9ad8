// Life and death of an engine on libuv's loop; see hosted.h.
#include "hosted.h"

#include <string>

namespace marketplace::binding {

namespace {

// Milliseconds: longer than garbage is left lying when so much is received that it matters.
constexpr uint64_t settle_period = 2000;

bool function_reference(napi_env env, napi_value options, const char* name, napi_ref& out) {
  napi_value value = nullptr;
  napi_valuetype type = napi_undefined;
  return napi_get_named_property(env, options, name, &value) == napi_ok &&
         napi_typeof(env, value, &type) == napi_ok && type == napi_function &&
         napi_create_reference(env, value, 1, &out) == napi_ok;
}

}  // namespace

void Hosted::throw_errno(const char* what, int error) const {
  static_cast<void>(napi_throw_error(env_, uv_err_name(error), what));
}

bool Hosted::open_functions(napi_value options, const char* resource) {
  if (!function_reference(env_, options, "onBatch", on_batch_) ||
      !function_reference(env_, options, "onClosed", on_closed_)) {
    static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong callbacks"));
    return false;
  }
  napi_value name = nullptr;
  napi_value receiver = nullptr;
  return napi_create_string_utf8(env_, resource, NAPI_AUTO_LENGTH, &name) == napi_ok &&
         napi_create_object(env_, &receiver) == napi_ok &&
         napi_create_reference(env_, receiver, 1, &receiver_) == napi_ok &&
         napi_async_init(env_, receiver, name, &context_) == napi_ok;
}

bool Hosted::open_memory_limit(napi_value options) {
  napi_value value = nullptr;
  uint32_t idle_max = 0;
  if (napi_get_named_property(env_, options, "idleMemoryMax", &value) == napi_ok &&
      napi_get_value_uint32(env_, value, &idle_max) == napi_ok) {
    memory_.limit(idle_max);
    return true;
  }
  static_cast<void>(napi_throw_type_error(env_, nullptr, "create: wrong idleMemoryMax"));
  return false;
}

bool Hosted::open_handles(int descriptor) {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  int result = uv_poll_init(loop, &poll_, descriptor);
  if (result == 0) {
    // From here on something is open, so that failure means to close, not to delete. What can still
    // fail, fails only for a bad argument or while the environment ends.
    static_cast<void>(uv_idle_init(loop, &idle_));
    static_cast<void>(uv_timer_init(loop, &settle_));
    // To give memory back is no reason to go on.
    uv_unref(reinterpret_cast<uv_handle_t*>(&settle_));
    adopt(reinterpret_cast<uv_handle_t*>(&poll_));
    adopt(reinterpret_cast<uv_handle_t*>(&idle_));
    adopt(reinterpret_cast<uv_handle_t*>(&settle_));
    open_more(loop);
    for (size_t i = 0; i < handle_count_; i++) handles_[i]->data = this;
    open_handles_ = handle_count_;
    references_++;
    result = uv_poll_start(&poll_, UV_READABLE, on_ready);
    if (result == 0 && napi_add_async_cleanup_hook(env_, on_teardown, this, &hook_) == napi_ok) {
      return true;
    }
    close();
  }
  const std::string message = std::string("the event loop refuses ") + name_;
  throw_errno(message.c_str(), result);
  return false;
}

void Hosted::give_up() {
  // If something of libuv is open, it is closing by now and has a reference of its own.
  if (open_handles_ == 0) release_references();
  unref();
}

void Hosted::unref() {
  if (--references_ == 0) delete this;
}

void Hosted::on_ready(uv_poll_t* handle, int status, int) {
  Hosted* self = static_cast<Hosted*>(handle->data);
  if (status < 0) return self->fail(status);
  self->on_turn(true);
}

void Hosted::on_again(uv_idle_t* handle) {
  static_cast<Hosted*>(handle->data)->on_turn(false);
}

napi_value Hosted::make_memory(size_t size) {
  napi_value buffer = memory_.make(env_, size);
  if (buffer != nullptr && uv_is_active(reinterpret_cast<uv_handle_t*>(&settle_)) == 0) {
    static_cast<void>(uv_timer_start(&settle_, on_settle, settle_period, settle_period));
  }
  return buffer;
}

void Hosted::on_settle(uv_timer_t* handle) {
  Hosted* self = static_cast<Hosted*>(handle->data);
  if (!self->memory_.settle()) static_cast<void>(uv_timer_stop(handle));
}

void Hosted::again(bool on) {
  if (on == again_) return;
  again_ = on;
  static_cast<void>(on ? uv_idle_start(&idle_, on_again) : uv_idle_stop(&idle_));
}

void Hosted::keep_alive(bool on) {
  wanted_ = on;
  refer();
}

void Hosted::hold(bool on) {
  if (on == held_) return;
  held_ = on;
  refer();
}

void Hosted::refer() {
  const bool on = wanted_ || held_;
  for (uv_handle_t* handle :
       {reinterpret_cast<uv_handle_t*>(&poll_), reinterpret_cast<uv_handle_t*>(&idle_)}) {
    if (on) {
      uv_ref(handle);
    } else {
      uv_unref(handle);
    }
  }
}

void Hosted::call_batch(uint32_t count) {
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
bool Hosted::call(napi_ref function, size_t count, const napi_value* arguments) {
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

void Hosted::fail(int error) {
  static_cast<void>(uv_poll_stop(&poll_));
  again(false);
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  const std::string text = std::string("marketplace: the event loop of ") + name_ + " failed";
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value exception = nullptr;
  if (napi_create_string_utf8(env_, uv_err_name(error), NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env_, text.c_str(), text.size(), &message) == napi_ok &&
      napi_create_error(env_, code, message, &exception) == napi_ok) {
    static_cast<void>(napi_fatal_exception(env_, exception));
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

void Hosted::close() {
  if (state_ != State::running) return;
  state_ = State::closing;
  for (size_t i = 0; i < handle_count_; i++) uv_close(handles_[i], on_handle_closed);
}

void Hosted::on_handle_closed(uv_handle_t* handle) {
  Hosted* self = static_cast<Hosted*>(handle->data);
  if (--self->open_handles_ == 0) self->closed();
}

void Hosted::closed() {
  state_ = State::closed;
  drop_engine();
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

// The environment ends: references go while it is still there, the rest when libuv has let go.
void Hosted::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  Hosted* self = static_cast<Hosted*>(data);
  self->teardown_ = true;
  if (self->running()) self->last_turn();
  self->release_references();
  self->close();
}

void Hosted::release_references() {
  release_memory();
  for (napi_ref* reference : {&on_batch_, &on_closed_, &receiver_}) {
    if (*reference != nullptr) static_cast<void>(napi_delete_reference(env_, *reference));
    *reference = nullptr;
  }
  if (context_ != nullptr) static_cast<void>(napi_async_destroy(env_, context_));
  context_ = nullptr;
}

}  // namespace marketplace::binding
