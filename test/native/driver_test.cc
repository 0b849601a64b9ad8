// A random driver of the engine: commands, peers and a failing kernel, in any order. Whatever they
// do, every connection that the host was told of ends with exactly one `closed`, no descriptor
// stays, what arrives is a beginning of what was sent, and nobody takes a part for the whole.
#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <set>

#include "../../native/engine/socket.h"
#include "faulty.h"

namespace marketplace::test {

namespace {

enum class Peer { open, finished, gone };

struct Wire {
  Descriptor client;
  uint32_t id = 0;
  Peer peer = Peer::open;
  std::string sent;      // by the client
  std::string written;   // by the host, and taken by the engine
  std::string received;  // by the client
  // The host has asked for an end of its output, so that the client may see one.
  bool ends = false;
  bool aborted = false;
};

class Driver {
 public:
  Driver(uint32_t seed, int faults_per_thousand) : seed_(seed) {
    auto backend = std::make_unique<Faulty>();
    const auto maybe = [faults_per_thousand](std::vector<int> errors) {
      return [=] {
        if (static_cast<int>(random_below(1000)) >= faults_per_thousand) return 0;
        return errors[random_below(static_cast<uint32_t>(errors.size()))];
      };
    };
    backend->watch_error = maybe({-ENOMEM, -ENOSPC});
    backend->send_error = maybe({-ENOMEM, -ENOBUFS, -ENOSPC, -EAGAIN, -EINTR});
    backend->receive_error = maybe({-ENOMEM, -ENOBUFS, -ENOSPC});
    engine::Options options;
    options.close_timeout_ms = 200;
    options.overflow_pauses = random_below(2) == 0;
    options.queued_max = random_below(2) == 0 ? 64 * 1024 : SIZE_MAX;
    options.queued_total_max = random_below(3) == 0 ? 256 * 1024 : SIZE_MAX;
    const uint32_t slab = random_below(2) == 0 ? 4096 : 64 * 1024;
    host_ = std::make_unique<Host>(std::move(backend), options, slab);
    host_->on_record = [this](const Record& record) { hear(record); };
    listener_ = host_->listen();
    port_ = host_->port(listener_);
  }

  void run(int steps) {
    for (int i = 0; i < steps; i++) {
      act();
      if (random_below(3) == 0) host_->step(0);
    }
    for (const auto& wire : wires_) let_go(*wire);
    host_->lend = true;
    for (int i = 0; i < 4; i++) host_->add_slab();
    host_->until([&] {
      for (const auto& wire : wires_) take(*wire);
      return ended_.size() == told_.size() && host_->engine.count() == 0;
    });
    for (const auto& wire : wires_) check(*wire);
  }

 private:
  void hear(const Record& record) {
    const uint32_t id = static_cast<uint32_t>(record.id);
    switch (record.event) {
      case Event::accepted:
        // Nobody has the id who has not ended.
        CHECK(told_.insert(uses_[id] * 0x100000000 + id).second);
        return;
      case Event::closed:
        CHECK(ended_.insert(uses_[id] * 0x100000000 + id).second);
        uses_[id]++;
        errors_[id] = record.a;
        return;
      case Event::data:
      case Event::end:
      case Event::written:
        CHECK(told_.count(uses_[id] * 0x100000000 + id) == 1);
        return;
      default:
        return;
    }
  }

  bool alive(const Wire& wire) const { return ended_.count(wire.id) == 0; }

  void act() {
    const uint32_t choice = random_below(20);
    if (wires_.size() < 12 && choice < 4) return open();
    if (wires_.empty()) return;
    Wire& wire = *wires_[random_below(static_cast<uint32_t>(wires_.size()))];
    engine::Engine& engine = host_->engine;
    switch (choice) {
      case 0:
      case 1:
      case 2:
        return send(wire);
      case 3:
      case 4:
      case 5:
        return take(wire);
      case 6:
      case 7:
      case 8:
      case 9:
        return write(wire);
      case 10:
        return engine.pause(wire.id, true);
      case 11:
      case 12:
        return engine.pause(wire.id, false);
      case 13:
        wire.ends = true;
        return engine.shutdown(wire.id);
      case 14:
        if (random_below(3) > 0) return;
        wire.ends = true;
        return engine.close(wire.id);
      case 15:
        if (random_below(4) > 0) return;
        wire.aborted = true;
        return engine.abort(wire.id);
      case 16:
        if (random_below(3) > 0) return;
        if (wire.peer == Peer::open) ::shutdown(wire.client.get(), SHUT_WR);
        if (wire.peer == Peer::open) wire.peer = Peer::finished;
        return;
      case 17:
        if (random_below(3) > 0 || wire.peer == Peer::gone) return;
        wire.peer = Peer::gone;
        if (random_below(2) == 0) return reset(wire.client);
        return wire.client.reset();
      case 18:
        host_->lend = !host_->lend;
        if (host_->lend) host_->add_slab();
        return;
      default:
        engine.report_writes(wire.id, random_below(2) == 0);
        engine.idle_timeout(wire.id, random_below(4) == 0 ? 50 : 0);
        return engine.flush();
    }
  }

  void open() {
    wires_.push_back(std::make_unique<Wire>());
    Wire& wire = *wires_.back();
    // It may be gone before it was accepted, as watching it may fail.
    wire.id = host_->accept(listener_, wire.client);
    unblock(wire.client);
  }

  void send(Wire& wire) {
    if (wire.peer != Peer::open) return;
    const std::string data =
        pattern(1 + random_below(random_below(3) == 0 ? 100'000 : 300), seed_++);
    const ssize_t n = ::send(wire.client.get(), data.data(), data.size(), MSG_NOSIGNAL);
    if (n > 0) wire.sent.append(data, 0, static_cast<size_t>(n));
    // It was reset, and this has taken the error away: an end that follows is none.
    if (n < 0 && errno != EAGAIN) {
      wire.client.reset();
      wire.peer = Peer::gone;
    }
  }

  void take(Wire& wire) {
    if (wire.peer == Peer::gone) return;
    char chunk[65536];
    ssize_t n = 0;
    while ((n = ::recv(wire.client.get(), chunk, sizeof(chunk), MSG_DONTWAIT)) > 0) {
      wire.received.append(chunk, static_cast<size_t>(n));
    }
    if (n == 0) {
      // An end: of all that the host has written, and only if it asked for one, or was told that
      // nothing had come or gone for too long.
      const auto error = errors_.find(wire.id);
      const bool idle = error != errors_.end() && error->second == -ETIMEDOUT;
      CHECK(wire.ends || idle || wire.written.empty());
      if (wire.ends || idle) CHECK_EQUAL(wire.received.size(), wire.written.size());
      wire.client.reset();
      wire.peer = Peer::gone;
    } else if (errno != EAGAIN) {
      wire.client.reset();
      wire.peer = Peer::gone;
    }
  }

  void write(Wire& wire) {
    if (wire.ends || wire.aborted || !alive(wire)) return;
    const size_t most = random_below(4) == 0 ? 300'000 : 1000;
    const std::string data = pattern(1 + random_below(static_cast<uint32_t>(most)), seed_++);
    wire.written += data;
    host_->engine.write(wire.id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
    host_->engine.flush();
  }

  // The client goes, and the host has had enough.
  void let_go(Wire& wire) {
    if (random_below(2) == 0 && wire.peer != Peer::gone) {
      wire.peer = Peer::gone;
      wire.client.reset();
    }
    wire.ends = true;
    host_->engine.close(wire.id);
    host_->engine.flush();
  }

  void check(const Wire& wire) {
    const std::string& got = host_->input[static_cast<int32_t>(wire.id)];
    CHECK(wire.sent.compare(0, got.size(), got) == 0);
    CHECK(wire.written.compare(0, wire.received.size(), wire.received) == 0);
  }

  uint32_t seed_;
  std::unique_ptr<Host> host_;
  uint32_t listener_ = 0;
  uint16_t port_ = 0;
  std::vector<std::unique_ptr<Wire>> wires_;
  std::map<uint32_t, uint64_t> uses_;
  std::set<uint64_t> told_;
  std::set<uint64_t> ended_;
  std::map<uint32_t, int32_t> errors_;
};

}  // namespace

TEST("random: commands and peers in any order") {
  for (uint32_t round = 0; round < 25; round++) Driver(round * 10'000, 0).run(300);
}

TEST("random: commands, peers and a kernel that fails") {
  for (uint32_t round = 0; round < 40; round++) Driver(round * 10'000, 15).run(300);
}

}  // namespace marketplace::test
