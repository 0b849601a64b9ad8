// The memory that C++ and JavaScript share, and the slabs that JavaScript lends to the engine.
//
// layout.h says what the words of records, commands and counters are; native/layout.mjs makes it
// and the same for src/transport/native/link.ts, which is the other side. There are counters of the
// engine, and of each account, which have some of them each: see native/layout.mjs.
//
// Invariants: memory that the program can reach is used only after its address was asked for again
// since the program last ran, as it may have been detached; a slab is spent only after `flush`, and
// not while it is lent; only slabs that are never filled a second time are lent.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../engine/block_pool.h"
#include "../engine/engine.h"
#include "layout.h"
#include "slab_memory.h"
#include "spent.h"

namespace marketplace::binding {

using engine::Purpose;

class Shared final : public engine::Lender {
 public:
  // Takes references to what `options` holds; false with a pending exception if it is not right.
  bool open(napi_env env, napi_value options);
  // References go. The slabs' memory stays for as long as the engine may use it.
  void release_all(napi_env env);
  // The engine is gone.
  void drop_memory();

  // A new account: its number, or negative errno. `stats` as above.
  int32_t open_account(napi_value stats, const engine::Limits& limits);
  // Its sockets keep it, but nobody is told of it any more. Others than those that are open are
  // ignored.
  void close_account(uint32_t account);
  // nullptr: there is none of that number.
  std::shared_ptr<engine::Account> account(uint32_t account) const;

  uint32_t records_max() const { return record_count_; }
  // Moves the first records over, and all marks; returns how many records.
  uint32_t publish(engine::Engine& engine);
  uint32_t marks_max() const { return mark_count_; }

  // Registers an ArrayBuffer. Negative: not an ArrayBuffer. `memory` knows the block that it may be
  // on.
  int32_t add_slab(napi_env env, napi_value buffer, Purpose purpose, engine::Engine& engine,
                   SlabMemory& memory);
  // Before a turn: the program has run. Gives up the slabs in use whose memory was taken away.
  void begin_turn(engine::Engine& engine);
  // Looks which of the spent slabs are still reachable. `press`: after garbage was collected.
  void reclaim(bool press);
  bool set_gauges(napi_env env, napi_value gauges, engine::Engine& engine);

  // Executes the commands and hands all output to the kernel.
  void flush(engine::Engine& engine);
  void set_iteration(uint64_t iteration) {
    if (stats_ != nullptr) stats_->iteration = static_cast<double>(iteration);
  }
  void count_spin() {
    if (stats_ != nullptr) stats_->spins++;
  }
  void add_time(double Stats::*time, uint64_t nanoseconds) {
    if (stats_ != nullptr) stats_->*time += static_cast<double>(nanoseconds);
  }

 private:
  struct Slab {
    napi_ref reference = nullptr;
    // Keeps the memory, whatever becomes of the ArrayBuffer. Empty: that is all that keeps it.
    engine::BlockPool::Block block;
    uint8_t* base = nullptr;
    uint32_t size = 0;
    uint64_t checked = 0;
    uint32_t loans = 0;
    bool fill = false;
    bool lendable = false;
    bool released = false;
  };
  struct OpenAccount {
    std::shared_ptr<engine::Account> account;
    napi_ref stats = nullptr;
  };
  // A buffer of the program's that is lent.
  struct Lent {
    napi_ref reference = nullptr;
    const uint8_t* base = nullptr;
    size_t size = 0;
    uint64_t checked = 0;
  };

  // engine::Lender
  engine::Loan lend(engine::Source source, size_t length) override;
  bool intact(engine::Loan loan) override;
  void give_back(engine::Loan loan) override;
  engine::Loan lend_large(uint32_t index);

  // Whether the ArrayBuffer still has the memory, so that views of it can be made.
  bool slab_intact(Slab& slab);
  // Whether its bytes are there to be sent.
  bool slab_readable(Slab& slab) { return slab.block != nullptr || slab_intact(slab); }
  void execute(engine::Engine& engine, const int32_t* words);
  void write_slab(engine::Engine& engine, const WriteCommand& command, bool lends);
  void send(engine::Engine& engine, const WriteCommand& command);
  void frame(engine::Engine& engine, const WriteCommand& command);
  void write_large(engine::Engine& engine, const WriteLargeCommand& command, bool lends);
  void forget_large();
  void release_slabs();
  void check_slabs(engine::Engine& engine);
  void count_spent();
  void drop_slab(uint32_t index);

  napi_env env_ = nullptr;
  std::vector<napi_ref> references_;
  int32_t* records_ = nullptr;
  uint32_t record_count_ = 0;
  int32_t* marks_ = nullptr;
  uint32_t mark_count_ = 0;
  int32_t* commands_ = nullptr;
  uint32_t command_count_ = 0;
  Stats* stats_ = nullptr;
  napi_ref gauges_ = nullptr;
  napi_ref large_ = nullptr;
  napi_value large_now_ = nullptr;
  std::vector<OpenAccount> accounts_;

  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slabs_;
  std::vector<uint32_t> released_;
  std::vector<Lent> lent_;
  std::vector<uint32_t> free_lent_;
  SpentSlabs spent_;
  // Of slabs that are released, but lent.
  size_t lent_slab_bytes_ = 0;
  // Changes when the program may have run.
  uint64_t moment_ = 0;
};

}  // namespace marketplace::binding
