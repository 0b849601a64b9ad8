// What accept may say and a test can't bring about: injected, on every backend.
#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

using engine::Backend;
using engine::BackendSink;
using engine::Key;
using engine::Memory;
using engine::Socket;

// Takes the place of the first accepts' results; everything else is passed on.
class RefusingSink final : public BackendSink {
 public:
  RefusingSink(BackendSink& real, int& refusals, int error)
      : real_(real), refusals_(refusals), error_(error) {}

  bool accepted(Socket& listener, Descriptor descriptor, const Address& peer) override {
    if (refusals_ == 0) return real_.accepted(listener, std::move(descriptor), peer);
    refusals_--;
    return real_.accept_failed(listener, error_);
  }
  int accept(Socket& listener, Descriptor& out, Address& peer) override {
    return real_.accept(listener, out, peer);
  }
  bool accept_failed(Socket& listener, int error) override {
    return real_.accept_failed(listener, error);
  }
  Socket* find(Key key) override { return real_.find(key); }
  bool ready_for_more() const override { return real_.ready_for_more(); }
  void connected(Socket& socket, int result) override { real_.connected(socket, result); }
  Memory memory_for(Socket& socket) override { return real_.memory_for(socket); }
  bool received(Socket& socket, const Memory& memory, ssize_t result) override {
    return real_.received(socket, memory, result);
  }
  ssize_t receive_carried(Socket& socket, const Memory& memory) override {
    return real_.receive_carried(socket, memory);
  }
  void discarded(Socket& socket, ssize_t result) override { real_.discarded(socket, result); }
  engine::Served readable(Socket& socket) override { return real_.readable(socket); }
  void sendable(Socket& socket) override { real_.sendable(socket); }
  void hung_up(Socket& socket) override { real_.hung_up(socket); }
  void unwatchable(Socket& socket, int error) override { real_.unwatchable(socket, error); }
  void woken() override { real_.woken(); }

 private:
  BackendSink& real_;
  int& refusals_;
  int error_;
};

class Refusing final : public Backend {
 public:
  Refusing(int refusals, int error) : refusals_(refusals), error_(error) {}

  int turn(BackendSink& sink) override {
    RefusingSink refusing(sink, refusals_, error_);
    return real_->turn(refusing);
  }
  // io_uring keeps what it has accepted beyond a turn's limit, and reports it here.
  void settle(BackendSink& sink) override {
    RefusingSink refusing(sink, refusals_, error_);
    real_->settle(refusing);
  }
  int open() override { return real_->open(); }
  int descriptor() const override { return real_->descriptor(); }
  void acknowledge() override { real_->acknowledge(); }
  bool pending() const override { return real_->pending(); }
  int watch_host(int descriptor) override { return real_->watch_host(descriptor); }
  int sleep(int timeout_ms) override { return real_->sleep(timeout_ms); }
  bool host_ready() override { return real_->host_ready(); }
  void want(Socket& socket, uint8_t wanted) override { real_->want(socket, wanted); }
  void forget(Socket& socket) override { real_->forget(socket); }
  ssize_t send(Socket& socket, const iovec* pieces, int count) override {
    return real_->send(socket, pieces, count);
  }
  bool batches(size_t sends) const override { return real_->batches(sends); }
  void queue_send(Socket& socket, const iovec* pieces, int count) override {
    real_->queue_send(socket, pieces, count);
  }
  const ssize_t* send_queued() override { return real_->send_queued(); }
  void wake_at(int64_t time_ms) override { real_->wake_at(time_ms); }

 private:
  std::unique_ptr<Backend> real_ = make_backend();
  int refusals_;
  int error_;
};

constexpr int pause_ms = 50;

engine::Options briefly() {
  engine::Options options;
  options.accept_pause_ms = pause_ms;
  return options;
}

// Clients dial one after the other; the first `refusals` accepts fail with `error`.
void shortage_of(int error, int refusals) {
  Host host(std::make_unique<Refusing>(refusals, -error), briefly(), 64 * 1024);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients;
  for (int i = 0; i <= refusals; i++) clients.push_back(dial(host.port(listener)));
  host.until([&] { return host.count(Event::accept_failed) == 1; });
  CHECK_EQUAL(host.last(Event::accept_failed)->id, listener);
  CHECK_EQUAL(host.last(Event::accept_failed)->a, -error);
  // It rests meanwhile, and tries once per pause: nothing spins.
  const int turns = host.run_for(pause_ms / 2);
  CHECK(turns <= 4 + 3 * idle_turns_max());
  // Those that waited may have been sent away; whoever comes when it is over is accepted.
  host.until([&] {
    if (host.count(Event::accepted) > 0) return true;
    host.run_for(2 * pause_ms);
    clients.push_back(dial(host.port(listener)));
    return false;
  });
  CHECK_EQUAL(host.count(Event::accept_failed), 1);
}

}  // namespace

TEST("the system is out of files: one report, a rest, and accepting goes on") {
  shortage_of(ENFILE, 3);
}

TEST("no memory for a socket: one report, a rest, and accepting goes on") {
  shortage_of(ENOBUFS, 3);
  shortage_of(ENOMEM, 3);
}

TEST("a connection that ended before it was accepted is not reported, and the next one is taken") {
  Host host(std::make_unique<Refusing>(2, -ECONNABORTED), briefly(), 64 * 1024);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients;
  for (int i = 0; i < 5; i++) clients.push_back(dial(host.port(listener)));
  host.until([&] { return host.count(Event::accepted) == 3; });
  CHECK_EQUAL(host.count(Event::accept_failed), 0);
}

}  // namespace marketplace::test
