// A backend on a kernel that takes what it likes: injected short writes, refusals and errors.
#pragma once

#include <algorithm>
#include <cerrno>
#include <memory>
#include <vector>

#include "harness.h"

namespace marketplace::test {

// Passes everything on to the real one, but sends only some of what it is given, or fails.
class Stingy final : public engine::Backend {
 public:
  int open() override { return real_->open(); }
  int descriptor() const override { return real_->descriptor(); }
  void acknowledge() override { real_->acknowledge(); }
  bool pending() const override { return real_->pending(); }
  int watch_host(int descriptor) override { return real_->watch_host(descriptor); }
  int sleep(int timeout_ms) override { return real_->sleep(timeout_ms); }
  bool host_ready() override { return real_->host_ready(); }
  void want(engine::Socket& socket, uint8_t wanted) override { real_->want(socket, wanted); }
  void settle(engine::BackendSink& sink) override { real_->settle(sink); }
  void forget(engine::Socket& socket) override { real_->forget(socket); }
  void wake_at(int64_t time_ms) override { real_->wake_at(time_ms); }
  int turn(engine::BackendSink& sink) override { return real_->turn(sink); }

  // Any number of sends may be queued, even one.
  bool batches(size_t) const override { return real_->batches(1000); }
  const ssize_t* send_queued() override {
    results_.clear();
    const ssize_t* real = real_->send_queued();
    for (const ssize_t result : queued_) results_.push_back(result == queued_ok ? *real++ : result);
    queued_.clear();
    return results_.data();
  }
  void queue_send(engine::Socket& socket, const iovec* pieces, int count) override {
    if (fail_with != 0 || random_below(3) == 0) {
      queued_.push_back(fail_with != 0 ? fail_with : refusal());
      return;
    }
    const std::vector<iovec> some = some_of(pieces, count);
    queued_.push_back(queued_ok);
    real_->queue_send(socket, some.data(), static_cast<int>(some.size()));
  }

  ssize_t send(engine::Socket& socket, const iovec* pieces, int count) override {
    if (fail_with != 0) return fail_with;
    if (random_below(3) == 0) return refusal();
    const std::vector<iovec> some = some_of(pieces, count);
    return real_->send(socket, some.data(), static_cast<int>(some.size()));
  }

  int fail_with = 0;

 private:
  static constexpr ssize_t queued_ok = 1;

  // What a kernel says that takes nothing now, but may do so later.
  static int refusal() {
    constexpr int errors[] = {-EAGAIN, -ENOBUFS, -EINTR};
    return errors[random_below(3)];
  }

  static std::vector<iovec> some_of(const iovec* pieces, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += pieces[i].iov_len;
    size_t left = 1 + random_below(static_cast<uint32_t>(total));
    // Just whole pieces, now and then: that is where the next one begins.
    if (random_below(3) == 0) {
      left = 0;
      const uint32_t whole = 1 + random_below(static_cast<uint32_t>(count));
      for (uint32_t i = 0; i < whole; i++) left += pieces[i].iov_len;
    }
    std::vector<iovec> some;
    for (int i = 0; i < count && left > 0; i++) {
      some.push_back(iovec{pieces[i].iov_base, std::min(left, pieces[i].iov_len)});
      left -= some.back().iov_len;
    }
    return some;
  }

  std::unique_ptr<engine::Backend> real_ = make_backend();
  std::vector<ssize_t> queued_;
  std::vector<ssize_t> results_;
};

}  // namespace marketplace::test
