// Records out, commands in, slabs; see shared.h.
#include "shared.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "../engine/hand_over.h"

namespace marketplace::binding {

namespace {

// Fewer would leave no room for a turn; see Loop::open.
constexpr uint32_t records_min = 1024;
// Sources and loans are a kind and an index; both kinds are above 0.
constexpr uint32_t slab_kind = 1u << 30;
constexpr uint32_t large_kind = 2u << 30;
constexpr uint32_t kind_mask = 3u << 30;
// A slab is lent for no less than this part of it, as all of it stays in memory then.
constexpr uint32_t slab_part_min = 4;

struct Words {
  void* data = nullptr;
  uint32_t count = 0;
};

// The memory of a typed array, and the ArrayBuffer that it is in.
bool typed_array(napi_env env, napi_value value, napi_typedarray_type wanted, Words& out,
                 napi_value* buffer = nullptr) {
  napi_typedarray_type type;
  size_t length = 0;
  bool is_typed_array = false;
  if (napi_is_typedarray(env, value, &is_typed_array) != napi_ok || !is_typed_array) return false;
  if (napi_get_typedarray_info(env, value, &type, &length, &out.data, buffer, nullptr) != napi_ok)
    return false;
  out.count = static_cast<uint32_t>(length);
  return type == wanted && out.data != nullptr;
}

// Whether an ArrayBuffer's memory is still where it was.
bool in_place(napi_env env, napi_ref reference, const uint8_t* base, size_t size) {
  napi_value buffer = nullptr;
  void* data = nullptr;
  size_t length = 0;
  return napi_get_reference_value(env, reference, &buffer) == napi_ok && buffer != nullptr &&
         napi_get_arraybuffer_info(env, buffer, &data, &length) == napi_ok && data == base &&
         length >= size;
}

}  // namespace

bool Shared::open(napi_env env, napi_value options) {
  const auto member = [&](const char* name, napi_typedarray_type type, Words& words) {
    napi_value value = nullptr;
    napi_ref reference = nullptr;
    if (napi_get_named_property(env, options, name, &value) != napi_ok) return false;
    if (!typed_array(env, value, type, words)) return false;
    if (napi_create_reference(env, value, 1, &reference) != napi_ok) return false;
    references_.push_back(reference);
    return true;
  };
  Words records;
  Words marks;
  Words commands;
  Words stats;
  napi_value large = nullptr;
  bool is_array = false;
  const bool ok = member("records", napi_int32_array, records) &&
                  member("marks", napi_int32_array, marks) &&
                  member("commands", napi_int32_array, commands) &&
                  member("stats", napi_float64_array, stats) &&
                  napi_get_named_property(env, options, "large", &large) == napi_ok &&
                  napi_is_array(env, large, &is_array) == napi_ok && is_array &&
                  napi_create_reference(env, large, 1, &large_) == napi_ok;
  if (!ok || stats.count < stats_count || records.count < engine::record_words * records_min ||
      commands.count < command_header_words + command_words) {
    static_cast<void>(napi_throw_type_error(env, nullptr, "create: wrong shared memory"));
    return false;
  }
  records_ = static_cast<int32_t*>(records.data);
  record_count_ = records.count / engine::record_words;
  marks_ = static_cast<int32_t*>(marks.data);
  mark_count_ = marks.count;
  commands_ = static_cast<int32_t*>(commands.data);
  command_count_ = (commands.count - command_header_words) / command_words;
  stats_ = static_cast<Stats*>(stats.data);
  env_ = env;
  return true;
}

void Shared::release_all(napi_env env) {
  for (napi_ref reference : references_) static_cast<void>(napi_delete_reference(env, reference));
  references_.clear();
  for (uint32_t i = 0; i < accounts_.size(); i++) close_account(i);
  if (large_ != nullptr) static_cast<void>(napi_delete_reference(env, large_));
  if (gauges_ != nullptr) static_cast<void>(napi_delete_reference(env, gauges_));
  for (Slab& slab : slabs_) {
    if (slab.reference != nullptr) static_cast<void>(napi_delete_reference(env, slab.reference));
    slab.reference = nullptr;
  }
  for (const Lent& lent : lent_) {
    if (lent.reference != nullptr) static_cast<void>(napi_delete_reference(env, lent.reference));
  }
  // The engine gives back its loans later: they are not ours any more.
  env_ = nullptr;
  lent_.clear();
  large_ = nullptr;
  gauges_ = nullptr;
  spent_.release_all(env);
  records_ = nullptr;
  marks_ = nullptr;
  commands_ = nullptr;
  stats_ = nullptr;
}

int32_t Shared::open_account(napi_value stats, const engine::Limits& limits) {
  Words words;
  OpenAccount opened;
  if (!typed_array(env_, stats, napi_float64_array, words) || words.count < stats_count ||
      napi_create_reference(env_, stats, 1, &opened.stats) != napi_ok) {
    return -EINVAL;
  }
  opened.account = std::make_shared<engine::Account>(limits);
  opened.account->stats = static_cast<double*>(words.data);
  const auto free = std::ranges::find(accounts_, nullptr, &OpenAccount::account);
  const auto index = free - accounts_.begin();
  if (free == accounts_.end()) accounts_.emplace_back();
  accounts_[static_cast<size_t>(index)] = std::move(opened);
  return static_cast<int32_t>(index);
}

void Shared::close_account(uint32_t account) {
  if (account >= accounts_.size() || accounts_[account].account == nullptr) return;
  accounts_[account].account->stats = nullptr;
  static_cast<void>(napi_delete_reference(env_, accounts_[account].stats));
  accounts_[account] = OpenAccount{};
}

std::shared_ptr<engine::Account> Shared::account(uint32_t account) const {
  return account < accounts_.size() ? accounts_[account].account : nullptr;
}

void Shared::drop_memory() {
  for (Slab& slab : slabs_) slab.block.reset();
}

uint32_t Shared::publish(engine::Engine& engine) {
  // All marks: what is left over can only be what `flush` reported (see Loop::open for why), and
  // has none.
  static_cast<void>(engine::hand_over(engine.marks(), marks_, mark_count_));
  return engine::hand_over(engine.records(), records_, record_count_);
}

int32_t Shared::add_slab(napi_env env, napi_value buffer, Purpose purpose, engine::Engine& engine,
                         SlabMemory& memory) {
  void* data = nullptr;
  size_t length = 0;
  bool is_buffer = false;
  Slab slab;
  if (napi_is_arraybuffer(env, buffer, &is_buffer) != napi_ok || !is_buffer) return -1;
  if (napi_get_arraybuffer_info(env, buffer, &data, &length) != napi_ok) return -1;
  if (data == nullptr || length == 0 || length > INT32_MAX) return -1;
  if (napi_create_reference(env, buffer, 1, &slab.reference) != napi_ok) return -1;
  slab.base = static_cast<uint8_t*>(data);
  if (purpose != Purpose::output) slab.block = memory.claim(slab.base);
  slab.size = static_cast<uint32_t>(length);
  slab.checked = moment_;
  slab.fill = purpose != Purpose::output;
  // What is filled again would change while it is sent.
  slab.lendable = slab.fill && !engine.reuses_slabs();
  uint32_t index = static_cast<uint32_t>(slabs_.size());
  if (free_slabs_.empty()) {
    slabs_.emplace_back();
  } else {
    index = free_slabs_.back();
    free_slabs_.pop_back();
  }
  if (slab.fill) engine.add_slab(index, slab.base, slab.size, purpose);
  slabs_[index] = std::move(slab);
  return static_cast<int32_t>(index);
}

// Asks once per moment. The arena, which is not filled by the engine, never leaves native/link.ts.
bool Shared::slab_intact(Slab& slab) {
  if (!slab.fill || slab.checked == moment_) return true;
  if (!in_place(env_, slab.reference, slab.base, slab.size)) return false;
  slab.checked = moment_;
  return true;
}

void Shared::begin_turn(engine::Engine& engine) {
  moment_++;
  check_slabs(engine);
}

void Shared::check_slabs(engine::Engine& engine) {
  engine.retire_lost_slabs([this](uint32_t index) { return !slab_intact(slabs_[index]); });
}

bool Shared::set_gauges(napi_env env, napi_value gauges, engine::Engine& engine) {
  Words words;
  napi_ref reference = nullptr;
  if (!typed_array(env, gauges, napi_float64_array, words)) return false;
  if (napi_create_reference(env, gauges, 1, &reference) != napi_ok) return false;
  if (gauges_ != nullptr) static_cast<void>(napi_delete_reference(env, gauges_));
  gauges_ = reference;
  engine.set_gauges(static_cast<double*>(words.data), words.count);
  return true;
}

void Shared::flush(engine::Engine& engine) {
  const uint32_t count = std::min(static_cast<uint32_t>(commands_[header_count]), command_count_);
  moment_++;
  for (uint32_t i = 0; i < count; i++) {
    execute(engine, commands_ + command_header_words + i * command_words);
  }
  commands_[header_count] = 0;
  engine.flush();
  engine.take_changed([](const engine::Account& account) {
    if (account.stats == nullptr) return;
    Stats& stats = *reinterpret_cast<Stats*>(account.stats);
    stats.bytes_out = static_cast<double>(account.counters.bytes_out);
    stats.chunks_out = static_cast<double>(account.counters.writes);
    stats.queued_bytes = static_cast<double>(account.counters.queued_bytes);
    stats.datagrams_out = static_cast<double>(account.counters.datagrams_out);
    stats.listeners_paused = static_cast<double>(account.counters.listeners_paused);
    double* limits = account.stats + offsetof(Stats, of_max_connections) / sizeof(double);
    std::ranges::copy(account.counters.limits, limits);
  });
  if (large_now_ != nullptr) forget_large();
  if (!released_.empty()) release_slabs();
  const Views views = static_cast<Views>(std::exchange(commands_[header_views], 0));
  if (views == Views::kept) return engine.replace_slabs();
  if (views != Views::over) return;
  check_slabs(engine);
  engine.reuse_slabs();
}

void Shared::reclaim(bool press) {
  if (press) spent_.press(env_);
  spent_.prune(env_);
  count_spent();
}

void Shared::count_spent() {
  stats_->slabs_spent = static_cast<double>(spent_.bytes() + lent_slab_bytes_);
}

void Shared::execute(engine::Engine& engine, const int32_t* words) {
  const uint32_t id = static_cast<uint32_t>(words[1]);
  switch (operation_of(words)) {
    case Command::write:
      return write_slab(engine, WriteCommand(words), true);
    case Command::write_large:
      return write_large(engine, WriteLargeCommand(words), true);
    case Command::write_taken:
      return write_slab(engine, WriteCommand(words), false);
    case Command::write_large_taken:
      return write_large(engine, WriteLargeCommand(words), false);
    case Command::shutdown:
      return engine.shutdown(id);
    case Command::close:
      return engine.close(id);
    case Command::abort:
      return engine.abort(id);
    case Command::pause:
      return engine.pause(id, true);
    case Command::resume:
      return engine.pause(id, false);
    case Command::report_writes_on:
      return engine.report_writes(id, true);
    case Command::report_writes_off:
      return engine.report_writes(id, false);
    case Command::idle_timeout:
      return engine.idle_timeout(id, IdleTimeoutCommand(words).time);
    case Command::input_timeout:
      return engine.input_timeout(id, IdleTimeoutCommand(words).time);
    case Command::expect_input:
      return engine.expect_input(id, NoDelayCommand(words).on != 0);
    case Command::no_delay:
      return engine.no_delay(id, NoDelayCommand(words).on != 0);
    case Command::keep_alive: {
      const KeepAliveCommand command(words);
      return engine.keep_alive(id, command.on != 0, command.idle, command.interval, command.count);
    }
    case Command::send:
      return send(engine, WriteCommand(words));
    case Command::frame:
      return frame(engine, WriteCommand(words));
    case Command::secure:
      return engine.secure(id);
    case Command::release_slab:
      released_.push_back(ReleaseSlabCommand(words).slab);
      return;
  }
}

void Shared::write_slab(engine::Engine& engine, const WriteCommand& command, bool lends) {
  const auto [index, id, offset, length] = command;
  if (index >= slabs_.size() || slabs_[index].reference == nullptr)
    return engine.fail_write(id, -EFAULT);
  Slab& slab = slabs_[index];
  // The bytes are gone with the detached memory; to go on would corrupt the stream.
  if (!slab_readable(slab) || offset > slab.size || length > slab.size - offset) {
    return engine.fail_write(id, -EFAULT);
  }
  const engine::Source source = slab.fill && lends ? slab_kind | index : engine::no_source;
  engine.write(id, slab.base + offset, length, source);
}

void Shared::send(engine::Engine& engine, const WriteCommand& command) {
  constexpr uint32_t head = receiver_words * sizeof(int32_t);
  const auto [index, id, offset, length] = command;
  if (index >= slabs_.size() || slabs_[index].reference == nullptr) return;
  Slab& slab = slabs_[index];
  if (!slab_readable(slab) || offset > slab.size || slab.size - offset < head) return;
  if (length > slab.size - offset - head) return;
  int32_t words[receiver_words];
  std::memcpy(words, slab.base + offset, head);
  const engine::Address to =
      engine::udp_address(words[0], words + 1, static_cast<uint32_t>(words[engine::address_words]));
  engine.send(id, slab.base + offset + head, length, to);
}

void Shared::frame(engine::Engine& engine, const WriteCommand& command) {
  constexpr uint32_t head = frame_order_words * sizeof(int32_t);
  const auto [index, id, offset, length] = command;
  if (index >= slabs_.size() || slabs_[index].reference == nullptr) return;
  Slab& slab = slabs_[index];
  if (!slab_readable(slab) || offset > slab.size || slab.size - offset < head) return;
  if (length > slab.size - offset - head) return;
  int32_t words[frame_order_words];
  std::memcpy(words, slab.base + offset, head);
  engine::FrameOrder order;
  read_words(words, order);
  if (order.kind == engine::FrameKind::delimiter && order.size != length) return;
  order.delimiter = slab.base + offset + head;
  engine.frame(id, order);
}

void Shared::write_large(engine::Engine& engine, const WriteLargeCommand& command, bool lends) {
  const auto [id, index, length] = command;
  if (large_now_ == nullptr) {
    if (napi_get_reference_value(env_, large_, &large_now_) != napi_ok) {
      return engine.fail_write(id, -EFAULT);
    }
  }
  napi_value value = nullptr;
  Words bytes;
  const bool usable = napi_get_element(env_, large_now_, index, &value) == napi_ok &&
                      typed_array(env_, value, napi_uint8_array, bytes) && bytes.count == length;
  if (!usable) return engine.fail_write(id, -EFAULT);
  const engine::Source source = lends ? large_kind | index : engine::no_source;
  engine.write(id, static_cast<uint8_t*>(bytes.data), bytes.count, source);
}

// Empties the list of large buffers, so that they do not live until the next write.
void Shared::forget_large() {
  napi_value zero = nullptr;
  if (napi_create_uint32(env_, 0, &zero) == napi_ok) {
    static_cast<void>(napi_set_named_property(env_, large_now_, "length", zero));
  }
  large_now_ = nullptr;
}

void Shared::release_slabs() {
  for (const uint32_t index : released_) {
    if (index >= slabs_.size() || slabs_[index].reference == nullptr) continue;
    Slab& slab = slabs_[index];
    slab.released = true;
    lent_slab_bytes_ += slab.size;
    if (slab.loans == 0) drop_slab(index);
  }
  released_.clear();
}

// Nobody but the program needs it any more.
void Shared::drop_slab(uint32_t index) {
  lent_slab_bytes_ -= slabs_[index].size;
  spent_.add(env_, slabs_[index].reference, slabs_[index].size);
  slabs_[index] = Slab{};
  free_slabs_.push_back(index);
  count_spent();
}

engine::Loan Shared::lend(engine::Source source, size_t length) {
  const uint32_t index = source & ~kind_mask;
  if ((source & kind_mask) == large_kind) return lend_large(index);
  Slab& slab = slabs_[index];
  if (!slab.lendable || length < slab.size / slab_part_min) return engine::no_loan;
  slab.loans++;
  return source;
}

// The list of large buffers is emptied after the flush: the loan holds its own reference.
engine::Loan Shared::lend_large(uint32_t index) {
  napi_value value = nullptr;
  napi_value buffer = nullptr;
  void* data = nullptr;
  Words bytes;
  Lent lent;
  if (napi_get_element(env_, large_now_, index, &value) != napi_ok ||
      !typed_array(env_, value, napi_uint8_array, bytes, &buffer) ||
      napi_get_arraybuffer_info(env_, buffer, &data, &lent.size) != napi_ok ||
      napi_create_reference(env_, buffer, 1, &lent.reference) != napi_ok) {
    return engine::no_loan;
  }
  lent.base = static_cast<uint8_t*>(data);
  lent.checked = moment_;
  // What lies behind the bytes may go.
  const uint8_t* end = static_cast<uint8_t*>(bytes.data) + bytes.count;
  lent.size = static_cast<size_t>(end - lent.base);
  uint32_t at = static_cast<uint32_t>(lent_.size());
  if (free_lent_.empty()) {
    lent_.push_back(lent);
  } else {
    at = free_lent_.back();
    free_lent_.pop_back();
    lent_[at] = lent;
  }
  return large_kind | at;
}

bool Shared::intact(engine::Loan loan) {
  const uint32_t index = loan & ~kind_mask;
  if (env_ == nullptr) return false;
  if ((loan & kind_mask) == slab_kind) return slab_readable(slabs_[index]);
  Lent& lent = lent_[index];
  if (lent.checked == moment_) return true;
  if (!in_place(env_, lent.reference, lent.base, lent.size)) return false;
  lent.checked = moment_;
  return true;
}

void Shared::give_back(engine::Loan loan) {
  const uint32_t index = loan & ~kind_mask;
  // The environment ended first.
  if (env_ == nullptr) return;
  if ((loan & kind_mask) == slab_kind) {
    Slab& slab = slabs_[index];
    if (--slab.loans == 0 && slab.released) drop_slab(index);
    return;
  }
  static_cast<void>(napi_delete_reference(env_, lent_[index].reference));
  lent_[index] = Lent{};
  free_lent_.push_back(index);
}

}  // namespace marketplace::binding
