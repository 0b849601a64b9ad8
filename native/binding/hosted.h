// What the engine needs to live on Node's event loop: libuv handles, one way into JavaScript per
// turn, and an end that leaves nothing behind. What a turn is, is in loop.h.
//
// Invariants: the object lives until both the JavaScript handle is collected and the libuv handles
// are closed; after `close` began nothing enters JavaScript but the final `onClosed`; in the
// teardown of an environment nothing does.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <array>
#include <cstddef>

#include "slab_memory.h"

namespace marketplace::binding {

class Hosted {
 public:
  Hosted(const Hosted&) = delete;
  Hosted& operator=(const Hosted&) = delete;

  // It begins with one reference, for the JavaScript handle.
  void unref();
  bool running() const { return state_ == State::running; }
  // Whether this keeps the environment's event loop alive; at first it does. In any case it does
  // while the engine has something left to do for the program: see `hold`.
  void keep_alive(bool on);
  // Begins to close the libuv handles, and then everything else; `onClosed` follows.
  void close();

  // An ArrayBuffer to receive into, which is to be added to the engine next. nullptr: such memory
  // cannot be made here, or the environment ends.
  napi_value make_memory(size_t size);
  // Bytes of it that wait to be used again.
  size_t idle_memory() const { return memory_.idle(); }

 protected:
  // `name` is for errors: 'the engine'.
  Hosted(napi_env env, const char* name) : env_(env), name_(name) {}
  virtual ~Hosted() = default;

  // There is something to do: the engine's descriptor is `ready`, or else `again` is on.
  virtual void on_turn(bool ready) = 0;
  // Opens handles of its own, which it has to `adopt`. The engine's descriptor is accepted by then.
  virtual void open_more(uv_loop_t*) {}
  // The environment ends: what was to be done at the end of this turn is done now.
  virtual void last_turn() = 0;
  // The libuv handles are closed, so that the engine can go, and then the memory that it used.
  virtual void drop_engine() = 0;
  // References to JavaScript's memory are to go while there still is an environment.
  virtual void release_memory() = 0;

  // Takes `onBatch` and `onClosed` of the options; false with a pending exception.
  bool open_functions(napi_value options, const char* resource);
  // Watches the engine's descriptor; the last step of opening. False with a pending exception.
  bool open_handles(int descriptor);
  // Takes an open handle that is to be closed with the others.
  void adopt(uv_handle_t* handle) { handles_[handle_count_++] = handle; }
  // Takes `idleMemoryMax` of the options; false with a pending exception.
  bool open_memory_limit(napi_value options);
  SlabMemory& memory() { return memory_; }
  // What could not be opened goes, with the reference for the JavaScript handle.
  void give_up();

  napi_env env() const { return env_; }
  uv_loop_t* event_loop() const { return poll_.loop; }
  void throw_errno(const char* what, int error) const;
  // Hands the first `count` records to JavaScript. As long as it says (by `true`, or by an
  // exception) that it kept some of them back, it is entered again, with a count of 0: Node runs
  // ticks and promises after each entry, and never within one.
  void call_batch(uint32_t count);
  // Whether there is to be another turn before the loop sleeps. Costs no system call.
  void again(bool on);
  // Whether something is under way that keeps the event loop alive whatever the program says, as
  // libuv's requests do.
  void hold(bool on);
  // The engine itself is broken, which no argument can bring about: loudly, and without spinning.
  void fail(int error);

 private:
  enum class State { running, closing, closed };

  void refer();
  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_again(uv_idle_t* handle);
  static void on_settle(uv_timer_t* handle);
  static void on_handle_closed(uv_handle_t* handle);
  static void on_teardown(napi_async_cleanup_hook_handle handle, void* data);

  // Whether there is something left to do: it returned `true`, or threw.
  bool call(napi_ref function, size_t count, const napi_value* arguments);
  void closed();
  void release_references();

  napi_env env_;
  const char* name_;
  State state_ = State::running;
  bool teardown_ = false;
  bool again_ = false;
  bool wanted_ = true;
  bool held_ = false;
  int references_ = 1;
  size_t open_handles_ = 0;

  napi_ref on_batch_ = nullptr;
  napi_ref on_closed_ = nullptr;
  napi_ref receiver_ = nullptr;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_poll_t poll_{};
  uv_idle_t idle_{};
  // Runs as long as there is memory to be given back.
  uv_timer_t settle_{};
  std::array<uv_handle_t*, 4> handles_{};
  size_t handle_count_ = 0;
  SlabMemory memory_;
};

}  // namespace marketplace::binding
