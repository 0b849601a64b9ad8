// Bytes: echo, partial writes, volume, flow control, fairness.
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>

#include "../../native/engine/socket.h"
#include "harness.h"
#include "meanwhile.h"

namespace marketplace::test {

TEST("echo") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  send_all(client, "hello");
  host.until([&] { return host.input[static_cast<int32_t>(id)] == "hello"; });
  host.write(id, "hello yourself");
  CHECK(read_some(client, 100) == "hello yourself");
  CHECK_EQUAL(host.engine.counters().bytes_in, 5);
  CHECK_EQUAL(host.engine.counters().bytes_out, 14);
}

TEST("an accepted connection comes with its peer's address, and without Nagle's algorithm") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  Address own;
  CHECK_EQUAL(engine::local_address(client.get(), own), 0);
  const Record* record = host.last(Event::accepted);
  CHECK_EQUAL(record->b, own.port() | 4 << 16);
  CHECK_EQUAL(record->c, 0x7f000001);
  Address remote;
  CHECK_EQUAL(host.engine.remote(id, remote), 0);
  CHECK_EQUAL(remote.port(), own.port());
  int no_delay = 0;
  socklen_t length = sizeof(no_delay);
  CHECK_EQUAL(getsockopt(engine_side(client), IPPROTO_TCP, TCP_NODELAY, &no_delay, &length), 0);
  CHECK(no_delay != 0);
}

TEST(":: takes IPv4, too, unless it is told not to") {
  Host host;
  const uint32_t both = host.listen("::");
  Descriptor client = dial(host.port(both), 0, "127.0.0.1");
  host.accept(both, client);
  CHECK_EQUAL(host.last(Event::accepted)->b >> 16, 6);
  CHECK_EQUAL(host.last(Event::accepted)->e, 0xffff);
  Descriptor second = dial(host.port(both), 0, "::1");
  host.accept(both, second);
  CHECK_EQUAL(host.last(Event::accepted)->f, 1);
  engine::ListenOptions v6_only;
  v6_only.v6_only = true;
  const uint32_t one = host.listen("::", v6_only);
  Descriptor third(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", host.port(one), address), 0);
  CHECK_EQUAL(::connect(third.get(), address.data(), address.length), -1);
}

TEST("the engine talks to itself") {
  Host host;
  const uint32_t listener = host.listen();
  Address address;
  CHECK_EQUAL(host.engine.local(listener, address), 0);
  const int32_t client = host.connect(address);
  CHECK(client > 0);
  host.write(static_cast<uint32_t>(client), "queued until it is connected");
  host.until([&] { return host.count(Event::accepted) == 1; });
  const int32_t server = host.last(Event::accepted)->id;
  host.until([&] { return host.input[server].size() == 28; });
  CHECK_EQUAL(host.count(Event::connected, client), 1);
  CHECK(host.input[server] == "queued until it is connected");
}

TEST("many pieces leave in order, whatever the kernel takes of them") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client = dial(host.port(listener), 4096);
  const uint32_t id = host.accept(listener, client);
  const int small = 4096;
  setsockopt(engine_side(client), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
  host.engine.report_writes(id, true);
  std::string expected;
  for (uint32_t turn = 0; turn < 40; turn++) {
    // What was written is overwritten after the flush: the queue must not depend on it.
    std::vector<std::string> pieces;
    pieces.reserve(100);
    for (uint32_t i = 0; i < 100; i++) {
      const uint32_t most = random_below(30) == 0 ? 30'000 : 200;
      pieces.push_back(pattern(1 + random_below(most), turn * 100 + i));
      expected += pieces.back();
      host.engine.write(id, reinterpret_cast<const uint8_t*>(pieces.back().data()),
                        pieces.back().size());
    }
    host.engine.flush();
    for (std::string& piece : pieces) piece.assign(piece.size(), '!');
  }
  host.engine.shutdown(id);
  host.engine.flush();
  int error = -1;
  CHECK(read_all(host, client, error) == expected);
  CHECK_EQUAL(error, 0);
  host.step(10);
  int64_t reported = 0;
  for (const Record& record : host.log) {
    if (record.event == Event::written) reported += record.a;
  }
  CHECK_EQUAL(reported, expected.size());
}

TEST("one turn's writes to a connection are one system call") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.report_writes(id, true);
  const std::string data = "0123456789";
  for (int i = 0; i < 10; i++) {
    host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), 10);
  }
  host.engine.flush();
  host.step(10);
  CHECK_EQUAL(host.count(Event::written), 1);
  CHECK_EQUAL(host.last(Event::written)->a, 100);
}

TEST("queued bytes are gauged") {
  Host host;
  double gauges[64] = {};
  host.engine.set_gauges(gauges, 64);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(32 * 1024 * 1024, 1);
  host.write(id, data);
  const double queued = gauges[engine::index_of(id)];
  CHECK(queued > 0 && queued < static_cast<double>(data.size()));
  CHECK_EQUAL(host.engine.counters().bytes_out, data.size() - static_cast<size_t>(queued));
  host.engine.shutdown(id);
  host.engine.flush();
  int error = -1;
  CHECK(read_all(host, client, error) == data);
  CHECK_EQUAL(gauges[engine::index_of(id)], 0);
}

TEST("a paused connection leaves its bytes in the kernel until the sender blocks") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.pause(id, true);
  host.engine.flush();
  unblock(client);
  const std::string data = pattern(64 * 1024 * 1024, 2);
  size_t sent = 0;
  for (int idle = 0; idle < 20;) {
    const ssize_t n = ::send(client.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
    idle = n > 0 ? 0 : idle + 1;
    host.run_for(1);
  }
  CHECK(sent < data.size());
  CHECK_EQUAL(host.count(Event::data), 0);
  CHECK(host.run_for(50) <= idle_turns_max());
  host.engine.pause(id, false);
  host.engine.flush();
  Meanwhile rest(client, [&] {
    while (sent < data.size()) {
      const ssize_t n = ::send(client.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
      CHECK(n > 0 || errno == EAGAIN);
      if (n > 0) sent += static_cast<size_t>(n);
    }
  });
  host.until([&] { return host.input[static_cast<int32_t>(id)].size() == data.size(); });
  rest.join();
  CHECK(host.input[static_cast<int32_t>(id)] == data);
}

TEST("a connection that is paused when it is accepted is not read") {
  Host host;
  host.on_record = [&](const Record& record) {
    if (record.event == Event::accepted) host.engine.pause(static_cast<uint32_t>(record.id), true);
  };
  const uint32_t listener = host.listen();
  Descriptor client = dial(host.port(listener));
  send_all(client, "early");
  const uint32_t id = host.accept(listener, client);
  CHECK(host.run_for(50) <= idle_turns_max());
  CHECK_EQUAL(host.count(Event::data), 0);
  host.engine.pause(id, false);
  host.until([&] { return host.input[static_cast<int32_t>(id)] == "early"; });
}

TEST("reading stops without slabs and goes on with them, nothing lost") {
  Host host({}, 16 * 1024);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(1024 * 1024, 3);
  Meanwhile sender(client, [&] { send_all(client, data); });
  host.until([&] { return host.input[static_cast<int32_t>(id)].size() == data.size(); });
  sender.join();
  CHECK(host.input[static_cast<int32_t>(id)] == data);
  CHECK(host.count(Event::slab_retired) > 30);
}

TEST("a shortage of slabs is reported, and no byte is read meanwhile") {
  Host host({}, 4096);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.lend = false;
  send_all(client, pattern(100'000, 4));
  host.until([&] { return host.count(Event::slabs_short) > 0; });
  CHECK(host.input[static_cast<int32_t>(id)].size() <= 4 * 4096);
}

TEST("without slabs there is nothing to do, and with one reading goes on, nothing lost") {
  Host host({}, 4096);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(3);
  std::vector<int32_t> ids;
  for (Descriptor& client : clients) {
    ids.push_back(static_cast<int32_t>(host.accept(listener, client)));
  }
  host.lend = false;
  const std::string data = pattern(100'000, 8);
  for (const Descriptor& client : clients) send_all(client, data);
  host.until([&] { return host.count(Event::slab_retired) == 4; });
  // What was known before is worked off; then it sleeps.
  host.run_for(50);
  CHECK(host.run_for(100) <= idle_turns_max());
  const auto complete = [&] {
    size_t total = 0;
    for (const int32_t id : ids) total += host.input[id].size();
    return total == clients.size() * data.size();
  };
  while (!complete()) {
    host.add_slab();
    const int retired = host.count(Event::slab_retired);
    host.until([&] { return complete() || host.count(Event::slab_retired) > retired; });
  }
  for (const int32_t id : ids) CHECK(host.input[id] == data);
}

TEST("a connection that waits for slabs can be closed") {
  Host host({}, 4096);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.lend = false;
  send_all(client, pattern(100'000, 8));
  host.until([&] { return host.count(Event::slab_retired) == 4; });
  host.run_for(50);
  host.engine.close(id);
  host.until([&] { return host.count(Event::closed) == 1; });
  host.add_slab();
  host.run_for(20);
  CHECK_EQUAL(host.last(Event::closed)->a, 0);
}

TEST("short pieces are packed apart from long ones") {
  Host host;
  host.add_slab(engine::Purpose::small_input);
  Descriptor client;
  const int32_t id = static_cast<int32_t>(host.accept(host.listen(), client));
  std::string sent;
  for (const size_t length : {100u, 30'000u, 2048u, 2049u, 1u}) {
    sent += pattern(length, static_cast<uint32_t>(length));
    send_all(client, pattern(length, static_cast<uint32_t>(length)));
    host.until([&] { return host.input[id].size() == sent.size(); });
  }
  CHECK(host.input[id] == sent);
  for (const Record& record : host.log) {
    if (record.event == Event::data) CHECK_EQUAL(record.a, record.c <= 2048 ? 4 : 0);
  }
}

TEST("a shortage of slabs for short pieces is reported, and stops nothing") {
  Host host({}, 4096);
  host.add_slab(engine::Purpose::small_input);
  Descriptor client;
  const int32_t id = static_cast<int32_t>(host.accept(host.listen(), client));
  host.lend = false;
  std::string sent;
  while (host.count(Event::slabs_short) == 0) {
    sent += pattern(1000, 9);
    send_all(client, pattern(1000, 9));
    host.until([&] { return host.input[id].size() == sent.size(); });
  }
  CHECK_EQUAL(host.last(Event::slabs_short)->id, engine::Purpose::small_input);
  CHECK_EQUAL(host.last(Event::data)->a, 0);
  CHECK(host.input[id] == sent);
}

TEST("slabs that may be reused are filled again, and overwritten before") {
  engine::Options options;
  options.reuses_slabs = true;
  options.poisons_slabs = true;
  Host host(options, 4096);
  Descriptor client;
  const int32_t id = static_cast<int32_t>(host.accept(host.listen(), client));
  std::string sent;
  for (int i = 0; i < 100; i++) {
    sent += pattern(1000, 10);
    send_all(client, pattern(1000, 10));
    host.until([&] { return host.input[id].size() == sent.size(); });
    host.engine.reuse_slabs();
  }
  CHECK(host.input[id] == sent);
  CHECK_EQUAL(host.count(Event::slab_retired), 0);
  CHECK_EQUAL(host.count(Event::slabs_short), 0);
  for (const Record& record : host.log) {
    if (record.event == Event::data) CHECK_EQUAL(record.a, 0);
  }
}

TEST("without reuse in time there is a shortage, which ends with it") {
  engine::Options options;
  options.reuses_slabs = true;
  Host host(options, 4096);
  Descriptor client;
  const int32_t id = static_cast<int32_t>(host.accept(host.listen(), client));
  const std::string data = pattern(100'000, 11);
  send_all(client, data);
  host.until([&] { return host.input[id].size() >= 4 * 4096 - 1024; });
  host.run_for(50);
  CHECK(host.input[id].size() <= 4 * 4096);
  host.on_record = [&](const Record& record) {
    if (record.event == Event::slabs_short) host.engine.reuse_slabs();
  };
  host.engine.reuse_slabs();
  host.until([&] { return host.input[id].size() == data.size(); });
  CHECK(host.input[id] == data);
}

TEST("a fast sender does not keep others from being heard") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor loud;
  const uint32_t loud_id = host.accept(listener, loud);
  Descriptor quiet;
  const uint32_t quiet_id = host.accept(listener, quiet);
  unblock(loud);
  const std::string data = pattern(1024 * 1024, 5);
  for (int round = 0; round < 20; round++) {
    while (::send(loud.get(), data.data(), data.size(), MSG_NOSIGNAL) > 0) continue;
    send_all(quiet, "x");
    const size_t heard = host.input[static_cast<int32_t>(quiet_id)].size();
    host.step();
    host.step();
    host.step();
    CHECK_EQUAL(host.input[static_cast<int32_t>(quiet_id)].size(), heard + 1);
  }
  CHECK(host.input[static_cast<int32_t>(loud_id)].size() > data.size());
}

TEST("a flood of connections does not keep others from being heard") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor quiet;
  const uint32_t id = host.accept(listener, quiet);
  std::vector<Descriptor> flood;
  for (int i = 0; i < 200; i++) flood.push_back(dial(host.port(listener)));
  send_all(quiet, "x");
  const int before = host.count(Event::accepted);
  host.step();
  const int accepted = host.count(Event::accepted) - before;
  CHECK(accepted <= 64);
  CHECK(host.input[static_cast<int32_t>(id)] == "x");
  host.until([&] { return host.count(Event::accepted) == before + 200; });
}

TEST("small messages share a slab") {
  Host host;
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(50);
  for (Descriptor& client : clients) host.accept(listener, client);
  for (int round = 0; round < 10; round++) {
    for (const Descriptor& client : clients) send_all(client, pattern(64, 6));
    const int wanted = (round + 1) * 50;
    host.until([&] { return host.count(Event::data) == wanted; });
  }
  for (const Record& record : host.log) {
    if (record.event == Event::data) CHECK_EQUAL(record.a, 0);
  }
}

}  // namespace marketplace::test
