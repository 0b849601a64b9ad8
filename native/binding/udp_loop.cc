// The datagram engine's place in libuv's loop; see udp_loop.h.
#include "udp_loop.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <new>

namespace marketplace::binding {

namespace {

constexpr uint32_t record_words = 12;
constexpr uint32_t command_words = 10;
constexpr uint32_t header_words = 4;
// Room for what one more system call can report when a turn has reached its limit, so that the
// records of one turn's data always reach JavaScript together, before the program can touch a slab.
constexpr uint32_t records_headroom = 4 * engine::UdpEngine::batch_max;

void throw_errno(napi_env env, const char* what, int error) {
  static_cast<void>(napi_throw_error(env, uv_err_name(error), what));
}

}  // namespace

UdpLoop* UdpLoop::create(napi_env env, napi_value options) {
  UdpLoop* loop = new (std::nothrow) UdpLoop(env);
  if (loop == nullptr) {
    throw_errno(env, "Udp: out of memory", -ENOMEM);
    return nullptr;
  }
  if (loop->open(options)) return loop;
  // If something of libuv is open, it is closing by now and has a reference of its own.
  if (loop->open_handles_ == 0) loop->release_references();
  loop->unref();
  return nullptr;
}

bool UdpLoop::keep(napi_value value, napi_ref& out) {
  if (napi_create_reference(env_, value, 1, &out) != napi_ok) return false;
  kept_.push_back(out);
  return true;
}

bool UdpLoop::open_memory(napi_value options) {
  const auto array = [&](const char* name, napi_typedarray_type wanted, void** data,
                         uint32_t& count) {
    napi_value value = nullptr;
    napi_ref reference = nullptr;
    napi_typedarray_type type;
    size_t length = 0;
    bool is_array = false;
    if (napi_get_named_property(env_, options, name, &value) != napi_ok ||
        napi_is_typedarray(env_, value, &is_array) != napi_ok || !is_array ||
        napi_get_typedarray_info(env_, value, &type, &length, data, nullptr, nullptr) != napi_ok) {
      return false;
    }
    count = static_cast<uint32_t>(length);
    return type == wanted && *data != nullptr && keep(value, reference);
  };
  const auto function = [&](const char* name, napi_ref& out) {
    napi_value value = nullptr;
    napi_valuetype type = napi_undefined;
    return napi_get_named_property(env_, options, name, &value) == napi_ok &&
           napi_typeof(env_, value, &type) == napi_ok && type == napi_function && keep(value, out);
  };
  void* records = nullptr;
  void* commands = nullptr;
  void* stats = nullptr;
  void* arena = nullptr;
  uint32_t stat_count = 0;
  if (!array("records", napi_int32_array, &records, record_count_) ||
      !array("commands", napi_int32_array, &commands, command_count_) ||
      !array("stats", napi_float64_array, &stats, stat_count) ||
      !array("arena", napi_uint8_array, &arena, arena_size_) || !function("onBatch", on_batch_) ||
      !function("onClosed", on_closed_) || stat_count < 2 ||
      record_count_ < 4 * records_headroom * record_words ||
      command_count_ < header_words + command_words) {
    static_cast<void>(napi_throw_type_error(env_, nullptr, "Udp: wrong options"));
    return false;
  }
  records_ = static_cast<int32_t*>(records);
  record_count_ /= record_words;
  commands_ = static_cast<int32_t*>(commands);
  command_count_ = (command_count_ - header_words) / command_words;
  stats_ = static_cast<double*>(stats);
  arena_ = static_cast<uint8_t*>(arena);
  return true;
}

bool UdpLoop::open(napi_value options) {
  if (!open_memory(options)) return false;
  engine::UdpEngine::Options engine_options;
  engine_options.records_max = record_count_ / 2 - records_headroom;
  engine_ = std::make_unique<engine::UdpEngine>(engine_options);
  const int result = engine_->open();
  if (result < 0) {
    throw_errno(env_, "Udp: the engine cannot be opened", result);
    return false;
  }
  napi_value name = nullptr;
  napi_value receiver = nullptr;
  if (napi_create_string_utf8(env_, "MARKETPLACE_UDP", NAPI_AUTO_LENGTH, &name) != napi_ok ||
      napi_create_object(env_, &receiver) != napi_ok || !keep(receiver, receiver_) ||
      napi_async_init(env_, receiver, name, &context_) != napi_ok) {
    return false;
  }
  return open_handles();
}

bool UdpLoop::open_handles() {
  uv_loop_t* loop = nullptr;
  if (napi_get_uv_event_loop(env_, &loop) != napi_ok) return false;
  int result = uv_poll_init(loop, &poll_, engine_->descriptor());
  if (result < 0) {
    throw_errno(env_, "Udp: the event loop refuses the engine", result);
    return false;
  }
  // From here on something is open, so that failure means to close, not to delete.
  poll_.data = this;
  idle_.data = this;
  static_cast<void>(uv_idle_init(loop, &idle_));
  open_handles_ = 2;
  references_++;
  result = uv_poll_start(&poll_, UV_READABLE, on_ready);
  if (result == 0 && napi_add_async_cleanup_hook(env_, on_teardown, this, &hook_) == napi_ok) {
    return true;
  }
  close();
  throw_errno(env_, "Udp: the event loop refuses the engine", result);
  return false;
}

void UdpLoop::unref() {
  if (--references_ == 0) delete this;
}

void UdpLoop::on_ready(uv_poll_t* handle, int status, int) {
  UdpLoop* self = static_cast<UdpLoop*>(handle->data);
  if (status < 0) return self->fail(status);
  self->turn();
}

void UdpLoop::on_again(uv_idle_t* handle) {
  static_cast<UdpLoop*>(handle->data)->turn();
}

void UdpLoop::turn() {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  // Only a slab that views have been made of can be in the program's hands.
  engine::UdpPool& pool = engine_->pool();
  if (pool.current_started() && !slab_intact(slabs_[pool.current()])) engine_->retire_slab();
  const int result = engine_->turn();
  if (result < 0) {
    fail(result);
  } else {
    const uint32_t count = publish();
    napi_value argument = nullptr;
    if (count > 0 && napi_create_uint32(env_, count, &argument) == napi_ok) {
      call(on_batch_, 1, &argument);
    }
    // The callback may have closed us.
    if (running()) flush();
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

// Moves the first records over; what is left over can only be what `flush` reported.
uint32_t UdpLoop::publish() {
  std::vector<engine::UdpRecord>& records = engine_->records();
  const uint32_t count = std::min(static_cast<uint32_t>(records.size()), record_count_);
  if (count == 0) return 0;
  std::memcpy(records_, records.data(), count * sizeof(engine::UdpRecord));
  records.erase(records.begin(), records.begin() + count);
  return count;
}

void UdpLoop::flush() {
  const uint32_t count = std::min(static_cast<uint32_t>(commands_[0]), command_count_);
  for (uint32_t i = 0; i < count; i++) execute(commands_ + header_words + i * command_words);
  commands_[0] = 0;
  engine_->flush();
  stats_[0] = static_cast<double>(engine_->counters().datagrams_out);
  stats_[1] = static_cast<double>(engine_->counters().bytes_out);
  // What the flush brought about is the next turn's; the loop must not sleep before that. An idle
  // handle does it without a system call.
  const bool again = !engine_->records().empty();
  if (again == again_) return;
  again_ = again;
  static_cast<void>(again ? uv_idle_start(&idle_, on_again) : uv_idle_stop(&idle_));
}

void UdpLoop::execute(const int32_t* command) {
  const uint32_t id = static_cast<uint32_t>(command[1]);
  switch (static_cast<Command>(command[0])) {
    case Command::send: {
      const uint32_t offset = static_cast<uint32_t>(command[2]);
      const uint32_t length = static_cast<uint32_t>(command[3]);
      if (offset > arena_size_ || length > arena_size_ - offset) return;
      const engine::Address to =
          engine::udp_address(command[4], command + 5, static_cast<uint32_t>(command[9]));
      return engine_->send(id, arena_ + offset, length, to);
    }
    case Command::close:
      return engine_->close(id);
  }
}

int32_t UdpLoop::add_slab(napi_value buffer) {
  void* data = nullptr;
  size_t length = 0;
  bool is_buffer = false;
  Slab slab;
  if (napi_is_arraybuffer(env_, buffer, &is_buffer) != napi_ok || !is_buffer) return -EINVAL;
  if (napi_get_arraybuffer_info(env_, buffer, &data, &length) != napi_ok) return -EINVAL;
  if (data == nullptr || length == 0 || length > INT32_MAX) return -EINVAL;
  if (napi_create_reference(env_, buffer, 1, &slab.reference) != napi_ok) return -EINVAL;
  slab.base = static_cast<uint8_t*>(data);
  slab.size = static_cast<uint32_t>(length);
  uint32_t index = static_cast<uint32_t>(slabs_.size());
  if (free_slabs_.empty()) {
    slabs_.push_back(slab);
  } else {
    index = free_slabs_.back();
    free_slabs_.pop_back();
    slabs_[index] = slab;
  }
  engine_->pool().add(index, slab.base, slab.size);
  return static_cast<int32_t>(index);
}

void UdpLoop::release_slab(uint32_t index) {
  if (index >= slabs_.size() || slabs_[index].reference == nullptr) return;
  static_cast<void>(napi_delete_reference(env_, slabs_[index].reference));
  slabs_[index] = Slab{};
  free_slabs_.push_back(index);
}

bool UdpLoop::slab_intact(const Slab& slab) const {
  napi_value buffer = nullptr;
  void* data = nullptr;
  size_t length = 0;
  return napi_get_reference_value(env_, slab.reference, &buffer) == napi_ok && buffer != nullptr &&
         napi_get_arraybuffer_info(env_, buffer, &data, &length) == napi_ok && data == slab.base &&
         length >= slab.size;
}

// An exception goes where one from any callback of Node's goes: to 'uncaughtException'.
void UdpLoop::call(napi_ref function, size_t count, const napi_value* arguments) {
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
void UdpLoop::fail(int error) {
  static_cast<void>(uv_poll_stop(&poll_));
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env_, &scope) != napi_ok) return;
  napi_value code = nullptr;
  napi_value message = nullptr;
  napi_value exception = nullptr;
  if (napi_create_string_utf8(env_, uv_err_name(error), NAPI_AUTO_LENGTH, &code) == napi_ok &&
      napi_create_string_utf8(env_, "marketplace: the datagram engine's event loop failed",
                              NAPI_AUTO_LENGTH, &message) == napi_ok &&
      napi_create_error(env_, code, message, &exception) == napi_ok) {
    static_cast<void>(napi_fatal_exception(env_, exception));
  }
  static_cast<void>(napi_close_handle_scope(env_, scope));
}

void UdpLoop::close() {
  if (state_ != State::running) return;
  state_ = State::closing;
  uv_close(reinterpret_cast<uv_handle_t*>(&poll_), on_handle_closed);
  uv_close(reinterpret_cast<uv_handle_t*>(&idle_), on_handle_closed);
}

void UdpLoop::on_handle_closed(uv_handle_t* handle) {
  UdpLoop* self = static_cast<UdpLoop*>(handle->data);
  if (--self->open_handles_ == 0) self->closed();
}

void UdpLoop::closed() {
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
void UdpLoop::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  UdpLoop* self = static_cast<UdpLoop*>(data);
  self->teardown_ = true;
  self->release_references();
  self->close();
}

void UdpLoop::release_references() {
  for (napi_ref reference : kept_) static_cast<void>(napi_delete_reference(env_, reference));
  kept_.clear();
  for (const Slab& slab : slabs_) {
    if (slab.reference != nullptr) static_cast<void>(napi_delete_reference(env_, slab.reference));
  }
  slabs_.clear();
  if (context_ != nullptr) static_cast<void>(napi_async_destroy(env_, context_));
  context_ = nullptr;
}

}  // namespace marketplace::binding
