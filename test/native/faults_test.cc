// The engine on a kernel that takes what it likes: injected short writes, refusals and errors.
#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

// Passes everything on to the real one, but sends only some of what it is given, or fails.
class Stingy final : public engine::Backend {
 public:
  int open() override { return real_->open(); }
  int descriptor() const override { return real_->descriptor(); }
  void acknowledge() override { real_->acknowledge(); }
  bool pending() const override { return real_->pending(); }
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
      queued_.push_back(fail_with != 0 ? fail_with : -EAGAIN);
      return;
    }
    const std::vector<iovec> some = some_of(pieces, count);
    queued_.push_back(queued_ok);
    real_->queue_send(socket, some.data(), static_cast<int>(some.size()));
  }

  ssize_t send(engine::Socket& socket, const iovec* pieces, int count) override {
    if (fail_with != 0) return fail_with;
    if (random_below(3) == 0) return -EAGAIN;
    const std::vector<iovec> some = some_of(pieces, count);
    return real_->send(socket, some.data(), static_cast<int>(some.size()));
  }

  int fail_with = 0;

 private:
  static constexpr ssize_t queued_ok = 1;

  static std::vector<iovec> some_of(const iovec* pieces, int count) {
    size_t total = 0;
    for (int i = 0; i < count; i++) total += pieces[i].iov_len;
    size_t left = 1 + random_below(static_cast<uint32_t>(total));
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

}  // namespace

TEST("whatever is taken of each write, every byte arrives once and in order") {
  for (uint32_t round = 0; round < 20; round++) {
    Host host(std::make_unique<Stingy>(), {}, 64 * 1024);
    Descriptor client;
    const uint32_t id = host.accept(host.listen(), client);
    host.engine.report_writes(id, true);
    std::string expected;
    for (uint32_t turn = 0; turn < 30; turn++) {
      std::vector<std::string> pieces(random_below(90));
      for (std::string& piece : pieces) {
        piece = pattern(1 + random_below(random_below(10) == 0 ? 20'000 : 100), round + turn);
        expected += piece;
        host.engine.write(id, reinterpret_cast<const uint8_t*>(piece.data()), piece.size());
      }
      host.engine.flush();
      for (std::string& piece : pieces) piece.assign(piece.size(), '!');
      if (random_below(2) == 0) host.step(0);
    }
    host.engine.close(id);
    host.engine.flush();
    int error = -1;
    CHECK(read_all(host, client, error) == expected);
    CHECK_EQUAL(error, 0);
    host.until([&] { return host.count(Event::closed) == 1; });
    CHECK_EQUAL(host.last(Event::closed)->a, 0);
    CHECK_EQUAL(host.engine.counters().bytes_out, expected.size());
  }
}

TEST("an error of a write ends the connection with that error") {
  for (const int error : {-ETIMEDOUT, -EHOSTUNREACH, -ENOMEM}) {
    auto backend = std::make_unique<Stingy>();
    Stingy& stingy = *backend;
    Host host(std::move(backend), {}, 64 * 1024);
    Descriptor client;
    const uint32_t id = host.accept(host.listen(), client);
    stingy.fail_with = error;
    host.write(id, "x");
    host.until([&] { return host.count(Event::closed) == 1; });
    CHECK_EQUAL(host.last(Event::closed)->a, error);
    CHECK_EQUAL(host.last(Event::closed)->b, engine::Call::write);
  }
}

TEST("an error of a write to a connection that closes is reported, too") {
  auto backend = std::make_unique<Stingy>();
  Stingy& stingy = *backend;
  Host host(std::move(backend), {}, 64 * 1024);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  stingy.fail_with = -EPIPE;
  host.engine.write(id, reinterpret_cast<const uint8_t*>("x"), 1);
  host.engine.close(id);
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, -EPIPE);
}

}  // namespace marketplace::test
