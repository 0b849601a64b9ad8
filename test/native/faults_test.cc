// The engine on a kernel that takes what it likes: whatever it takes, refuses and reports.
#include <cerrno>

#include "stingy.h"

namespace marketplace::test {

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
