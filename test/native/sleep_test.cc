// Sleeping in the engine: what ends it, and that nothing else does.
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "../../native/engine/socket.h"
#include "harness.h"

namespace marketplace::test {

namespace {

// Long enough to be told from none, short enough to be waited for.
constexpr int nap_ms = 30;

void ring(const Host& host) {
  const uint64_t one = 1;
  CHECK_EQUAL(::write(host.bell().get(), &one, sizeof(one)), sizeof(one));
}

void hear(const Host& host) {
  uint64_t count = 0;
  CHECK_EQUAL(::read(host.bell().get(), &count, sizeof(count)), sizeof(count));
}

// How long it slept, in milliseconds, without having anything to do.
int64_t sleep_in_vain(Host& host, int timeout_ms) {
  const int64_t before_ms = engine::monotonic_ms();
  CHECK(!host.engine.pending());
  CHECK_EQUAL(host.engine.sleep(timeout_ms), 0);
  CHECK(!host.engine.pending());
  return engine::monotonic_ms() - before_ms;
}

// Until it has nothing more to do.
void settle(Host& host) {
  host.engine.flush();
  while (host.step(0)) continue;
}

}  // namespace

TEST("sleep: lasts as long as it may when nothing happens") {
  Host host;
  host.sleep_in_engine();
  Descriptor client;
  host.accept(host.listen(), client);
  settle(host);
  // The clock of the sleep is finer than the one that it is measured with.
  CHECK(sleep_in_vain(host, nap_ms) >= nap_ms - 1);
  CHECK(sleep_in_vain(host, 0) < patience_ms);
  CHECK(!host.engine.host_ready());
}

TEST("sleep: ends when a socket has something, which the next turn reports") {
  Host host;
  host.sleep_in_engine();
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  settle(host);
  std::thread peer([&] {
    ::usleep(nap_ms * 1000);
    send_all(client, "hello");
  });
  while (host.input[static_cast<int32_t>(id)] != "hello") {
    CHECK(host.engine.sleep(patience_ms) > 0);
    CHECK(host.step(0));
  }
  peer.join();
  CHECK(!host.engine.host_ready());
}

TEST("sleep: ends when the host's descriptor is readable, each time, and once for each time") {
  Host host;
  host.sleep_in_engine();
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  settle(host);
  for (int i = 0; i < 5; i++) {
    std::thread other([&] {
      ::usleep(nap_ms * 1000);
      ring(host);
    });
    CHECK_EQUAL(host.engine.sleep(patience_ms), 0);
    CHECK(host.engine.host_ready());
    CHECK(!host.engine.host_ready());
    // Not emptied: it is still so.
    CHECK_EQUAL(host.engine.sleep(patience_ms), 0);
    CHECK(host.engine.host_ready());
    other.join();
    hear(host);
    // What was asked of the kernel before may be answered yet.
    static_cast<void>(host.engine.sleep(0));
    static_cast<void>(host.engine.host_ready());
    CHECK(sleep_in_vain(host, nap_ms) >= nap_ms - 1);
    CHECK(!host.engine.host_ready());
    send_all(client, "x");
    host.until([&] { return host.input[static_cast<int32_t>(id)].size() == size_t(i + 1); });
  }
}

TEST("sleep: both at once are both heard of, whatever there is of either") {
  Host host;
  host.sleep_in_engine();
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(50);
  for (Descriptor& client : clients) host.accept(listener, client);
  settle(host);
  for (int round = 0; round < 20; round++) {
    ring(host);
    for (const Descriptor& client : clients) send_all(client, "x");
    size_t heard = 0;
    bool rung = false;
    host.until([&] {
      rung = host.engine.host_ready() || rung;
      heard = 0;
      for (const auto& [id, bytes] : host.input) heard += bytes.size();
      return rung && heard == clients.size() * size_t(round + 1);
    });
    hear(host);
  }
}

TEST("sleep: a deadline of the engine's ends it") {
  engine::Options options;
  options.close_timeout_ms = nap_ms;
  Host host(options);
  host.sleep_in_engine();
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  // More than the kernel takes.
  host.write(id, std::string(32 * 1024 * 1024, 'x'));
  settle(host);
  host.engine.close(id);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(id)) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, -ETIMEDOUT);
}

TEST("sleep: what is asked for between two turns is the kernel's before the sleep") {
  Host host;
  host.sleep_in_engine();
  const uint32_t listener = host.listen();
  settle(host);
  // A descriptor whose number comes back at once, for another socket: what was asked for the first
  // must not be done to the second.
  for (int i = 0; i < 50; i++) {
    Descriptor first;
    Descriptor second;
    const uint32_t id = host.accept(listener, first);
    const uint32_t other = host.accept(listener, second);
    host.engine.pause(id, true);
    host.engine.flush();
    host.engine.pause(id, false);
    host.engine.flush();
    host.engine.abort(id);
    host.engine.flush();
    Descriptor third;
    const uint32_t next = host.accept(listener, third);
    send_all(third, "third");
    send_all(second, "second");
    host.until([&] {
      return host.input[static_cast<int32_t>(next)] == "third" &&
             host.input[static_cast<int32_t>(other)] == "second";
    });
    CHECK(host.input[static_cast<int32_t>(id)].empty());
    host.engine.abort(next);
    host.engine.abort(other);
    settle(host);
  }
}

}  // namespace marketplace::test
