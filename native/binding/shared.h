// The memory that C++ and JavaScript share, and the slabs that JavaScript lends to the engine.
//
// Layout, all in 32-bit words of Int32Arrays; src/transport/native/transport.ts has the other end
// of it:
//   records   eight words each, as in engine/record.h, from word 0
//   commands  word 0: how many follow (JavaScript counts up, the reader sets it to 0); word 1: 1 if
//             slabs may be filled again when they are executed, 2 if full ones are to be replaced;
//             from word 4: four words each:
//             operation | slab << 8, connection, offset, length
//   stats     Float64Array, as in Stat: one of the engine, and one of each account
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
#include "slab_memory.h"
#include "spent.h"

namespace marketplace::binding {

enum class Command : int32_t {
  write = 1,        // bytes of a slab
  write_large = 2,  // a whole buffer: `offset` is its index in the list of large ones
  shutdown = 3,
  close = 4,
  abort = 5,
  pause = 6,
  resume = 7,
  report_writes_on = 8,
  report_writes_off = 9,
  release_slab = 10,  // JavaScript has seen that the slab is retired
  idle_timeout = 11,  // `offset` is milliseconds
  no_delay = 12,      // `offset` is 1 or 0
  // `length`: seconds of silence. Of `offset` the lowest bit says whether it is on, the others how
  // many probes. Seconds between these are above the command's lowest byte.
  keep_alive = 13,
  // As the first two, but the memory is not used after `flush`: what is left is copied.
  write_taken = 14,
  write_large_taken = 15,
  input_timeout = 16,  // `offset` is milliseconds
  expect_input = 17,   // `offset` is 1 or 0
  // A datagram: bytes of a slab, after the six words of whom it is for, which `length` doesn't
  // count: port and family, four address words, the zone.
  send = 18,
};

// What an ArrayBuffer is for: the arena, or to be received into.
enum class Purpose : uint32_t { output = 0, input = 1, small_input = 2 };

// What was done, for the program to read at any time; times are in nanoseconds. Each is of an
// account, or of the engine, which has them apart from each other.
enum Stat : uint32_t {
  stat_bytes_out,      // of an account: taken by the kernel
  stat_writes,         // of an account: handed over by the program
  stat_queued_bytes,   // of an account: waiting to be sent at present
  stat_kernel_time,    // in system calls and the engine's own work
  stat_js_time,        // in the program, called with a batch
  stat_slabs_spent,    // bytes of full slabs that the program may still see
  stat_datagrams_out,  // of an account: taken by the kernel
  stat_iteration,      // of Node's loop, in which the last turn was
  stat_count,
};

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
  // Moves the first records over; returns how many.
  uint32_t publish(std::vector<engine::Record>& records);

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
    if (stats_ != nullptr) stats_[stat_iteration] = static_cast<double>(iteration);
  }
  void add_time(Stat stat, uint64_t nanoseconds) {
    if (stats_ != nullptr) stats_[stat] += static_cast<double>(nanoseconds);
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
  void execute(engine::Engine& engine, const int32_t* command);
  void write_slab(engine::Engine& engine, const int32_t* command, bool lends);
  void send(engine::Engine& engine, const int32_t* command);
  void write_large(engine::Engine& engine, const int32_t* command, bool lends);
  void forget_large();
  void release_slabs();
  void check_slabs(engine::Engine& engine);
  void count_spent();
  void drop_slab(uint32_t index);

  napi_env env_ = nullptr;
  std::vector<napi_ref> references_;
  int32_t* records_ = nullptr;
  uint32_t record_count_ = 0;
  int32_t* commands_ = nullptr;
  uint32_t command_count_ = 0;
  double* stats_ = nullptr;
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
