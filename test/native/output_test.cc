// Output that the kernel does not take at once: in lent memory and in copies, within limits.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>

#include "stingy.h"

namespace marketplace::test {

namespace {

// Memory to write from. What is not lent is overwritten after the flush, and what is given back is
// freed at once, so that the sanitizer sees a use that comes too late.
class Memories final : public engine::Lender {
 public:
  // Writes a copy of the text, from memory that can be lent or not.
  void write(Engine& engine, uint32_t id, const std::string& text, bool lendable) {
    Memory& memory = memories_.emplace_back();
    memory.bytes = std::make_unique<uint8_t[]>(text.size());
    memory.size = text.size();
    std::copy(text.begin(), text.end(), memory.bytes.get());
    const uint32_t number = static_cast<uint32_t>(memories_.size());
    engine.write(id, memory.bytes.get(), text.size(), lendable ? number : engine::no_source);
  }

  // To be called after each flush.
  void flushed() {
    for (; flushed_ < memories_.size(); flushed_++) {
      Memory& memory = memories_[flushed_];
      if (!memory.lent) memory.bytes.reset();
    }
  }

  engine::Loan lend(engine::Source source, size_t length) override {
    Memory& memory = memories_[source - 1];
    CHECK(!memory.lent);
    CHECK(length <= memory.size);
    if (refuse) return engine::no_loan;
    memory.lent = true;
    lent++;
    loans++;
    return source;
  }
  bool intact(engine::Loan loan) override {
    CHECK(memories_[loan - 1].lent);
    return loan != taken_away;
  }
  void give_back(engine::Loan loan) override {
    Memory& memory = memories_[loan - 1];
    CHECK(memory.lent);
    memory.lent = false;
    memory.bytes.reset();
    lent--;
  }

  bool refuse = false;
  engine::Loan taken_away = engine::no_loan;
  // At present, and ever.
  int lent = 0;
  int loans = 0;

 private:
  struct Memory {
    std::unique_ptr<uint8_t[]> bytes;
    size_t size = 0;
    bool lent = false;
  };
  std::deque<Memory> memories_;
  size_t flushed_ = 0;
};

// So much that no kernel takes it at once.
constexpr size_t too_much = 12'000'000;

}  // namespace

TEST("lent and copied memory, mixed, on several connections: every byte once and in order") {
  for (uint32_t round = 0; round < 3; round++) {
    Memories memories;
    Host host(std::make_unique<Stingy>(), {}, 64 * 1024);
    host.engine.set_lender(memories);
    const uint32_t listener = host.listen();
    struct Line {
      Descriptor client;
      uint32_t id;
      std::string expected;
    };
    std::vector<Line> lines(3);
    for (Line& line : lines) {
      line.id = host.accept(listener, line.client);
      host.engine.report_writes(line.id, true);
    }
    for (uint32_t turn = 0; turn < 40; turn++) {
      memories.refuse = random_below(8) == 0;
      for (Line& line : lines) {
        for (uint32_t i = random_below(20); i > 0; i--) {
          const uint32_t most = random_below(3) == 0 ? 100'000 : 100;
          const std::string text = pattern(random_below(most), round + turn);
          line.expected += text;
          memories.write(host.engine, line.id, text, random_below(3) > 0);
        }
      }
      host.engine.flush();
      memories.flushed();
      if (random_below(2) == 0) host.step(0);
    }
    CHECK(memories.loans > 0);
    uint64_t total = 0;
    for (Line& line : lines) {
      host.engine.close(line.id);
      host.engine.flush();
      int error = -1;
      CHECK(read_all(host, line.client, error) == line.expected);
      CHECK_EQUAL(error, 0);
      int64_t written = 0;
      for (const Record& record : host.log) {
        const bool own = record.id == static_cast<int32_t>(line.id);
        if (own && record.event == Event::written) written += record.a;
      }
      CHECK_EQUAL(written, line.expected.size());
      total += line.expected.size();
    }
    host.until([&] { return host.count(Event::closed) == 3; });
    CHECK_EQUAL(host.engine.counters().bytes_out, total);
    CHECK_EQUAL(host.engine.counters().queued_bytes, 0);
    CHECK_EQUAL(memories.lent, 0);
  }
}

TEST("memory that is taken away: EFAULT and a reset, and nothing of the rest is read") {
  Memories memories;
  Host host;
  host.engine.set_lender(memories);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  memories.write(host.engine, id, pattern(too_much, 1), true);
  memories.write(host.engine, id, pattern(too_much, 2), true);
  host.engine.flush();
  memories.flushed();
  CHECK_EQUAL(memories.lent, 2);
  memories.taken_away = 2;
  int error = -1;
  const std::string got = read_all(host, client, error);
  CHECK_EQUAL(error, ECONNRESET);
  CHECK(got == pattern(too_much, 1).substr(0, got.size()));
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, -EFAULT);
  CHECK_EQUAL(host.last(Event::closed)->b, engine::Call::write);
  CHECK_EQUAL(memories.lent, 0);
}

TEST("what is lent is given back when the connection ends, and when the engine does") {
  Memories memories;
  {
    Host host;
    host.engine.set_lender(memories);
    const uint32_t listener = host.listen();
    std::vector<Descriptor> clients(3);
    std::vector<uint32_t> ids;
    for (Descriptor& client : clients) ids.push_back(host.accept(listener, client));
    for (const uint32_t id : ids) memories.write(host.engine, id, pattern(too_much, id), true);
    host.engine.flush();
    memories.flushed();
    CHECK_EQUAL(memories.lent, 3);
    host.engine.abort(ids[0]);
    host.engine.flush();
    CHECK_EQUAL(memories.lent, 2);
    reset(clients[1]);
    host.until([&] { return host.count(Event::closed) == 2; });
    CHECK_EQUAL(memories.lent, 1);
  }
  CHECK_EQUAL(memories.lent, 0);
}

TEST("small remainders are copied") {
  Memories memories;
  Host host;
  host.engine.set_lender(memories);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  memories.write(host.engine, id, pattern(too_much, 1), true);
  for (int i = 0; i < 10; i++) memories.write(host.engine, id, pattern(100, 2), true);
  host.engine.flush();
  memories.flushed();
  CHECK_EQUAL(memories.loans, 1);
  host.engine.abort(id);
}

TEST("more queued than a connection may have: ENOBUFS and a reset, and the others go on") {
  engine::Options options;
  options.queued_max = 1'000'000;
  Host host(options);
  const uint32_t listener = host.listen();
  Descriptor slow;
  Descriptor fast;
  const uint32_t slow_id = host.accept(listener, slow);
  const uint32_t fast_id = host.accept(listener, fast);
  const std::string data = pattern(too_much, 3);
  host.engine.write(slow_id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  host.write(fast_id, "fast");
  CHECK(read_some(fast, 100) == "fast");
  host.until([&] { return host.count(Event::closed) == 1; });
  const Record closed = *host.last(Event::closed);
  CHECK_EQUAL(closed.id, slow_id);
  CHECK_EQUAL(closed.a, -ENOBUFS);
  CHECK_EQUAL(closed.b, engine::Call::write);
  CHECK(closed.c > 1'000'000 && closed.c < static_cast<int32_t>(too_much));
  CHECK_EQUAL(host.engine.counters().queued_bytes, 0);
  CHECK_EQUAL(host.engine.count(), 1);
}

TEST("more queued than all connections may have: those with the longest queues end") {
  engine::Options options;
  options.queued_total_max = 30'000'000;
  Host host(options);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(4);
  std::vector<uint32_t> ids;
  for (Descriptor& client : clients) ids.push_back(host.accept(listener, client));
  const std::string data = pattern(30'000'000, 4);
  const auto write = [&](int index, size_t length) {
    host.engine.write(ids[static_cast<size_t>(index)],
                      reinterpret_cast<const uint8_t*>(data.data()), length);
  };
  write(0, 14'000'000);
  write(1, 18'000'000);
  host.engine.flush();
  CHECK_EQUAL(host.engine.count(), 4);
  write(2, 16'000'000);
  write(3, 10);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->id, ids[1]);
  CHECK_EQUAL(host.last(Event::closed)->a, -ENOBUFS);
  CHECK(host.engine.counters().queued_bytes <= 30'000'000);
  CHECK(read_some(clients[3], 100) == data.substr(0, 10));
  host.engine.close(ids[2]);
  host.engine.flush();
  int error = -1;
  CHECK(read_all(host, clients[2], error) == data.substr(0, 16'000'000));
  CHECK_EQUAL(error, 0);
}

TEST("a pause instead of an end: beyond a limit nothing is read until half of it is queued") {
  for (const bool total : {false, true}) {
    engine::Options options;
    options.overflow_pauses = true;
    (total ? options.queued_total_max : options.queued_max) = 2'000'000;
    Host host(options);
    const uint32_t listener = host.listen();
    Descriptor slow;
    Descriptor other;
    const uint32_t slow_id = host.accept(listener, slow);
    const uint32_t other_id = host.accept(listener, other);
    const std::string data = pattern(too_much, 5);
    host.write(slow_id, data);
    CHECK(host.engine.counters().queued_bytes > 2'000'000);
    send_all(slow, "from slow");
    send_all(other, "from other");
    const std::string& from_slow = host.input[static_cast<int32_t>(slow_id)];
    const std::string& from_other = host.input[static_cast<int32_t>(other_id)];
    if (total) {
      // No longer than it takes to see that there is input, and to leave it.
      CHECK(host.run_for(50) < 10);
      CHECK(from_other.empty());
    } else {
      host.until([&] { return from_other == "from other"; });
    }
    CHECK(from_slow.empty());
    std::string received;
    host.until([&] {
      if (host.engine.counters().queued_bytes > 1'000'000) CHECK(from_slow.empty());
      received += read_some(slow, 400'000);
      return received.size() == data.size();
    });
    CHECK(received == data);
    host.until([&] { return from_slow == "from slow" && from_other == "from other"; });
    CHECK_EQUAL(host.count(Event::closed), 0);
  }
}

}  // namespace marketplace::test
