// The datagram engine on Node's own event loop: what a turn is, and the memory that it shares with
// JavaScript.
//
// Layout, in 32-bit words of Int32Arrays; src/transport/udp-native-link.ts has the other end of it:
//   records   twelve words each, as in engine/udp.h, from word 0
//   commands  word 0: how many follow (JavaScript counts up, the reader sets it to 0); from word 4:
//             ten words each: operation, socket, offset and length in the arena, port and family,
//             four address words, zone
//   stats     Float64Array: datagrams and bytes taken by the kernel
//   arena     Uint8Array: the bytes to be sent; never leaves udp-native-link.ts
//
// Invariant: a slab's memory is used only after its address was asked for again in this turn, as
// the program may have detached it.
#pragma once

#include <node_api.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../engine/block_pool.h"
#include "../engine/udp.h"
#include "hosted.h"

namespace marketplace::binding {

class UdpLoop final : public Hosted {
 public:
  // A new loop with one reference, for the JavaScript handle; nullptr with a pending exception.
  static UdpLoop* create(napi_env env, napi_value options);

  engine::UdpEngine& engine() { return *engine_; }

  // Registers an ArrayBuffer to receive into: its number. Negative: not an ArrayBuffer.
  int32_t add_slab(napi_value buffer);
  void release_slab(uint32_t index);
  // Executes JavaScript's commands now.
  void flush();

 private:
  enum class Command : int32_t { send = 1, close = 2 };
  struct Slab {
    napi_ref reference = nullptr;
    // Keeps the memory, whatever becomes of the ArrayBuffer. Empty: that is all that keeps it.
    engine::BlockPool::Block block;
    uint8_t* base = nullptr;
    uint32_t size = 0;
  };

  explicit UdpLoop(napi_env env) : Hosted(env, "the datagram engine") {}
  ~UdpLoop() override = default;
  bool open(napi_value options);
  bool open_memory(napi_value options);

  void on_turn(bool ready) override;
  void last_turn() override { flush(); }
  void drop_engine() override;
  void release_memory() override;

  uint32_t publish();
  void execute(const int32_t* command);
  bool slab_intact(const Slab& slab) const;
  bool keep(napi_value value);

  std::unique_ptr<engine::UdpEngine> engine_;
  int32_t* records_ = nullptr;
  uint32_t record_count_ = 0;
  int32_t* commands_ = nullptr;
  uint32_t command_count_ = 0;
  double* stats_ = nullptr;
  uint8_t* arena_ = nullptr;
  uint32_t arena_size_ = 0;
  std::vector<Slab> slabs_;
  std::vector<uint32_t> free_slabs_;

  // The shared memory, which is kept alive.
  std::vector<napi_ref> kept_;
};

}  // namespace marketplace::binding
