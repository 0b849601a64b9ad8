// One engine on Node's own event loop: its libuv handles, and its one way into JavaScript per turn.
//
// Invariants: the object lives until both the JavaScript handle is collected and the libuv handles
// are closed; after `close` began nothing enters JavaScript but the final `onClosed`; in the
// teardown of an environment nothing does.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <memory>

#include "../engine/choose.h"
#include "shared.h"

namespace marketplace::binding {

class Loop {
 public:
  // A new loop with one reference, for the JavaScript handle; nullptr with a pending exception.
  static Loop* create(napi_env env, napi_value options);
  void unref();

  bool running() const { return state_ == State::running; }
  engine::Engine& engine() { return *engine_; }
  Shared& shared() { return shared_; }
  const engine::BackendInfo& info() const { return info_; }

  // Whether this keeps the environment's event loop alive; at first it does.
  void keep_alive(bool on);
  // Executes JavaScript's commands now.
  void flush();
  // Begins to close the libuv handles, and then everything else; `onClosed` follows.
  void close();

 private:
  enum class State { running, closing, closed };

  explicit Loop(napi_env env) : env_(env) {}
  ~Loop() = default;
  bool open(napi_value options);
  bool open_engine(napi_value options);
  bool open_limits(napi_value options, engine::Options& out);
  bool open_handles();

  static void on_ready(uv_poll_t* handle, int status, int events);
  static void on_again(uv_idle_t* handle);
  static void on_prepare(uv_prepare_t* handle);
  static void on_handle_closed(uv_handle_t* handle);
  static void on_teardown(napi_async_cleanup_hook_handle handle, void* data);

  void turn();
  void deliver(int result, uint64_t start);
  void spin();
  uint64_t spin_end(uint64_t latest);
  void again(bool on);
  void run_batch(napi_value count);
  void execute();
  void call(napi_ref function, size_t count, const napi_value* arguments);
  void fail(int error);
  void closed();
  void release_references();

  napi_env env_;
  State state_ = State::running;
  bool teardown_ = false;
  int references_ = 1;
  int open_handles_ = 0;
  bool again_ = false;
  // How long to wait for the next event awake, in nanoseconds, and whether one is likely to come.
  uint64_t busy_poll_ = 0;
  bool lively_ = false;
  // Of the turn at hand, in nanoseconds: in the program, and in what it had executed meanwhile.
  uint64_t batch_time_ = 0;
  uint64_t flush_time_ = 0;

  engine::BackendInfo info_;
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
};

}  // namespace marketplace::binding
