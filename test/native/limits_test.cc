// What a listener limits: the token bucket and the table of prefixes beside naive ones, and real
// connections that are refused, late, slowed, or left to wait.
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <map>
#include <set>

#include "../../native/engine/admission.h"
#include "../../native/engine/prefix_table.h"
#include "../../native/engine/socket.h"
#include "../../native/engine/token_bucket.h"
#include "harness.h"

namespace marketplace::test {

using engine::Admission;
using engine::Call;
using engine::FrameKind;
using engine::FrameOrder;
using engine::Limit;
using engine::ListenLimits;
using engine::Prefix;
using engine::PrefixTable;
using engine::Rate;
using engine::TokenBucket;

namespace {

constexpr PrefixTable::Seed seed{1, 2};

// The same by floating-point numbers.
struct NaiveBucket {
  double level;
  int64_t last;

  double at(const Rate& rate, int64_t now) {
    if (now > last) {
      level = std::min(level + static_cast<double>(now - last) * rate.per_second / 1000,
                       static_cast<double>(rate.burst));
      last = now;
    }
    level = std::min(level, static_cast<double>(rate.burst));
    return level;
  }
};

Prefix prefix(uint32_t number) {
  return Prefix{uint64_t{0x2001'0db8} << 32 | number, 0};
}

// Connects from one of the many addresses that a loopback has.
Descriptor dial_from(uint16_t port, uint32_t host) {
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in local{};
  local.sin_family = AF_INET;
  local.sin_addr.s_addr = htonl(0x7f000000 | host);
  CHECK_EQUAL(::bind(socket.get(), reinterpret_cast<sockaddr*>(&local), sizeof(local)), 0);
  sockaddr_in remote{};
  remote.sin_family = AF_INET;
  remote.sin_port = htons(port);
  remote.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK_EQUAL(::connect(socket.get(), reinterpret_cast<sockaddr*>(&remote), sizeof(remote)), 0);
  return socket;
}

uint64_t limited(Host& host, uint32_t listener, Limit limit) {
  bool overloaded = false;
  const Admission* admission = host.engine.admission(listener, overloaded);
  CHECK(admission != nullptr);
  return admission->counts[static_cast<size_t>(limit)];
}

uint32_t open_now(Host& host, uint32_t listener) {
  bool overloaded = false;
  return host.engine.admission(listener, overloaded)->connections();
}

engine::ListenOptions with(const ListenLimits& limits) {
  engine::ListenOptions options;
  options.limits = limits;
  return options;
}

uint32_t listen_with(Host& host, const ListenLimits& limits) {
  return host.listen("127.0.0.1", with(limits));
}

// io_uring lets go of a socket when it hears of that, in one of the next turns.
bool was_reset(Host& host, const Descriptor& client) {
  ssize_t result = 0;
  int error = 0;
  host.until([&] {
    char byte;
    result = ::recv(client.get(), &byte, 1, MSG_DONTWAIT);
    error = errno;
    return result >= 0 || error != EAGAIN;
  });
  return result < 0 && error == ECONNRESET;
}

}  // namespace

TEST("token bucket: random rates, rests and steps back of the clock, beside a naive one") {
  for (int round = 0; round < 200; round++) {
    Rate rate{1 + random_below(random_below(2) == 0 ? 20 : 2'000'000'000),
              1 + random_below(random_below(2) == 0 ? 10 : 2'000'000'000)};
    int64_t now = random_below(2) == 0 ? random_below(1000) : INT64_MAX / 4;
    TokenBucket bucket(rate, now);
    NaiveBucket naive{static_cast<double>(rate.burst), now};
    for (int step = 0; step < 200; step++) {
      const uint32_t choice = random_below(6);
      if (choice == 0) now += random_below(5);
      if (choice == 1) now += random_below(100'000);
      if (choice == 2 && random_below(20) == 0) now += int64_t{1} << 50;
      if (choice == 3 && random_below(4) == 0) now -= random_below(50);
      if (choice == 4 && random_below(10) == 0) {
        static_cast<void>(bucket.available(rate, now));
        static_cast<void>(naive.at(rate, now));
        rate = Rate{1 + random_below(1000), 1 + random_below(1000)};
      }
      const uint32_t there = bucket.available(rate, now);
      const double expected = naive.at(rate, now);
      // The naive one rounds, also to a little less than nothing.
      const double error = 1e-6 * (1 + std::abs(expected));
      CHECK(there <= expected + error && there > expected - 1 - error);
      CHECK(there <= rate.burst);
      if (there > 0) {
        const uint32_t taken = 1 + random_below(std::min(there, 1'000'000u));
        CHECK_EQUAL(bucket.take(taken), there - taken);
        naive.level -= taken;
      }
      CHECK_EQUAL(bucket.full(rate, now), bucket.available(rate, now) == rate.burst);
    }
  }
}

TEST("token bucket: no more passes than the rate and one burst, however it is asked") {
  for (int round = 0; round < 50; round++) {
    const Rate rate{1 + random_below(500), 1 + random_below(50)};
    int64_t now = 1000;
    TokenBucket bucket(rate, now);
    uint64_t passed = 0;
    while (now < 61'000) {
      now += random_below(20);
      if (bucket.available(rate, now) == 0) continue;
      bucket.take(1);
      passed++;
    }
    const uint64_t most =
        rate.burst + uint64_t{rate.per_second} * static_cast<uint64_t>(now - 1000) / 1000;
    CHECK(passed <= most);
    // Asked every 19 ms at least, in which less than a token comes, it gives all it has: unless its
    // burst is one token, as what comes while that one waits is lost.
    if (rate.per_second <= 50 && rate.burst > 1) CHECK(passed + rate.burst + 2 >= most);
  }
}

TEST("prefixes: opened and closed at random, beside a map; what is idle is bounded") {
  for (int round = 0; round < 30; round++) {
    const uint32_t idle_max = 1 + random_below(40);
    const Rate rate =
        random_below(4) == 0 ? Rate{} : Rate{1 + random_below(5), 1 + random_below(20)};
    PrefixTable table(idle_max, seed);
    std::map<uint32_t, std::vector<uint32_t>> open;  // entries by prefix
    size_t connections = 0;
    int64_t now = 1;
    for (int step = 0; step < 3000; step++) {
      now += random_below(30);
      const uint32_t number = random_below(200);
      if (random_below(5) < (connections < 300 ? 3u : 1u)) {
        const uint32_t found = table.find(prefix(number));
        if (open.contains(number)) CHECK(found == open[number].front());
        const uint32_t entry = table.open(found, prefix(number), rate, now);
        CHECK(table.find(prefix(number)) == entry);
        if (rate.limits() && table.at(entry).bucket.available(rate, now) > 0) {
          table.at(entry).bucket.take(1);
        }
        open[number].push_back(entry);
        connections++;
      } else if (!open.empty()) {
        auto at = open.begin();
        std::advance(at, random_below(static_cast<uint32_t>(open.size())));
        table.close(at->second.back(), rate, now);
        at->second.pop_back();
        if (at->second.empty()) open.erase(at);
        connections--;
      }
      for (const auto& [one, entries] : open) {
        CHECK_EQUAL(table.at(entries.front()).connections, entries.size());
        CHECK(table.at(entries.front()).prefix == prefix(one));
      }
      CHECK_EQUAL(table.count(), open.size() + table.idle());
      CHECK(table.idle() <= idle_max);
      if (!rate.limits()) CHECK_EQUAL(table.idle(), 0);
    }
    for (const auto& [one, entries] : open) {
      for (const uint32_t entry : entries) table.close(entry, rate, now);
    }
    CHECK_EQUAL(table.count(), table.idle());
    // All of them are full by then, and go as others come.
    now += 1'000'000;
    for (uint32_t i = 0; i <= idle_max; i++) {
      const uint32_t entry = table.open(PrefixTable::none, prefix(1000 + i), rate, now);
      table.close(entry, rate, now);
    }
    CHECK_EQUAL(table.count(), 0);
  }
}

TEST("prefixes: a million of them leave no more than the bound; those that stay are found") {
  const Rate rate{1, 1};
  PrefixTable table(1000, seed);
  std::vector<uint32_t> kept;
  for (uint32_t i = 0; i < 5000; i++) {
    kept.push_back(table.open(PrefixTable::none, prefix(i), rate, 0));
    table.at(kept.back()).bucket.take(1);
  }
  for (uint32_t i = 5000; i < 1'000'000; i++) {
    const uint32_t entry = table.open(PrefixTable::none, prefix(i), rate, 0);
    table.at(entry).bucket.take(1);
    table.close(entry, rate, 0);
    CHECK(table.idle() <= 1000);
  }
  for (uint32_t i = 0; i < 5000; i++) CHECK_EQUAL(table.find(prefix(i)), kept[i]);
  CHECK_EQUAL(table.count(), 6000);
  // The one that was left longest ago went first.
  CHECK(table.find(prefix(999'999)) != PrefixTable::none);
  CHECK(table.find(prefix(998'000)) == PrefixTable::none);
}

TEST("prefixes: how many bits count; IPv4 within IPv6 is IPv4; a Unix socket has one") {
  const auto of = [](const char* text, engine::PrefixLengths lengths = {}) {
    Address address;
    CHECK_EQUAL(Address::parse(text, 1, address), 0);
    return engine::prefix_of(address, lengths);
  };
  CHECK(of("192.0.2.1") == of("::ffff:192.0.2.1"));
  CHECK(!(of("192.0.2.1") == of("192.0.2.2")));
  CHECK(of("192.0.2.1", {24, 64}) == of("::ffff:192.0.2.254", {24, 64}));
  CHECK(!(of("192.0.2.1", {24, 64}) == of("192.0.3.1", {24, 64})));
  CHECK(of("192.0.2.1", {0, 64}) == of("10.0.0.1", {0, 64}));
  CHECK(!(of("192.0.2.1", {0, 0}) == of("2001:db8::1", {0, 0})));
  CHECK(of("2001:db8::1") == of("2001:db8::ffff:1"));
  CHECK(!(of("2001:db8::1") == of("2001:db8:0:1::1")));
  CHECK(!(of("2001:db8::1", {32, 128}) == of("2001:db8::2", {32, 128})));
  CHECK(of("2001:db8::2", {32, 127}) == of("2001:db8::3", {32, 127}));
  CHECK(of("2001:db8:8000::", {32, 33}) == of("2001:db8:ffff::", {32, 33}));
  CHECK(!(of("2001:db8:8000::", {32, 33}) == of("2001:db8:7fff::", {32, 33})));
  Address unix;
  CHECK_EQUAL(Address::parse_unix("/a", 2, unix), 0);
  CHECK(engine::prefix_of(unix, {}) == engine::prefix_of(unix, {0, 0}));
  Address address;
  CHECK_EQUAL(Address::parse("::ffff:10.1.2.3", 1, address), 0);
  const int32_t ten[4] = {10 << 24, 0, 0, 0};
  CHECK(engine::contains(engine::range_of(true, 8, ten), address));
  CHECK(!engine::contains(engine::range_of(true, 32, ten), address));
  CHECK(!engine::contains(engine::range_of(true, 0, ten), unix));
}

TEST("limits: so many connections of one prefix, and others of another one") {
  Host host;
  ListenLimits limits;
  limits.prefix_connections_max = 2;
  const uint32_t listener = listen_with(host, limits);
  const uint16_t port = host.port(listener);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 3; i++) {
    for (const uint32_t from : {0x10001u, 0x10002u}) clients.push_back(dial_from(port, from));
  }
  host.until([&] { return limited(host, listener, Limit::connections_per_prefix) == 2; });
  CHECK_EQUAL(host.count(Event::accepted), 4);
  CHECK_EQUAL(open_now(host, listener), 4);
  CHECK(was_reset(host, clients[4]));
  CHECK(was_reset(host, clients[5]));
  // Each way of ending makes room.
  const auto id = [&](int which) {
    int seen = 0;
    for (const Record& record : host.log) {
      if (record.event == Event::accepted && seen++ == which)
        return static_cast<uint32_t>(record.id);
    }
    return 0u;
  };
  reset(clients[0]);
  host.engine.abort(id(1));
  clients[2].reset();
  host.engine.close(id(2));
  host.engine.close(id(3));
  host.engine.flush();
  clients[3].reset();
  host.until([&] { return host.engine.count() == 0; });
  CHECK_EQUAL(open_now(host, listener), 0);
  bool overloaded = false;
  CHECK_EQUAL(host.engine.admission(listener, overloaded)->prefixes(), 0);
  clients.push_back(dial_from(port, 0x10001));
  host.until([&] { return host.count(Event::accepted) == 5; });
}

TEST("limits: a flood that is refused is counted, costs a record a second, and no descriptor") {
  Host host;
  ListenLimits limits;
  limits.prefix_rate = {1, 1};
  const uint32_t listener = listen_with(host, limits);
  const uint16_t port = host.port(listener);
  Descriptor good = dial_from(port, 0x20001);
  host.until([&] { return host.count(Event::accepted) == 1; });
  const int before = open_descriptors();
  const int64_t start = engine::monotonic_ms();
  uint64_t sent = 0;
  for (int i = 0; i < 100; i++) {
    std::vector<Descriptor> flood;
    for (int j = 0; j < 20; j++) flood.push_back(dial_from(port, 0x20001));
    sent += flood.size();
    host.until([&] {
      return limited(host, listener, Limit::accept_rate_per_prefix) +
                 static_cast<uint64_t>(host.count(Event::accepted)) ==
             sent + 1;
    });
  }
  const int64_t seconds = (engine::monotonic_ms() - start) / 1000;
  CHECK(host.count(Event::dropped) <= 1 + seconds + 1);
  CHECK(host.count(Event::accepted) <= 2 + seconds + 1);
  host.until([&] {
    int64_t told = 0;
    for (const Record& record : host.log) told += record.event == Event::dropped ? record.a : 0;
    return told == static_cast<int64_t>(limited(host, listener, Limit::accept_rate_per_prefix));
  });
  CHECK(open_descriptors() <= before + host.count(Event::accepted));
}

TEST("limits: who is refused for its prefix uses up nothing of the rate of all") {
  Host host;
  ListenLimits limits;
  limits.prefix_connections_max = 1;
  limits.rate = {1, 3};
  const uint32_t listener = listen_with(host, limits);
  const uint16_t port = host.port(listener);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 10; i++) clients.push_back(dial_from(port, 0x30001));
  host.until([&] { return limited(host, listener, Limit::connections_per_prefix) == 9; });
  clients.push_back(dial_from(port, 0x30002));
  clients.push_back(dial_from(port, 0x30003));
  host.until([&] { return host.count(Event::accepted) == 3; });
  CHECK_EQUAL(limited(host, listener, Limit::accept_rate), 0);
}

TEST("limits: changed while it listens, of those that come from then on") {
  Host host;
  ListenLimits limits;
  limits.most = 1;
  const uint32_t listener = listen_with(host, limits);
  const uint16_t port = host.port(listener);
  std::vector<Descriptor> clients;
  const auto next = [&](int accepted, uint64_t refused) {
    clients.push_back(dial(port));
    host.until([&] {
      return host.count(Event::accepted) == accepted &&
             limited(host, listener, Limit::max_connections) == refused;
    });
  };
  next(1, 0);
  next(1, 1);
  limits.most = 2;
  host.engine.limit_listener(listener, limits);
  next(2, 1);
  limits.most = 0;
  host.engine.limit_listener(listener, limits);
  next(2, 2);
  limits.most = -1;
  limits.prefix_connections_max = 1;
  host.engine.limit_listener(listener, limits);
  // The two that are open were not counted by prefix.
  next(3, 2);
  clients.push_back(dial(port));
  host.until([&] { return limited(host, listener, Limit::connections_per_prefix) == 1; });
  limits.prefix_connections_max = 0;
  host.engine.limit_listener(listener, limits);
  next(4, 2);
  for (Descriptor& client : clients) client.reset();
  host.until([&] { return host.count(Event::end) == 4; });
  for (const Record& record : std::vector<Record>(host.log)) {
    if (record.event == Event::accepted) host.engine.close(static_cast<uint32_t>(record.id));
  }
  host.engine.flush();
  host.until([&] { return host.engine.count() == 0; });
  CHECK_EQUAL(open_now(host, listener), 0);
}

TEST("limits: two listeners count for themselves; one that is closed takes its counts along") {
  Host host;
  ListenLimits limits;
  limits.prefix_connections_max = 1;
  const uint32_t first = listen_with(host, limits);
  const uint32_t second = listen_with(host, limits);
  const Descriptor a = dial(host.port(first));
  const Descriptor b = dial(host.port(second));
  host.until([&] { return host.count(Event::accepted) == 2; });
  host.engine.close_listener(first);
  const uint32_t third = listen_with(host, limits);
  const Descriptor c = dial(host.port(third));
  host.until([&] { return host.count(Event::accepted) == 3; });
  for (const Record& record : std::vector<Record>(host.log)) {
    if (record.event == Event::accepted) host.engine.abort(static_cast<uint32_t>(record.id));
  }
  host.engine.flush();
  CHECK_EQUAL(open_now(host, second), 0);
  CHECK_EQUAL(open_now(host, third), 0);
}

TEST("limits: peers that are exempt are not counted by prefix") {
  Host host;
  ListenLimits limits;
  limits.prefix_connections_max = 1;
  const uint32_t listener = listen_with(host, limits);
  const int32_t range[4] = {0x7f040000, 0, 0, 0};
  host.engine.exempt(listener, {engine::range_of(true, 16, range)});
  const uint16_t port = host.port(listener);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 5; i++) clients.push_back(dial_from(port, 0x40001));
  for (int i = 0; i < 2; i++) clients.push_back(dial_from(port, 0x50001));
  host.until([&] { return limited(host, listener, Limit::connections_per_prefix) == 1; });
  CHECK_EQUAL(host.count(Event::accepted), 6);
}

TEST("limits: a first byte that does not come in time is a reset; one that comes is none") {
  Host host;
  ListenLimits limits;
  limits.first_byte_ms = 300;
  const uint32_t listener = listen_with(host, limits);
  Descriptor silent;
  Descriptor talks;
  Descriptor paused;
  const int64_t start = engine::monotonic_ms();
  const auto late = static_cast<int32_t>(host.accept(listener, silent));
  const auto heard = static_cast<int32_t>(host.accept(listener, talks));
  const auto held = static_cast<int32_t>(host.accept(listener, paused));
  host.engine.pause(static_cast<uint32_t>(held), true);
  host.engine.flush();
  send_all(talks, "x");
  host.until([&] { return host.count(Event::closed, late) == 1; });
  CHECK(engine::monotonic_ms() - start >= 300);
  CHECK_EQUAL(host.last(Event::closed, late)->a, -ETIMEDOUT);
  CHECK_EQUAL(host.last(Event::closed, late)->b, Call::first_byte);
  CHECK(was_reset(host, silent));
  host.run_for(400);
  // Who is not read from can't be late; the time begins anew when it is.
  CHECK_EQUAL(host.count(Event::closed), 1);
  CHECK_EQUAL(limited(host, listener, Limit::first_byte_timeout), 1);
  host.engine.pause(static_cast<uint32_t>(held), false);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed, held) == 1; });
  CHECK_EQUAL(host.count(Event::closed, heard), 0);
}

TEST("limits: a frame that drips is a reset, however often a byte comes; whole ones are not") {
  for (const bool lines : {true, false}) {
    Host host;
    ListenLimits limits;
    limits.frame_ms = 300;
    const uint32_t listener = listen_with(host, limits);
    FrameOrder order;
    order.kind = lines ? FrameKind::lines : FrameKind::length;
    order.size = 1;
    order.adjust = 1;
    order.longest = 1000;
    Descriptor drips;
    Descriptor whole;
    Descriptor between;
    const uint32_t slow = host.accept(listener, drips);
    const uint32_t quick = host.accept(listener, whole);
    const uint32_t waits = host.accept(listener, between);
    for (const uint32_t id : {slow, quick, waits}) host.engine.frame(id, order);
    host.engine.flush();
    // The LF of a line that ended with CR begins no frame.
    send_all(between, lines ? "one\r" : "\x01x");
    host.until([&] { return host.count(Event::frames, static_cast<int32_t>(waits)) == 1; });
    if (lines) send_all(between, "\n");
    const int64_t start = engine::monotonic_ms();
    send_all(drips, lines ? "a" : "\x50");
    while (host.count(Event::closed) == 0) {
      if (::send(drips.get(), "a", 1, MSG_NOSIGNAL) < 0) break;
      send_all(whole, lines ? "line\n" : "\x02xy");
      host.run_for(10);
    }
    host.until([&] { return host.count(Event::closed) == 1; });
    CHECK(engine::monotonic_ms() - start >= 300);
    const Record* closed = host.last(Event::closed);
    CHECK_EQUAL(closed->id, slow);
    CHECK_EQUAL(closed->a, -ETIMEDOUT);
    CHECK_EQUAL(closed->b, Call::frame);
    host.run_for(500);
    CHECK_EQUAL(host.count(Event::closed), 1);
    CHECK_EQUAL(limited(host, listener, Limit::frame_timeout), 1);
  }
}

TEST("limits: a frame that came while the host was away is in time") {
  Host host;
  ListenLimits limits;
  limits.frame_ms = 100;
  const uint32_t listener = listen_with(host, limits);
  FrameOrder order;
  order.kind = FrameKind::lines;
  order.longest = 1000;
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.engine.frame(id, order);
  host.engine.flush();
  send_all(client, "first ");
  // Until it was received, which nobody is told of.
  host.run_for(30);
  send_all(client, "and last\n");
  const int64_t start = engine::monotonic_ms();
  while (engine::monotonic_ms() - start < 400) {
  }
  host.until([&] { return host.count(Event::frames) == 1; });
  CHECK_EQUAL(host.last(Event::frames)->c, 15);
  CHECK_EQUAL(host.count(Event::closed), 0);
}

TEST("limits: bytes come at their rate, all of them, in order, and then the end") {
  for (const uint32_t rate : {2000u, 200'000u}) {
    Host host;
    ListenLimits limits;
    limits.receive_rate = {rate, rate / 4};
    const uint32_t listener = listen_with(host, limits);
    Descriptor client;
    const uint32_t id = host.accept(listener, client);
    const std::string data = pattern(rate, 7);
    const int64_t start = engine::monotonic_ms();
    send_all(client, data);
    ::shutdown(client.get(), SHUT_WR);
    std::string& got = host.input[static_cast<int32_t>(id)];
    while (host.count(Event::end) == 0) {
      const int64_t asked = engine::monotonic_ms();
      host.step(100);
      const int64_t passed = std::max(engine::monotonic_ms(), asked) - start;
      CHECK(got.size() <= rate / 4 + static_cast<size_t>(passed + 1) * rate / 1000 + 1);
    }
    CHECK(got == data);
    // Three quarters of it had to be waited for.
    CHECK(engine::monotonic_ms() - start >= 740);
    CHECK(limited(host, listener, Limit::receive_rate) > 0);
    host.engine.close(id);
    host.engine.flush();
    host.until([&] { return host.engine.count() == 0; });
  }
}

TEST("limits: one that has had its rate can be paused, closed, reset and left") {
  for (int way = 0; way < 4; way++) {
    Host host;
    ListenLimits limits;
    limits.receive_rate = {1000, 100};
    const uint32_t listener = listen_with(host, limits);
    Descriptor client;
    const uint32_t id = host.accept(listener, client);
    send_all(client, pattern(10'000, 3));
    host.until([&] { return limited(host, listener, Limit::receive_rate) > 0; });
    if (way == 0) {
      host.engine.pause(id, true);
      host.engine.flush();
      const size_t before = host.input[static_cast<int32_t>(id)].size();
      host.run_for(200);
      CHECK_EQUAL(host.input[static_cast<int32_t>(id)].size(), before);
      host.engine.pause(id, false);
      host.engine.flush();
      host.until([&] { return host.input[static_cast<int32_t>(id)].size() > before + 100; });
    }
    if (way == 1) reset(client);
    if (way == 2) host.engine.abort(id);
    if (way != 1) host.engine.close(id);
    host.engine.flush();
    if (way == 3) client.reset();
    host.until([&] { return host.count(Event::closed) == 1; });
    CHECK_EQUAL(host.engine.count(), 0);
    CHECK_EQUAL(open_now(host, listener), 0);
  }
}

TEST("limits: while the host is late nothing is accepted; it goes on when that is over") {
  Host host;
  ListenLimits limits;
  limits.pause_above_ms = 50;
  CHECK(!host.engine.minds_delay());
  const uint32_t listener = listen_with(host, limits);
  const uint32_t other = host.listen();
  CHECK(host.engine.minds_delay());
  host.engine.note_delay(49);
  const uint16_t port = host.port(listener);
  std::vector<Descriptor> clients;
  clients.push_back(dial(port));
  host.until([&] { return host.count(Event::accepted) == 1; });
  host.engine.note_delay(50);
  bool overloaded = false;
  CHECK(host.engine.admission(listener, overloaded) != nullptr);
  CHECK(overloaded);
  clients.push_back(dial(port));
  clients.push_back(dial(host.port(other)));
  host.until([&] { return host.count(Event::accepted) == 2; });
  // Still more than half of the bound.
  const int64_t start = engine::monotonic_ms();
  while (engine::monotonic_ms() - start < 300) {
    host.engine.note_delay(26);
    host.run_for(20);
  }
  CHECK_EQUAL(host.count(Event::accepted), 2);
  host.until([&] { return host.count(Event::accepted) == 3; });
  CHECK_EQUAL(limited(host, listener, Limit::pause_above), 1);
  CHECK_EQUAL(host.engine.counters().listeners_paused, 0);
  host.engine.note_delay(1000);
  CHECK_EQUAL(host.engine.counters().listeners_paused, 1);
  host.engine.close_listener(listener);
  CHECK_EQUAL(host.engine.counters().listeners_paused, 0);
  CHECK(!host.engine.minds_delay());
}

}  // namespace marketplace::test
