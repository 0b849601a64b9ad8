// A backend on a kernel that fails: errors of epoll_ctl, of sends and of receives, where the test
// wants them.
#pragma once

#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "harness.h"

namespace marketplace::test {

// Passes everything on to the real one, but for what fails.
class Faulty : public engine::Backend {
 public:
  // Each is asked for every such call; a negative errno is its result, 0 lets it be.
  std::function<int()> watch_error = [] { return 0; };
  std::function<int()> send_error = [] { return 0; };
  std::function<int()> receive_error = [] { return 0; };

  int open() override { return real_->open(); }
  int descriptor() const override { return real_->descriptor(); }
  void acknowledge() override { real_->acknowledge(); }
  bool pending() const override { return real_->pending(); }
  int watch_host(int descriptor) override { return real_->watch_host(descriptor); }
  int sleep(int timeout_ms) override { return real_->sleep(timeout_ms); }
  bool host_ready() override { return real_->host_ready(); }
  void forget(engine::Socket& socket) override { real_->forget(socket); }
  void wake_at(int64_t time_ms) override { real_->wake_at(time_ms); }

  void want(engine::Socket& socket, uint8_t wanted) override {
    real_->want(socket, wanted);
    if (socket.kind != engine::Kind::listener) watched_.push_back(socket.key);
  }
  void settle(engine::BackendSink& sink) override {
    Sink faulty(sink, *this);
    for (const engine::Key token : std::exchange(watched_, {})) {
      engine::Socket* socket = sink.find(token);
      if (socket == nullptr) continue;
      if (const int error = watch_error()) sink.unwatchable(*socket, error);
    }
    real_->settle(faulty);
  }
  int turn(engine::BackendSink& sink) override {
    Sink faulty(sink, *this);
    return real_->turn(faulty);
  }
  ssize_t send(engine::Socket& socket, const iovec* pieces, int count) override {
    const int error = send_error();
    return error != 0 ? error : real_->send(socket, pieces, count);
  }
  bool batches(size_t sends) const override { return real_->batches(sends); }
  void queue_send(engine::Socket& socket, const iovec* pieces, int count) override {
    const int error = send_error();
    queued_.push_back(error);
    if (error == 0) real_->queue_send(socket, pieces, count);
  }
  const ssize_t* send_queued() override {
    results_.clear();
    const ssize_t* real = real_->send_queued();
    for (const int error : std::exchange(queued_, {})) {
      results_.push_back(error != 0 ? error : *real++);
    }
    return results_.data();
  }

 private:
  class Sink final : public engine::BackendSink {
   public:
    Sink(engine::BackendSink& real, Faulty& faults) : real_(real), faults_(faults) {}

    bool received(engine::Socket& socket, const engine::Memory& memory, ssize_t result) override {
      // With io_uring what was received is reported in parts, and cannot fail any more.
      const bool can_fail = result == 0 || backend_is("epoll");
      const int error = can_fail ? faults_.receive_error() : 0;
      if (error == 0) return real_.received(socket, memory, result);
      return real_.received(socket, engine::Memory{}, error);
    }
    bool accepted(engine::Socket& listener, Descriptor descriptor, const Address& peer) override {
      return real_.accepted(listener, std::move(descriptor), peer);
    }
    int accept(engine::Socket& listener, Descriptor& out, Address& peer) override {
      return real_.accept(listener, out, peer);
    }
    bool accept_failed(engine::Socket& listener, int error) override {
      return real_.accept_failed(listener, error);
    }
    engine::Socket* find(engine::Key token) override { return real_.find(token); }
    bool ready_for_more() const override { return real_.ready_for_more(); }
    void connected(engine::Socket& socket, int result) override { real_.connected(socket, result); }
    engine::Memory memory_for(engine::Socket& socket) override { return real_.memory_for(socket); }
    ssize_t receive_carried(engine::Socket& socket, const engine::Memory& memory) override {
      return real_.receive_carried(socket, memory);
    }
    void discarded(engine::Socket& socket, ssize_t result) override {
      real_.discarded(socket, result);
    }
    engine::Served readable(engine::Socket& socket) override { return real_.readable(socket); }
    void sendable(engine::Socket& socket) override { real_.sendable(socket); }
    void hung_up(engine::Socket& socket) override { real_.hung_up(socket); }
    void unwatchable(engine::Socket& socket, int error) override {
      real_.unwatchable(socket, error);
    }
    void woken() override { real_.woken(); }

   private:
    engine::BackendSink& real_;
    Faulty& faults_;
  };

  std::unique_ptr<engine::Backend> real_ = make_backend();
  std::vector<engine::Key> watched_;
  std::vector<int> queued_;
  std::vector<ssize_t> results_;
};

}  // namespace marketplace::test
