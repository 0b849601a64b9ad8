// Idle timeouts: the wheel by itself, with a clock of the test's, and connections that end by it.
#include "../../native/engine/idle.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "../../native/engine/connection.h"
#include "../../native/engine/socket.h"
#include "harness.h"

namespace marketplace::test {

using engine::Call;
using engine::Connection;
using engine::IdleWheel;
using engine::Table;

namespace {

constexpr int64_t tick = IdleWheel::tick_ms;

struct Wheel {
  Table<Connection> connections;
  IdleWheel wheel;

  Connection& add(int64_t now_ms, int64_t timeout_ms) {
    Connection* connection = connections.insert();
    wheel.update(now_ms);
    wheel.watch(*connection, timeout_ms);
    return *connection;
  }

  // Goes through time as alarms would have it; the time at which the next connection expires.
  int64_t next(uint32_t& id) {
    while (const int64_t time_ms = wheel.next_ms()) {
      wheel.update(time_ms);
      if (Connection* connection = wheel.expired()) {
        id = connection->id;
        return time_ms;
      }
    }
    return 0;
  }
};

}  // namespace

TEST("idle: never early, at most two ticks late, whatever the timeout and the time") {
  // The last begins shortly before the ticks wrap.
  for (const int64_t start :
       {int64_t{1}, int64_t{49}, int64_t{12345678}, (int64_t{1} << 32) * tick - 700}) {
    for (const int64_t timeout : {1, 49, 50, 51, 1000, 12'749, 12'800, 12'801, 60'000, 3'600'000}) {
      Wheel w;
      Connection& one = w.add(start, timeout);
      uint32_t id = 0;
      const int64_t time = w.next(id);
      CHECK_EQUAL(id, one.id);
      CHECK(time >= start + timeout);
      CHECK(time <= start + timeout + 2 * tick);
      CHECK(w.wheel.empty());
    }
  }
}

TEST("idle: random timeouts, traffic and ends, compared with a plain list") {
  for (int round = 0; round < 50; round++) {
    Wheel w;
    struct Expected {
      Connection* connection;
      int64_t due_ms;
      int64_t timeout_ms;
    };
    std::vector<Expected> alive;
    int64_t now = 1'000'000 + random_below(100'000);
    for (int step = 0; step < 300; step++) {
      now += random_below(10) == 0 ? random_below(40'000) : random_below(200);
      w.wheel.update(now);
      while (Connection* gone = w.wheel.expired()) {
        std::erase_if(alive, [&](const Expected& e) {
          if (e.connection == gone) CHECK(e.due_ms <= now);
          return e.connection == gone;
        });
        w.connections.remove(*gone);
      }
      for (const Expected& e : alive) CHECK(e.due_ms + 2 * tick > now);
      const uint32_t choice = random_below(4);
      if (choice < 2 || alive.empty()) {
        const int64_t timeout = 1 + random_below(random_below(2) == 0 ? 300 : 30'000);
        alive.push_back({&w.add(now, timeout), now + timeout, timeout});
        continue;
      }
      const size_t which = random_below(static_cast<uint32_t>(alive.size()));
      Expected& e = alive[which];
      if (choice == 2) {
        engine::IdleLink& idle = e.connection->idle;
        (random_below(2) == 0 ? idle.received : idle.sent) = w.wheel.now();
        e.due_ms = now + e.timeout_ms;
      } else {
        w.wheel.forget(*e.connection);
        w.connections.remove(*e.connection);
        alive.erase(alive.begin() + static_cast<ptrdiff_t>(which));
      }
    }
  }
}

TEST("idle: a quiet connection ends in order, with ETIMEDOUT; one with traffic does not") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor quiet_client;
  Descriptor busy_client;
  const uint32_t quiet = host.accept(listener, quiet_client);
  const uint32_t busy = host.accept(listener, busy_client);
  const int64_t start = engine::monotonic_ms();
  host.engine.idle_timeout(quiet, 200);
  host.engine.idle_timeout(busy, 60'000);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(quiet)) == 1; });
  CHECK(engine::monotonic_ms() - start >= 200);
  const Record* closed = host.last(Event::closed, static_cast<int32_t>(quiet));
  CHECK_EQUAL(closed->a, -ETIMEDOUT);
  CHECK_EQUAL(closed->b, Call::idle);
  int error = -1;
  CHECK(read_all(host, quiet_client, error).empty());
  CHECK_EQUAL(error, 0);
  send_all(busy_client, "here");
  host.until([&] { return host.input[static_cast<int32_t>(busy)] == "here"; });
  CHECK_EQUAL(host.count(Event::closed), 1);
}

TEST("idle: bytes received or sent put it off; 0 ends it") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  const int64_t start = engine::monotonic_ms();
  host.engine.idle_timeout(id, 300);
  int64_t last = start;
  for (int i = 0; i < 6; i++) {
    host.run_for(100);
    last = engine::monotonic_ms();
    if (i % 2 == 0) {
      send_all(client, "x");
      host.step();
    } else {
      host.write(id, "y");
    }
  }
  // On a machine so slow that a pause was longer than the timeout, this says nothing.
  if (last - start < 900) CHECK_EQUAL(host.count(Event::closed), 0);
  if (host.count(Event::closed) > 0) return;
  host.engine.idle_timeout(id, 0);
  host.engine.flush();
  host.run_for(500);
  CHECK_EQUAL(host.count(Event::closed), 0);
}

TEST("idle: a host that was away finds what came meanwhile, and no timeout") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.engine.idle_timeout(id, 100);
  host.engine.flush();
  const int64_t start = engine::monotonic_ms();
  send_all(client, "patience");
  while (engine::monotonic_ms() - start < 400) {
  }
  host.step();
  CHECK_EQUAL(host.count(Event::closed), 0);
  host.until([&] { return host.input[static_cast<int32_t>(id)] == "patience"; });
  host.until([&] { return host.count(Event::closed) == 1; });
}

TEST("idle: what was not taken makes it a reset; pausing does not stop the clock") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.write(id, pattern(32 * 1024 * 1024, 1));
  host.engine.pause(id, true);
  host.engine.idle_timeout(id, 100);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, -ETIMEDOUT);
  int error = 0;
  static_cast<void>(read_all(host, client, error));
  CHECK_EQUAL(error, ECONNRESET);
}

TEST("idle: a connection that closes keeps to the time limit of its close") {
  engine::Options options;
  options.close_timeout_ms = 300;
  Host host(options);
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.write(id, pattern(32 * 1024 * 1024, 1));
  host.engine.idle_timeout(id, 50);
  host.engine.close(id);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->b, Call::write);
}

TEST("idle: a limit of input is put off by input only, and stands still while none is expected") {
  for (const bool both : {false, true}) {
    Wheel w;
    const int64_t start = 1'000'000;
    Connection& one = w.add(start, both ? 60'000 : 0);
    w.wheel.watch_input(one, 1000);
    uint32_t id = 0;
    for (int64_t now = start; now < start + 20'000; now += 300) {
      w.wheel.update(now);
      CHECK(w.wheel.expired() == nullptr);
      one.idle.received = w.wheel.now();
      if (now == start + 9000) w.wheel.expect(one, false);
      if (now > start + 9000 && now < start + 15'000) one.idle.received -= 100;
      if (now == start + 15'000) w.wheel.expect(one, true);
    }
    w.wheel.update(start + 20'000);
    one.idle.received = w.wheel.now();
    for (int64_t now = start + 20'000; now < start + 20'900; now += 100) {
      w.wheel.update(now);
      one.idle.sent = w.wheel.now();
      CHECK(w.wheel.expired() == nullptr);
    }
    const int64_t time = w.next(id);
    CHECK_EQUAL(id, one.id);
    CHECK(time >= start + 21'000);
    CHECK(time <= start + 21'000 + 2 * tick);
    CHECK(w.wheel.without_input(one));
    CHECK(w.wheel.empty());
  }
}

TEST("idle: of both limits the one that is over first counts; either can be taken away") {
  Wheel w;
  uint32_t id = 0;
  Connection& one = w.add(1'000'000, 500);
  w.wheel.watch_input(one, 2000);
  CHECK(w.next(id) < 1'000'700);
  CHECK(!w.wheel.without_input(one));
  Connection& two = w.add(2'000'000, 500);
  w.wheel.watch_input(two, 2000);
  w.wheel.watch(two, 0);
  CHECK(w.next(id) >= 2'002'000);
  CHECK(w.wheel.without_input(two));
  Connection& three = w.add(3'000'000, 0);
  w.wheel.watch_input(three, 2000);
  w.wheel.watch_input(three, 0);
  CHECK(w.wheel.empty());
}

TEST("idle: a peer that is sent to and says nothing ends by its limit of input") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor silent_client;
  Descriptor client;
  const uint32_t silent = host.accept(listener, silent_client);
  const uint32_t talking = host.accept(listener, client);
  host.engine.input_timeout(silent, 300);
  host.engine.idle_timeout(silent, 60'000);
  host.engine.input_timeout(talking, 600);
  host.engine.flush();
  const int64_t start = engine::monotonic_ms();
  while (host.count(Event::closed, static_cast<int32_t>(silent)) == 0) {
    host.write(silent, "news");
    send_all(client, "x");
    host.run_for(20);
  }
  CHECK(engine::monotonic_ms() - start >= 300);
  const Record* closed = host.last(Event::closed, static_cast<int32_t>(silent));
  CHECK_EQUAL(closed->a, -ETIMEDOUT);
  CHECK_EQUAL(closed->b, Call::silence);
  CHECK_EQUAL(host.count(Event::closed, static_cast<int32_t>(talking)), 0);
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(talking)) == 1; });
}

TEST("idle: input in the kernel counts when paused; its end stops the clock, as the host can") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor clients[3];
  uint32_t ids[3];
  for (int i = 0; i < 3; i++) {
    ids[i] = host.accept(listener, clients[i]);
    host.engine.pause(ids[i], i == 0);
    host.engine.input_timeout(ids[i], 100);
  }
  send_all(clients[0], "waits");
  ::shutdown(clients[1].get(), SHUT_WR);
  host.engine.expect_input(ids[2], false);
  host.engine.flush();
  host.run_for(500);
  CHECK_EQUAL(host.count(Event::closed), 0);
  host.engine.expect_input(ids[2], true);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->id, static_cast<int32_t>(ids[2]));
  host.engine.pause(ids[0], false);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 2; });
  CHECK_EQUAL(host.last(Event::closed)->id, static_cast<int32_t>(ids[0]));
  CHECK(host.input[static_cast<int32_t>(ids[0])] == "waits");
}

}  // namespace marketplace::test
