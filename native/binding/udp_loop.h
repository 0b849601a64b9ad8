// One datagram engine on Node's own event loop: its libuv handles, the memory that it shares with
// JavaScript, and its one way into JavaScript per turn.
//
// Layout, in 32-bit words of Int32Arrays; src/transport/udp-native-link.ts has the other end of it:
//   records   twelve words each, as in engine/udp.h, from word 0
//   commands  word 0: how many follow (JavaScript counts up, the reader sets it to 0); from word 4:
//             ten words each: operation, socket, offset and length in the arena, port and family,
//             four address words, zone
//   stats     Float64Array: datagrams and bytes taken by the kernel
//   arena     Uint8Array: the bytes to be sent; never leaves udp-native-link.ts
//
// Invariants: the object lives until both the JavaScript handle is collected and the libuv handles
// are closed; after `close` began nothing enters JavaScript but the final `onClosed`; in the
// teardown of an environment nothing does; a slab's memory is used only after its address was asked
// for again in this turn, as the program may have detached it.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "../engine/udp.h"

namespace marketplace::binding {

class UdpLoop {
 public:
  // A new loop with one reference, for the JavaScript handle; nullptr with a pending exception.
  static UdpLoop* create(napi_env env, napi_value options);
  void unref();

  bool running() const { return state_ == State::running; }
  engine::UdpEngine& engine() { return *engine_; }

  // Registers an ArrayBuffer to receive into: its number. Negative: not an ArrayBuffer.
  int32_t add_slab(napi_value buffer);
  void release_slab(uint32_t index);
  // Executes JavaScript's commands now.
  void flush();
  // Begins to close the libuv handles, and then everything else; `onClosed` follows.
  void close();

 private:
  enum class State { running, closing, closed };
  enum class Command : int32_t { send = 1, close = 2 };
  struct Slab {
    napi_ref reference = nullptr;
    uint8_t* base = nullptr;
    uint32_t size = 0;
  };

  explicit UdpLoop(napi_env env) : env_(env) {}
  ~UdpLoop() = default;
  bool open(napi_value options);
  bool open_memory(napi_value options);
  bool open_handles();

  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_again(uv_idle_t* handle);
  static void on_handle_closed(uv_handle_t* handle);
  static void on_teardown(napi_async_cleanup_hook_handle handle, void* data);

  void turn();
  uint32_t publish();
  void execute(const int32_t* command);
  bool slab_intact(const Slab& slab) const;
  void call(napi_ref function, size_t count, const napi_value* arguments);
  void fail(int error);
  void closed();
  bool keep(napi_value value, napi_ref& out);
  void release_references();

  napi_env env_;
  State state_ = State::running;
  bool teardown_ = false;
  int references_ = 1;
  int open_handles_ = 0;
  bool again_ = false;

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

  // What is kept alive: shared memory and functions.
  std::vector<napi_ref> kept_;
  napi_ref on_batch_ = nullptr;
  napi_ref on_closed_ = nullptr;
  napi_ref receiver_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_poll_t poll_{};
  uv_idle_t idle_{};
};

}  // namespace marketplace::binding
