// The engine on Node's own event loop: libuv handles, what a turn is, one way into JavaScript per
// turn, busy polling, and an end that leaves nothing behind.
//
// Invariants: the object lives until both the JavaScript handle is collected and the libuv handles
// are closed; after `close` began nothing enters JavaScript but the final `onClosed`; in the
// teardown of an environment nothing does. One spin of busy polling lasts no longer than the option
// says, plus the turn that it ends with; it ends when a timer is due or anything else of the loop's
// wants to run; between two spins libuv looks at all its other descriptors. Where the engine sleeps
// instead of libuv, libuv never does: it would not hear of the engine's sockets.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <array>
#include <cstddef>
#include <memory>

#include "../engine/choose.h"
#include "../engine/waits.h"
#include "shared.h"
#include "slab_memory.h"
#include "sleep_time.h"

namespace marketplace::binding {

// What every handle of libuv's begins with.
uv_handle_t* plain(auto* handle) {
  return reinterpret_cast<uv_handle_t*>(handle);
}

class Loop final {
 public:
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  // A new loop with one reference, for the JavaScript handle; nullptr with a pending exception.
  static Loop* create(napi_env env, napi_value options);
  void unref();

  bool running() const { return state_ == State::running; }
  engine::Engine& engine() { return *engine_; }
  Shared& shared() { return shared_; }
  const engine::BackendInfo& info() const { return info_; }

  // Whether this keeps the environment's event loop alive; at first it does. In any case it does
  // while the engine has something left to do for the program: see `hold`.
  void keep_alive(bool on);
  // A listener may mind how late the event loop is: if one does, that is measured.
  void watch_delay();
  // Executes JavaScript's commands now.
  void flush();
  // Begins to close the libuv handles, and then everything else; `onClosed` follows.
  void close();

  // As Shared's.
  int32_t add_slab(napi_value buffer, Purpose purpose) {
    return shared_.add_slab(env_, buffer, purpose, *engine_, memory_);
  }
  // An ArrayBuffer to receive into, which is to be added to the engine next. nullptr: such memory
  // cannot be made here, or the environment ends.
  napi_value make_memory(size_t size);
  // Bytes of it that wait to be used again.
  size_t idle_memory() const { return memory_.idle(); }

 private:
  enum class State { running, closing, closed };

  explicit Loop(napi_env env) : env_(env) {}
  ~Loop() = default;

  bool open(napi_value options);
  bool open_engine(napi_value options);
  bool open_functions(napi_value options);
  bool open_handles();
  void throw_errno(const std::string& what, int error) const;

  // turn.cc
  void turn(bool ready);
  void take_turn(uint64_t start);
  void release_if_over();
  void deliver(int result, uint64_t start);
  void run_batch(uint32_t count);
  void execute();
  void note_delay();
  bool spinning_pays();
  void spin();
  void rest();
  void look_only();
  int sleep(int timeout_ms);
  bool may_sleep(uv_loop_t* loop);
  uint64_t spin_end(uint64_t latest);
  // Whether there is to be another turn before the loop sleeps. Costs no system call.
  void again(bool on);
  // Whether something is under way that keeps the event loop alive whatever the program says, as
  // libuv's requests do.
  void hold(bool on);
  void refer();

  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_again(uv_idle_t* handle);
  static void on_prepare(uv_prepare_t* handle);
  static void on_settle(uv_timer_t* handle);
  static void on_handle_closed(uv_handle_t* handle);
  static void on_teardown(napi_async_cleanup_hook_handle handle, void* data);

  // Hands the first `count` records to JavaScript. As long as it says (by `true`, or by an
  // exception) that it kept some of them back, it is entered again, with a count of 0: Node runs
  // ticks and promises after each entry, and never within one.
  void call_batch(uint32_t count);
  // Whether there is something left to do: it returned `true`, or threw.
  bool call(napi_ref function, size_t count, const napi_value* arguments);
  // The engine itself is broken, which no argument can bring about: loudly, and without spinning.
  void fail(int error);
  void closed();
  void release_references();

  napi_env env_;
  State state_ = State::running;
  bool teardown_ = false;
  bool again_ = false;
  bool wanted_ = true;
  bool held_ = false;
  int references_ = 1;
  size_t open_handles_ = 0;

  // How long to wait for the next event awake, in nanoseconds; whether only while the last waits
  // were no longer; and whether something has happened since the last time.
  uint64_t busy_poll_ = 0;
  bool adapts_ = false;
  bool lively_ = false;
  engine::Waits waits_;
  // The engine sleeps, with libuv's descriptor among its own, instead of libuv with the engine's.
  bool sleeps_ = false;
  SleepTime sleep_time_;
  // Of the turn at hand, in nanoseconds: in the program, and in what it had executed meanwhile.
  uint64_t batch_time_ = 0;
  uint64_t flush_time_ = 0;

  // When the loop was about to sleep last, and how long it had slept in all by then, in
  // nanoseconds; 0: nobody wants to know.
  uint64_t prepared_at_ = 0;
  uint64_t slept_ = 0;
  engine::BackendInfo info_;
  SlabMemory memory_;
  // The engine uses memory of what is shared, to its end.
  Shared shared_;
  std::unique_ptr<engine::Engine> engine_;

  napi_ref on_batch_ = nullptr;
  napi_ref on_closed_ = nullptr;
  napi_ref receiver_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_poll_t poll_{};
  uv_idle_t idle_{};
  uv_prepare_t prepare_{};
  // Runs as long as there is memory to be given back.
  uv_timer_t settle_{};
  // Never runs. It is how others see that an engine sleeps on this loop already.
  uv_timer_t mark_{};
  std::array<uv_handle_t*, 5> handles_{};
};

}  // namespace marketplace::binding
