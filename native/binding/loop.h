// The engine on Node's own event loop: what a turn is, what it shares with JavaScript, and
// busy polling.
#pragma once

#include <node_api.h>
#include <uv.h>

#include <memory>

#include "../engine/choose.h"
#include "hosted.h"
#include "shared.h"

namespace marketplace::binding {

class Loop final : public Hosted {
 public:
  // A new loop with one reference, for the JavaScript handle; nullptr with a pending exception.
  static Loop* create(napi_env env, napi_value options);

  engine::Engine& engine() { return *engine_; }
  Shared& shared() { return shared_; }
  const engine::BackendInfo& info() const { return info_; }

  // As Shared's.
  int32_t add_slab(napi_value buffer, Purpose purpose) {
    return shared_.add_slab(env(), buffer, purpose, *engine_, memory());
  }
  // Executes JavaScript's commands now.
  void flush();

 private:
  explicit Loop(napi_env env) : Hosted(env, "the engine") {}
  ~Loop() override = default;
  bool open(napi_value options);
  bool open_engine(napi_value options);
  bool open_limits(napi_value options, engine::Options& out);

  void on_turn(bool ready) override;
  void open_more(uv_loop_t* loop) override;
  void last_turn() override;
  void drop_engine() override;
  void release_memory() override { shared_.release_all(env()); }
  static void on_prepare(uv_prepare_t* handle);

  void deliver(int result, uint64_t start);
  void spin();
  uint64_t spin_end(uint64_t latest);
  void run_batch(uint32_t count);
  void execute();

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
  uv_prepare_t prepare_{};
};

}  // namespace marketplace::binding
