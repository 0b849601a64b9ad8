// How connections begin and end: half-close, reset, close, abort, deadlines, stale ids.
#include <sys/socket.h>

#include <cerrno>

#include "../../native/engine/socket.h"
#include "harness.h"
#include "meanwhile.h"

namespace marketplace::test {

using engine::Call;

namespace {

void check_closed(Host& host, uint32_t id, int error, Call call) {
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(id)) > 0; });
  const Record* record = host.last(Event::closed, static_cast<int32_t>(id));
  CHECK_EQUAL(record->a, error);
  CHECK_EQUAL(record->b, call);
  host.run_for(5);
  CHECK_EQUAL(host.count(Event::closed, static_cast<int32_t>(id)), 1);
  CHECK_EQUAL(host.log.back().event == Event::closed || host.log.back().id != record->id, true);
}

}  // namespace

TEST("the peer half-closes: all it sent, then one end, then it still receives") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  send_all(client, "question");
  CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
  host.until([&] { return host.count(Event::end) == 1; });
  CHECK(host.input[static_cast<int32_t>(id)] == "question");
  CHECK(host.run_for(50) <= idle_turns_max());
  CHECK_EQUAL(host.count(Event::end), 1);
  host.write(id, "answer");
  CHECK(read_some(client, 100) == "answer");
  host.engine.shutdown(id);
  host.engine.flush();
  CHECK(read_some(client, 100).empty());
  check_closed(host, id, 0, Call::none);
}

TEST("we half-close: the peer sees the end and is still heard") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.write(id, reinterpret_cast<const uint8_t*>("bye"), 3);
  host.engine.shutdown(id);
  host.engine.shutdown(id);
  host.engine.flush();
  CHECK(read_some(client, 100) == "bye");
  CHECK(read_some(client, 100).empty());
  CHECK(host.run_for(20) <= idle_turns_max());
  send_all(client, "not yet");
  host.until([&] { return host.input[static_cast<int32_t>(id)] == "not yet"; });
  client.reset();
  check_closed(host, id, 0, Call::none);
  CHECK_EQUAL(host.count(Event::end), 1);
}

TEST("a reset is ECONNRESET, without an end, after the data that came before it") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  send_all(client, "last words");
  reset(client);
  check_closed(host, id, -ECONNRESET, Call::read);
  CHECK_EQUAL(host.count(Event::end), 0);
  CHECK(host.input[static_cast<int32_t>(id)] == "last words");
}

TEST("a reset after the peer's end is noticed without reading or writing") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
  host.until([&] { return host.count(Event::end) == 1; });
  reset(client);
  check_closed(host, id, -EPIPE, Call::write);
}

TEST("a reset of a paused connection makes nothing spin, and loses nothing") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.pause(id, true);
  host.engine.flush();
  send_all(client, "unread");
  reset(client);
  CHECK(host.run_for(50) <= 1 + idle_turns_max());
  CHECK_EQUAL(host.count(Event::closed), 0);
  host.engine.pause(id, false);
  check_closed(host, id, -ECONNRESET, Call::read);
  CHECK(host.input[static_cast<int32_t>(id)] == "unread");
}

TEST("a reset of a paused connection that has read everything is reported at once") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  send_all(client, "read");
  host.until([&] { return host.input[static_cast<int32_t>(id)] == "read"; });
  host.engine.pause(id, true);
  host.engine.flush();
  host.run_for(20);
  reset(client);
  check_closed(host, id, -ECONNRESET, Call::read);
  CHECK_EQUAL(host.count(Event::end), 0);
}

TEST("both ends of a paused connection are shut: nothing spins") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.pause(id, true);
  host.engine.shutdown(id);
  host.engine.flush();
  CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
  CHECK(host.run_for(50) <= 1 + idle_turns_max());
  host.engine.pause(id, false);
  check_closed(host, id, 0, Call::none);
}

TEST("writing to a peer that is gone is an error, after what it had sent") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  send_all(client, "before I go");
  // Unread bytes make this a reset.
  host.write(id, "unread");
  client.reset();
  host.write(id, "x");
  host.write(id, "y");
  host.until([&] { return host.count(Event::closed) == 1; });
  const int error = host.last(Event::closed)->a;
  CHECK(error == -EPIPE || error == -ECONNRESET);
  CHECK(host.input[static_cast<int32_t>(id)] == "before I go");
}

TEST("a refused connection, and one without a route") {
  Host host;
  const uint32_t listener = host.listen();
  Address address;
  CHECK_EQUAL(host.engine.local(listener, address), 0);
  host.engine.close_listener(listener);
  const int32_t id = host.connect(address);
  CHECK(id > 0);
  check_closed(host, static_cast<uint32_t>(id), -ECONNREFUSED, Call::connect);
  CHECK_EQUAL(host.count(Event::connected), 0);
  Address nowhere;
  CHECK_EQUAL(Address::parse("255.255.255.255", 1, nowhere), 0);
  CHECK(host.connect(nowhere) < 0);
}

TEST("a port in use, and one that was in use") {
  Host host;
  const uint32_t listener = host.listen();
  Address address;
  CHECK_EQUAL(host.engine.local(listener, address), 0);
  CHECK_EQUAL(host.engine.listen(address, {}), -EADDRINUSE);
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.engine.close(id);
  host.engine.close_listener(listener);
  host.engine.flush();
  CHECK(host.engine.listen(address, {}) > 0);
}

TEST("close sends what is queued first") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(16 * 1024 * 1024, 1);
  host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  host.engine.close(id);
  host.engine.close(id);
  host.engine.flush();
  // What the peer sends meanwhile neither blocks it nor turns the end into a reset.
  unblock(client);
  const std::string noise = pattern(256 * 1024, 2);
  static_cast<void>(!::send(client.get(), noise.data(), noise.size(), MSG_NOSIGNAL));
  int error = -1;
  CHECK(read_all(host, client, error) == data);
  CHECK_EQUAL(error, 0);
  check_closed(host, id, 0, Call::none);
  CHECK_EQUAL(host.count(Event::data), 0);
}

TEST("close of a connection whose peer is blocked in sending") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.engine.pause(id, true);
  const std::string data = pattern(16 * 1024 * 1024, 1);
  host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  host.engine.close(id);
  host.engine.flush();
  std::string got;
  Meanwhile peer(client, [&] {
    send_all(client, data);
    for (std::string part = "x"; !part.empty(); got += part) part = read_some(client, 65536);
  });
  check_closed(host, id, 0, Call::none);
  peer.join();
  CHECK(got == data);
}

TEST("close gives up at its deadline, with a reset") {
  engine::Options options;
  options.close_timeout_ms = 100;
  Host host(options);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(32 * 1024 * 1024, 1);
  host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  host.engine.close(id);
  const int64_t start_ms = engine::monotonic_ms();
  check_closed(host, id, -ETIMEDOUT, Call::write);
  CHECK(engine::monotonic_ms() - start_ms >= 99);
  int error = -1;
  CHECK(read_all(host, client, error).size() < data.size());
  CHECK_EQUAL(error, ECONNRESET);
}

TEST("abort resets at once") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(32 * 1024 * 1024, 1);
  host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  host.engine.abort(id);
  host.engine.abort(id);
  check_closed(host, id, 0, Call::none);
  int error = -1;
  CHECK(read_all(host, client, error).empty());
  CHECK_EQUAL(error, ECONNRESET);
}

TEST("ids that are no longer valid are ignored") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t old = host.accept(listener, client);
  host.engine.abort(old);
  host.engine.flush();
  host.step(0);
  client.reset();
  const uint32_t id = host.accept(listener, client);
  CHECK_EQUAL(engine::index_of(id), engine::index_of(old));
  CHECK(id != old);
  const std::string wrong = "wrong";
  host.engine.write(old, reinterpret_cast<const uint8_t*>(wrong.data()), wrong.size());
  host.engine.pause(old, true);
  host.engine.shutdown(old);
  host.engine.close(old);
  host.engine.abort(old);
  host.engine.abort(0);
  host.engine.abort(UINT32_MAX);
  host.engine.close_listener(id);
  host.engine.flush();
  Address address;
  CHECK(host.engine.local(old, address) < 0);
  host.write(id, "right");
  CHECK(read_some(client, 100) == "right");
}

TEST("writes after shutdown, close and abort are ignored") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const auto write = [&](const char* text) {
    host.engine.write(id, reinterpret_cast<const uint8_t*>(text), 1);
  };
  write("a");
  host.engine.shutdown(id);
  write("b");
  host.engine.close(id);
  write("c");
  host.engine.abort(id);
  write("d");
  host.engine.flush();
  check_closed(host, id, 0, Call::none);
}

TEST("an index is not used again before its end was reported") {
  Host host;
  const uint32_t listener = host.listen();
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", host.port(listener), address), 0);
  const int32_t first = host.connect(address);
  CHECK(first > 0);
  host.until([&] { return host.count(Event::connected, first) == 1; });
  host.engine.abort(static_cast<uint32_t>(first));
  host.engine.flush();
  // `closed` is there, and was not read.
  const int32_t second = host.connect(address);
  CHECK(engine::index_of(static_cast<uint32_t>(second)) !=
        engine::index_of(static_cast<uint32_t>(first)));
  host.until([&] { return host.count(Event::closed, first) == 1; });
}

TEST("500 connections that end in the same turn") {
  Host host;
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(500);
  for (Descriptor& client : clients) client = dial(host.port(listener));
  host.until([&] { return host.count(Event::accepted) == 500; });
  for (size_t i = 0; i < clients.size(); i++) {
    if (i % 3 == 0)
      reset(clients[i]);
    else
      clients[i].reset();
  }
  host.on_record = [&](const Record& record) {
    if (record.event == Event::end) host.engine.close(static_cast<uint32_t>(record.id));
  };
  host.until([&] { return host.count(Event::closed) == 500; });
  CHECK_EQUAL(host.engine.count(), 0);
}

TEST("an engine that ends with everything open gives back every descriptor") {
  Host host;
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(20);
  for (Descriptor& client : clients) host.accept(listener, client);
  const std::string data = pattern(8 * 1024 * 1024, 1);
  host.write(static_cast<uint32_t>(host.last(Event::accepted)->id), data);
}

}  // namespace marketplace::test
