// The datagram engine's place in libuv's loop; see udp_loop.h.
#include "udp_loop.h"

#include <algorithm>
#include <cerrno>
#include <new>
#include <utility>

#include "../engine/hand_over.h"

namespace marketplace::binding {

namespace {

constexpr uint32_t record_words = 12;
constexpr uint32_t command_words = 10;
constexpr uint32_t header_words = 4;
// Room for what one more system call can report when a turn has reached its limit, so that the
// records of one turn's data always reach JavaScript together, before the program can touch a slab.
constexpr uint32_t records_headroom = 4 * engine::UdpEngine::batch_max;

}  // namespace

UdpLoop* UdpLoop::create(napi_env env, napi_value options) {
  UdpLoop* loop = new (std::nothrow) UdpLoop(env);
  if (loop == nullptr) {
    static_cast<void>(napi_throw_error(env, "ENOMEM", "Udp: out of memory"));
    return nullptr;
  }
  if (loop->open(options)) return loop;
  loop->give_up();
  return nullptr;
}

bool UdpLoop::keep(napi_value value) {
  napi_ref reference = nullptr;
  if (napi_create_reference(env(), value, 1, &reference) != napi_ok) return false;
  kept_.push_back(reference);
  return true;
}

bool UdpLoop::open_memory(napi_value options) {
  const auto array = [&](const char* name, napi_typedarray_type wanted, void** data,
                         uint32_t& count) {
    napi_value value = nullptr;
    napi_typedarray_type type;
    size_t length = 0;
    bool is_array = false;
    if (napi_get_named_property(env(), options, name, &value) != napi_ok ||
        napi_is_typedarray(env(), value, &is_array) != napi_ok || !is_array ||
        napi_get_typedarray_info(env(), value, &type, &length, data, nullptr, nullptr) != napi_ok) {
      return false;
    }
    count = static_cast<uint32_t>(length);
    return type == wanted && *data != nullptr && keep(value);
  };
  void* records = nullptr;
  void* commands = nullptr;
  void* stats = nullptr;
  void* arena = nullptr;
  uint32_t stat_count = 0;
  if (!array("records", napi_int32_array, &records, record_count_) ||
      !array("commands", napi_int32_array, &commands, command_count_) ||
      !array("stats", napi_float64_array, &stats, stat_count) ||
      !array("arena", napi_uint8_array, &arena, arena_size_) || stat_count < 2 ||
      record_count_ < 4 * records_headroom * record_words ||
      command_count_ < header_words + command_words) {
    static_cast<void>(napi_throw_type_error(env(), nullptr, "Udp: wrong options"));
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
  if (!open_memory(options) || !open_memory_limit(options)) return false;
  engine::UdpEngine::Options engine_options;
  engine_options.records_max = record_count_ / 2 - records_headroom;
  engine_ = std::make_unique<engine::UdpEngine>(engine_options);
  const int result = engine_->open();
  if (result < 0) {
    throw_errno("Udp: the engine cannot be opened", result);
    return false;
  }
  return open_functions(options, "MARKETPLACE_UDP") && open_handles(engine_->descriptor());
}

void UdpLoop::on_turn(bool) {
  napi_handle_scope scope = nullptr;
  if (napi_open_handle_scope(env(), &scope) != napi_ok) return;
  // Only a slab that views have been made of can be in the program's hands.
  engine::UdpPool& pool = engine_->pool();
  if (pool.current_started() && !slab_intact(slabs_[pool.current()])) engine_->retire_slab();
  const int result = engine_->turn();
  if (result < 0) {
    fail(result);
  } else {
    const uint32_t count = publish();
    if (count > 0) call_batch(count);
    // The callback may have closed us.
    if (running()) flush();
  }
  static_cast<void>(napi_close_handle_scope(env(), scope));
}

// What is left over can only be what `flush` reported.
uint32_t UdpLoop::publish() {
  return engine::hand_over(engine_->records(), records_, record_count_);
}

void UdpLoop::flush() {
  const uint32_t count = std::min(static_cast<uint32_t>(commands_[0]), command_count_);
  for (uint32_t i = 0; i < count; i++) execute(commands_ + header_words + i * command_words);
  commands_[0] = 0;
  engine_->flush();
  stats_[0] = static_cast<double>(engine_->counters().datagrams_out);
  stats_[1] = static_cast<double>(engine_->counters().bytes_out);
  // What the flush brought about is the next turn's; the loop must not sleep before that.
  again(!engine_->records().empty());
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
  if (napi_is_arraybuffer(env(), buffer, &is_buffer) != napi_ok || !is_buffer) return -EINVAL;
  if (napi_get_arraybuffer_info(env(), buffer, &data, &length) != napi_ok) return -EINVAL;
  if (data == nullptr || length == 0 || length > INT32_MAX) return -EINVAL;
  if (napi_create_reference(env(), buffer, 1, &slab.reference) != napi_ok) return -EINVAL;
  slab.base = static_cast<uint8_t*>(data);
  slab.block = memory().claim(slab.base);
  slab.size = static_cast<uint32_t>(length);
  uint32_t index = static_cast<uint32_t>(slabs_.size());
  if (free_slabs_.empty()) {
    slabs_.emplace_back();
  } else {
    index = free_slabs_.back();
    free_slabs_.pop_back();
  }
  engine_->pool().add(index, slab.base, slab.size);
  slabs_[index] = std::move(slab);
  return static_cast<int32_t>(index);
}

void UdpLoop::release_slab(uint32_t index) {
  if (index >= slabs_.size() || slabs_[index].reference == nullptr) return;
  static_cast<void>(napi_delete_reference(env(), slabs_[index].reference));
  slabs_[index] = Slab{};
  free_slabs_.push_back(index);
}

bool UdpLoop::slab_intact(const Slab& slab) const {
  napi_value buffer = nullptr;
  void* data = nullptr;
  size_t length = 0;
  return napi_get_reference_value(env(), slab.reference, &buffer) == napi_ok && buffer != nullptr &&
         napi_get_arraybuffer_info(env(), buffer, &data, &length) == napi_ok && data == slab.base &&
         length >= slab.size;
}

void UdpLoop::release_memory() {
  for (napi_ref reference : kept_) {
    static_cast<void>(napi_delete_reference(env(), reference));
  }
  kept_.clear();
  for (Slab& slab : slabs_) {
    if (slab.reference != nullptr) static_cast<void>(napi_delete_reference(env(), slab.reference));
    slab.reference = nullptr;
  }
}

void UdpLoop::drop_engine() {
  engine_.reset();
  for (Slab& slab : slabs_) slab.block.reset();
}

}  // namespace marketplace::binding
