// What can be asked of sockets: that the kernel has it, on listeners, on what they accept, and on
// what goes out; and what a listener does with connections that it may not, or not yet, accept.
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "../../native/engine/socket.h"
#include "harness.h"

namespace marketplace::test {

namespace {

using engine::ConnectOptions;
using engine::ListenOptions;
using engine::SocketOptions;

SocketOptions unusual() {
  SocketOptions options;
  options.no_delay = false;
  options.keep_alive = true;
  options.keep_alive_idle_s = 11;
  options.keep_alive_interval_s = 12;
  options.keep_alive_count = 13;
  options.user_timeout_ms = 14'000;
  options.send_buffer_size = 32 * 1024;
  options.receive_buffer_size = 48 * 1024;
  return options;
}

void check_unusual(const SocketOptions& options) {
  CHECK(!options.no_delay);
  CHECK(options.keep_alive);
  CHECK_EQUAL(options.keep_alive_idle_s, 11);
  CHECK_EQUAL(options.keep_alive_interval_s, 12);
  CHECK_EQUAL(options.keep_alive_count, 13);
  CHECK_EQUAL(options.user_timeout_ms, 14'000);
  // The kernel doubles what it is asked for, to make room for its own needs.
  CHECK_EQUAL(options.send_buffer_size, 2 * 32 * 1024);
  CHECK_EQUAL(options.receive_buffer_size, 2 * 48 * 1024);
}

Address address_of(Host& host, uint32_t listener) {
  Address address;
  CHECK_EQUAL(host.engine.local(listener, address), 0);
  return address;
}

// One that neither connects nor fails at once.
Descriptor start_dial(const Address& to) {
  Descriptor socket(::socket(to.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  static_cast<void>(::connect(socket.get(), to.data(), to.length));
  return socket;
}

}  // namespace

TEST("what is accepted inherits all options of its listener") {
  Host host;
  ListenOptions options;
  options.socket = unusual();
  const uint32_t listener = host.listen("127.0.0.1", options);
  SocketOptions got;
  CHECK_EQUAL(host.engine.options(listener, got), 0);
  check_unusual(got);
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  CHECK_EQUAL(host.engine.options(id, got), 0);
  check_unusual(got);
}

TEST("an outbound connection has the options it was given") {
  Host host;
  ConnectOptions options;
  options.socket = unusual();
  const int32_t id = host.connect(address_of(host, host.listen()), options);
  CHECK(id > 0);
  host.until([&] { return host.count(Event::connected) == 1; });
  SocketOptions got;
  CHECK_EQUAL(host.engine.options(static_cast<uint32_t>(id), got), 0);
  check_unusual(got);
}

TEST("options that were not given are the system's, but for Nagle's algorithm") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  SocketOptions got;
  SocketOptions system;
  CHECK_EQUAL(host.engine.options(id, got), 0);
  CHECK_EQUAL(engine::read_options(client.get(), system), 0);
  CHECK(got.no_delay && !system.no_delay);
  CHECK(!got.keep_alive);
  CHECK_EQUAL(got.keep_alive_idle_s, system.keep_alive_idle_s);
  CHECK_EQUAL(got.keep_alive_interval_s, system.keep_alive_interval_s);
  CHECK_EQUAL(got.keep_alive_count, system.keep_alive_count);
  CHECK_EQUAL(got.user_timeout_ms, 0);
  CHECK_EQUAL(host.engine.options(id + 1, got), -ENOTCONN);
  CHECK_EQUAL(host.engine.options(listener + 1000, got), -ENOTCONN);
}

TEST("what the kernel refuses is told") {
  Host host;
  ListenOptions options;
  options.socket.keep_alive = true;
  options.socket.keep_alive_idle_s = 40'000;
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, address), 0);
  CHECK_EQUAL(host.engine.listen(address, options), -EINVAL);
  ConnectOptions connect;
  connect.socket = options.socket;
  CHECK_EQUAL(host.connect(address_of(host, host.listen()), connect), -EINVAL);
}

TEST("a port is shared only if all that listen on it want that") {
  Host host;
  ListenOptions shared;
  shared.reuse_port = true;
  const uint32_t first = host.listen("127.0.0.1", shared);
  const Address address = address_of(host, first);
  CHECK_EQUAL(host.engine.listen(address, {}), -EADDRINUSE);
  CHECK(host.engine.listen(address, shared) > 0);
  // Which one gets a connection is decided by a hash of its addresses.
  std::set<int32_t> listeners;
  std::vector<Descriptor> clients;
  for (int i = 0; i < 200 && listeners.size() < 2; i++) {
    clients.push_back(dial(address.port()));
    host.until([&] { return host.count(Event::accepted) == i + 1; });
    listeners.insert(host.last(Event::accepted)->a);
  }
  CHECK_EQUAL(listeners.size(), 2);
}

TEST("an exclusive listener does not take a port on which connections linger") {
  Host host;
  ListenOptions exclusive;
  exclusive.exclusive = true;
  const uint32_t listener = host.listen("127.0.0.1", exclusive);
  const Address address = address_of(host, listener);
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  host.engine.close_listener(listener);
  CHECK_EQUAL(host.engine.listen(address, exclusive), -EADDRINUSE);
  // Whose own socket is exclusive is in the way of those that are not, too.
  CHECK_EQUAL(host.engine.listen(address, {}), -EADDRINUSE);
  host.engine.abort(id);
  // Not at once: io_uring holds on to a socket until its request has ended.
  host.until([&] { return host.engine.listen(address, exclusive) > 0; });
}

TEST("connections beyond the limit are reset and told of, and make room again") {
  Host host;
  ListenOptions options;
  options.limits.most = 2;
  const uint32_t listener = host.listen("127.0.0.1", options);
  std::vector<Descriptor> clients(2);
  const uint32_t first = host.accept(listener, clients[0]);
  host.accept(listener, clients[1]);
  Address last;
  for (int i = 0; i < 3; i++) {
    clients.push_back(dial(host.port(listener)));
    CHECK_EQUAL(engine::local_address(clients.back().get(), last), 0);
  }
  const auto dropped = [&] {
    int count = 0;
    for (const Record& record : host.log) {
      if (record.event == Event::dropped) count += record.a;
    }
    return count;
  };
  host.until([&] { return dropped() == 3; });
  CHECK_EQUAL(host.count(Event::accepted), 2);
  const Record* record = host.last(Event::dropped);
  CHECK_EQUAL(record->id, listener);
  CHECK_EQUAL(record->b, last.port() | 4 << 16);
  CHECK_EQUAL(record->c, 0x7f000001);
  int error = 0;
  read_all(host, clients[4], error);
  CHECK_EQUAL(error, ECONNRESET);
  host.engine.close(first);
  host.until([&] { return host.count(Event::closed) == 1; });
  Descriptor again;
  host.accept(listener, again);
  CHECK_EQUAL(dropped(), 3);
}

TEST("a limit of none is not a limit of nothing") {
  Host host;
  ListenOptions options;
  options.limits.most = 0;
  const uint32_t listener = host.listen("127.0.0.1", options);
  Descriptor client = dial(host.port(listener));
  host.until([&] { return host.count(Event::dropped) == 1; });
  CHECK_EQUAL(host.count(Event::accepted), 0);
}

TEST("the connections of a listener that is gone count for nobody") {
  Host host;
  ListenOptions options;
  options.limits.most = 1;
  const uint32_t listener = host.listen("127.0.0.1", options);
  const Address address = address_of(host, listener);
  Descriptor old;
  const uint32_t id = host.accept(listener, old);
  host.engine.close_listener(listener);
  const int32_t again = host.engine.listen(address, options);
  CHECK(again > 0);
  Descriptor client;
  host.accept(static_cast<uint32_t>(again), client);
  host.engine.abort(id);
  host.until([&] { return host.count(Event::closed) == 1; });
  Descriptor another = dial(address.port());
  host.until([&] { return host.count(Event::dropped) == 1; });
  CHECK_EQUAL(host.count(Event::accepted), 2);
}

TEST("what is accepted by a listener that pauses is not read before it is resumed") {
  Host host;
  ListenOptions options;
  options.pause_accepted = true;
  const uint32_t listener = host.listen("127.0.0.1", options);
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  send_all(client, "early");
  reset(client);
  host.run_for(50);
  CHECK_EQUAL(host.count(Event::data), 0);
  CHECK_EQUAL(host.count(Event::closed), 0);
  host.engine.pause(id, false);
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, -ECONNRESET);
}

TEST("while a listener is paused, connections wait; then all of them are accepted") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor first;
  host.accept(listener, first);
  host.engine.pause_listener(listener, true);
  host.engine.pause_listener(listener, true);
  host.run_for(20);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 20; i++) clients.push_back(start_dial(address_of(host, listener)));
  host.run_for(50);
  CHECK_EQUAL(host.count(Event::accepted), 1);
  host.engine.pause_listener(listener, false);
  host.until([&] { return host.count(Event::accepted) == 21; });
  // Over and over, within a turn and across turns, as a program might.
  for (int i = 0; i < 10; i++) {
    host.engine.pause_listener(listener, true);
    if (i % 2 == 0) host.run_for(1);
    host.engine.pause_listener(listener, false);
    Descriptor client;
    host.accept(listener, client);
  }
  host.engine.pause_listener(listener + 1, true);
}

TEST("a paused listener releases its port at once, and what waits for it") {
  Host host;
  const uint32_t first = host.listen();
  const Address address = address_of(host, first);
  uint32_t listener = first;
  for (int i = 0; i < 20; i++) {
    host.engine.pause_listener(listener, true);
    if (i % 3 == 1) host.run_for(1);
    Descriptor client = start_dial(address);
    if (i % 3 == 2) host.run_for(1);
    if (i % 4 == 3) host.engine.pause_listener(listener, false);
    host.engine.close_listener(listener);
    const int32_t again = host.engine.listen(address, {});
    CHECK(again > 0);
    listener = static_cast<uint32_t>(again);
  }
}

TEST("an outbound connection comes from the address that it was given") {
  Host host;
  const Address to = address_of(host, host.listen("::"));
  const struct {
    const char* local;
    const char* remote;
  } cases[] = {{"127.0.0.5", "127.0.0.1"}, {"::1", "::1"}};
  for (const auto& one : cases) {
    Address remote;
    ConnectOptions options;
    options.bound = true;
    CHECK_EQUAL(Address::parse(one.remote, to.port(), remote), 0);
    CHECK_EQUAL(Address::parse(one.local, 0, options.local), 0);
    const int32_t id = host.connect(remote, options);
    CHECK(id > 0);
    host.until([&] { return host.count(Event::connected, id) == 1; });
    Address local;
    CHECK_EQUAL(host.engine.local(static_cast<uint32_t>(id), local), 0);
    int32_t got[4];
    int32_t wanted[4];
    local.words(got);
    options.local.words(wanted);
    for (int i = 0; i < 4; i++) CHECK_EQUAL(got[i], wanted[i]);
    CHECK(local.port() != 0);
  }
}

TEST("a local port: taken, used again at once, and not to be had") {
  Host host;
  const uint32_t listener = host.listen();
  const Address to = address_of(host, listener);
  ConnectOptions options;
  options.bound = true;
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, options.local), 0);
  {
    // A port that nobody uses.
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK_EQUAL(::bind(socket.get(), options.local.data(), options.local.length), 0);
    CHECK_EQUAL(engine::local_address(socket.get(), options.local), 0);
  }
  const int32_t id = host.connect(to, options);
  CHECK(id > 0);
  host.until([&] { return host.count(Event::connected) == 1 && host.count(Event::accepted) == 1; });
  CHECK_EQUAL(host.last(Event::accepted)->b & 0xffff, options.local.port());
  bool bind_failed = true;
  CHECK(host.engine.connect(to, options, bind_failed) < 0);
  host.engine.close(static_cast<uint32_t>(id));
  host.until([&] { return host.count(Event::closed, id) == 1; });
  // It lingers now, on a way to this peer; another peer can be reached from there.
  const Address elsewhere = address_of(host, host.listen("127.0.0.2"));
  CHECK(host.engine.connect(elsewhere, options, bind_failed) > 0);
  CHECK(!bind_failed);
  CHECK_EQUAL(Address::parse("192.0.2.1", 0, options.local), 0);
  CHECK_EQUAL(host.engine.connect(to, options, bind_failed), -EADDRNOTAVAIL);
  CHECK(bind_failed);
  CHECK_EQUAL(Address::parse("::1", 0, options.local), 0);
  CHECK(host.engine.connect(to, options, bind_failed) < 0);
  CHECK(bind_failed);
}

}  // namespace marketplace::test
