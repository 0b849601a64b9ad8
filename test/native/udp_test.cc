// Datagrams: places in slabs, batches, truncation, shortages, a full kernel, close.
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <deque>
#include <utility>

#include "../../native/engine/socket.h"
#include "../../native/engine/udp_socket.h"
#include "faulty.h"
#include "harness.h"

namespace marketplace::test {

namespace {

using engine::DatagramBatch;
using engine::UdpSocketOptions;

// What the kernel is made to answer: so many datagrams are taken, then this errno comes.
int take_before_refusal = 0;
int refusal = 0;
int send_calls = 0;

// The flags are unsigned in musl.
template <typename Flags>
int send_as_told(int socket, mmsghdr* messages, unsigned count, Flags flags) {
  send_calls++;
  if (refusal == 0) return ::sendmmsg(socket, messages, count, flags);
  if (take_before_refusal == 0) {
    errno = refusal;
    return -1;
  }
  const unsigned most = std::min(count, static_cast<unsigned>(take_before_refusal));
  take_before_refusal -= static_cast<int>(most);
  return ::sendmmsg(socket, messages, most, flags);
}

Address loopback(uint16_t port, const char* text = "127.0.0.1") {
  Address address;
  CHECK_EQUAL(Address::parse(text, port, address), 0);
  return address;
}

// A host with sockets for datagrams, on a kernel that sends and watches as it is told.
class UdpHost : public Host {
 public:
  explicit UdpHost(uint32_t slab_size = 512 * 1024, uint32_t records_max = 2048,
                   int64_t close_timeout_ms = patience_ms)
      : UdpHost(new Faulty, slab_size, options(records_max, close_timeout_ms)) {}

  uint32_t bind(const UdpSocketOptions& options = {}, const char* address = "127.0.0.1") {
    const int32_t id = engine.bind(loopback(0, address), options);
    CHECK(id > 0);
    return static_cast<uint32_t>(id);
  }

  void send(uint32_t id, std::string data, const Address& to) {
    // Has to stay where it is until the flush.
    sent_.push_back(std::move(data));
    const std::string& kept = sent_.back();
    engine.send(id, reinterpret_cast<const uint8_t*>(kept.data()), kept.size(), to);
  }

  Faulty& faulty;
  std::vector<std::string> received;
  // Of the last datagram.
  Record sender{};

 private:
  UdpHost(Faulty* backend, uint32_t slab_size, const engine::Options& options)
      : Host(std::unique_ptr<engine::Backend>(backend), options, slab_size), faulty(*backend) {
    refusal = 0;
    take_before_refusal = 0;
    send_calls = 0;
    for (int i = 0; i < 2; i++) add_slab(engine::Purpose::small_input);
    on_record = [this](const Record& record) {
      if (record.event == Event::sender) sender = record;
      if (record.event != Event::data) return;
      std::string& bytes = input[record.id];
      CHECK_EQUAL(bytes.size(), static_cast<size_t>(record.c));
      received.push_back(std::exchange(bytes, {}));
    };
  }

  static engine::Options options(uint32_t records_max, int64_t close_timeout_ms) {
    engine::Options result;
    result.records_max = records_max;
    result.close_timeout_ms = close_timeout_ms;
    result.send_datagrams = send_as_told;
    return result;
  }

  std::deque<std::string> sent_;
};

}  // namespace

TEST("datagrams of all sizes arrive whole, in order, with their sender") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  std::vector<std::string> sent;
  for (uint32_t round = 0; round < 200; round++) {
    // Mostly small, so that the slots shrink, then some that do not fit in.
    const uint32_t most = round % 10 == 9 ? 65'508 : 300;
    // No more than the kernel's buffer holds.
    const uint32_t burst = round % 10 == 9 ? 2 : 20;
    const size_t first = sent.size();
    for (uint32_t i = 0; i < burst; i++) sent.push_back(pattern(random_below(most), round + i));
    for (size_t i = first; i < sent.size(); i++) host.send(a, sent[i], loopback(host.port(b)));
    host.until([&] { return host.received.size() == sent.size(); });
  }
  CHECK(host.received == sent);
  CHECK_EQUAL(host.count(Event::send_failed), 0);
  CHECK_EQUAL(host.engine.counters().datagrams_out, sent.size());
  CHECK_EQUAL(host.last(Event::data)->id, b);
  CHECK_EQUAL(host.sender.b, host.port(a) | 4 << 16);
  CHECK_EQUAL(host.sender.c, 0x7f000001);
}

TEST("many datagrams of one turn take few system calls") {
  UdpHost host;
  UdpSocketOptions options;
  options.receive_buffer = 1024 * 1024;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind(options);
  const std::string data = "datagram";
  for (int i = 0; i < 96; i++) host.send(a, data, loopback(host.port(b)));
  host.engine.flush();
  CHECK_EQUAL(send_calls, 3);
  for (int i = 0; host.received.empty(); i++) CHECK(host.step(1000) && i <= idle_turns_max());
  CHECK_EQUAL(host.received.size(), 96);
}

TEST("many long datagrams at once are put together in the spare slabs") {
  UdpHost host(128 * 1024);
  UdpSocketOptions options;
  options.receive_buffer = 8 * 1024 * 1024;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind(options);
  std::vector<std::string> sent;
  for (uint32_t i = 0; i < 40; i++) sent.push_back(pattern(40'000 + random_below(25'000), i));
  for (uint32_t i = 0; i < 40; i++) {
    host.send(a, sent[i], loopback(host.port(b)));
    host.engine.flush();
    // The kernel's buffer may be limited to less.
    if (i % 4 == 3) host.until([&] { return host.received.size() > i; });
  }
  CHECK(host.received == sent);
}

TEST("datagrams are packed by their length; without slabs for the shortest, with the next longer") {
  UdpHost host;
  host.add_slab(engine::Purpose::tiny_input);
  const uint32_t a = host.bind();
  const Address to = loopback(host.port(a));
  const auto slab_of = [&](size_t length) {
    const size_t before = host.received.size();
    host.send(a, pattern(length, 1), to);
    host.until([&] { return host.received.size() > before; });
    CHECK(host.received.back() == pattern(length, 1));
    return host.last(Event::data)->a;
  };
  // The first four are for any, the next two for short ones, the last for the shortest.
  for (const size_t length : {0u, 20u, 64u}) CHECK_EQUAL(slab_of(length), 6);
  for (const size_t length : {65u, 2048u}) CHECK_EQUAL(slab_of(length), 4);
  CHECK_EQUAL(slab_of(2049), 0);
  CHECK_EQUAL(host.count(Event::slabs_short), 0);
  UdpHost without;
  const uint32_t b = without.bind();
  without.send(b, "short", loopback(without.port(b)));
  without.until([&] { return without.received.size() == 1; });
  CHECK_EQUAL(without.last(Event::data)->a, 4);
  CHECK_EQUAL(without.count(Event::slabs_short), 1);
  CHECK_EQUAL(without.last(Event::slabs_short)->id, engine::Purpose::tiny_input);
}

TEST("a socket that does all the talking: what others have is served in between") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  host.until([&] { return true; });
  size_t rounds = 0;
  for (; rounds < 40; rounds++) {
    host.send(b, "x", loopback(host.port(a)));
    host.until([&] { return host.received.size() > rounds; });
  }
  // One round of the talker's, and one of somebody else's at the same time.
  Descriptor client;
  const uint32_t connection = host.accept(host.listen(), client);
  for (int i = 0; i < 40; i++) {
    send_all(client, "y");
    host.send(b, "x", loopback(host.port(a)));
    rounds++;
    host.until([&] { return host.received.size() >= rounds + static_cast<size_t>(i) + 1; });
  }
  CHECK_EQUAL(connection, host.last(Event::accepted)->id);
  CHECK(host.run_for(20) <= idle_turns_max());
}

TEST("receiving stops without slabs, and goes on when there are some") {
  UdpHost host(64 * 1024);
  host.lend = false;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const std::string data = pattern(20'000, 1);
  // Three fit into each of four slabs.
  for (size_t i = 0; i < 12; i++) {
    host.send(a, data, loopback(host.port(b)));
    host.until([&] { return host.received.size() == i + 1; });
  }
  for (int i = 0; i < 4; i++) host.send(a, data, loopback(host.port(b)));
  host.until([&] { return host.count(Event::slabs_short) > 0; });
  CHECK(host.run_for(20) <= 1 + idle_turns_max());
  CHECK_EQUAL(host.received.size(), 12);
  host.lend = true;
  for (int i = 0; i < 4; i++) host.add_slab();
  host.until([&] { return host.received.size() == 16; });
  for (const std::string& got : host.received) CHECK(got == data);
}

TEST("what is longer than the limit is reported with its length, and dropped") {
  UdpHost host;
  UdpSocketOptions options;
  options.datagram_max = 100;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind(options);
  const std::string right = pattern(100, 1);
  const std::string wrong = pattern(5000, 2);
  host.send(a, wrong, loopback(host.port(b)));
  host.send(a, right, loopback(host.port(b)));
  host.until([&] { return host.received.size() == 1; });
  CHECK(host.received[0] == right);
  CHECK_EQUAL(host.count(Event::truncated), 1);
  CHECK_EQUAL(host.last(Event::truncated)->a, 5000);
  CHECK_EQUAL(host.last(Event::truncated)->b & 0xffff, host.port(a));
}

TEST("one datagram that cannot be sent does not stop those around it") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const std::string right = "right";
  const std::string wrong = pattern(65'508, 1);
  const Address to = loopback(host.port(b));
  for (int i = 0; i < 3; i++) {
    host.send(a, right, to);
    host.send(a, wrong, to);
  }
  // Broadcast without permission.
  host.send(a, right, loopback(9, "255.255.255.255"));
  host.send(a, right, to);
  host.until([&] { return host.received.size() == 4; });
  CHECK_EQUAL(host.count(Event::send_failed), 4);
  CHECK_EQUAL(host.last(Event::send_failed)->a, -EACCES);
  CHECK_EQUAL(host.last(Event::send_failed)->c, -1);
}

TEST("what a full kernel does not take waits, in order, and goes out later") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const Address to = loopback(host.port(b));
  refusal = EAGAIN;
  take_before_refusal = 5;
  for (int i = 0; i < 20; i++) {
    const std::string data = std::to_string(i);
    host.send(a, data, to);
    host.engine.flush();
  }
  for (int i = 0; i < 5; i++) host.step(0);
  CHECK_EQUAL(host.received.size(), 5);
  take_before_refusal = 7;
  host.until([&] { return host.received.size() == 12; });
  refusal = 0;
  host.until([&] { return host.received.size() == 20; });
  for (int i = 0; i < 20; i++) CHECK(host.received[static_cast<size_t>(i)] == std::to_string(i));
  // Nothing waits any more, so that the loop may sleep.
  CHECK(host.run_for(20) <= idle_turns_max());
}

TEST("a socket that the kernel won't watch is no socket, and its port is free") {
  UdpHost host;
  const uint16_t port = host.port(host.bind());
  for (const int error : {ENOMEM, ENOSPC}) {
    UdpHost other;
    int calls = 0;
    other.faulty.watch_error = [&] {
      calls++;
      return -error;
    };
    CHECK_EQUAL(other.engine.bind(loopback(0), {}), -error);
    CHECK_EQUAL(calls, 1);
    CHECK_EQUAL(other.engine.count<engine::UdpSocket>(), 0);
    other.faulty.watch_error = [] { return 0; };
    const uint32_t id = other.bind();
    other.send(id, "after all", loopback(port));
    host.until([&] {
      other.engine.flush();
      return !host.received.empty();
    });
    CHECK(host.received.back() == "after all");
    host.received.clear();
  }
}

TEST("what waits fails, each told of, when the kernel won't say that there is room again") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const Address to = loopback(host.port(b));
  int calls = 0;
  host.faulty.watch_error = [&] {
    calls++;
    return -ENOMEM;
  };
  refusal = EAGAIN;
  take_before_refusal = 2;
  for (int i = 0; i < 5; i++) host.send(a, std::to_string(i), to);
  host.until([&] { return host.received.size() == 2; });
  CHECK(calls > 0);
  CHECK_EQUAL(host.count(Event::send_failed), 3);
  CHECK_EQUAL(host.last(Event::send_failed)->a, -ENOMEM);
  // The next ones are not their concern.
  host.faulty.watch_error = [] { return 0; };
  take_before_refusal = 0;
  host.send(a, "later", to);
  host.engine.flush();
  refusal = 0;
  host.until([&] { return host.received.size() == 3; });
  CHECK(host.received.back() == "later");
  CHECK_EQUAL(host.count(Event::send_failed), 3);
}

TEST("the queue is bounded, also for empty datagrams") {
  UdpHost host;
  UdpSocketOptions options;
  options.queue_max = 10'000;
  const uint32_t a = host.bind(options);
  const Address to = loopback(host.port(a));
  refusal = EAGAIN;
  const std::string data = pattern(1000, 1);
  for (int i = 0; i < 15; i++) host.send(a, data, to);
  for (int i = 0; i < 1000; i++) host.send(a, "", to);
  host.engine.flush();
  host.step(0);
  CHECK(host.count(Event::send_failed) > 900);
  CHECK_EQUAL(host.last(Event::send_failed)->a, -ENOBUFS);
}

TEST("close sends what waits as the kernel takes it, in order, and receives no more") {
  UdpHost host;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const uint16_t port = host.port(a);
  const Address to = loopback(host.port(b));
  refusal = EAGAIN;
  for (int i = 0; i < 20; i++) host.send(a, std::to_string(i), to);
  host.engine.flush();
  host.engine.close(a);
  host.engine.close(a);
  host.send(a, "too late", to);
  host.send(b, "to nobody", loopback(port));
  take_before_refusal = 7;
  host.until([&] { return host.received.size() >= 6; });
  CHECK_EQUAL(host.count(Event::closed), 0);
  // Its port is in use for as long.
  CHECK_EQUAL(host.engine.bind(loopback(port), {}), -EADDRINUSE);
  refusal = 0;
  host.until([&] { return host.count(Event::closed) == 1 && host.received.size() >= 20; });
  CHECK_EQUAL(host.received.size(), 20);
  for (int i = 0; i < 20; i++) CHECK(host.received[static_cast<size_t>(i)] == std::to_string(i));
  CHECK_EQUAL(host.count(Event::send_failed), 0);
  CHECK_EQUAL(host.last(Event::closed)->id, a);
  CHECK_EQUAL(host.engine.counters().queued_bytes, 0);
  CHECK(host.run_for(20) <= idle_turns_max());
}

TEST(
    "a socket that closes ends when the kernel won't say that there is room, each datagram told "
    "of") {
  UdpHost host;
  const uint32_t a = host.bind();
  refusal = EAGAIN;
  for (int i = 0; i < 3; i++) host.send(a, "x", loopback(host.port(a)));
  host.engine.close(a);
  host.faulty.watch_error = [] { return -ENOMEM; };
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.count(Event::send_failed), 3);
  CHECK_EQUAL(host.last(Event::send_failed)->a, -ENOMEM);
  CHECK(host.log.back().event == Event::closed);
  host.faulty.watch_error = [] { return 0; };
}

TEST("close sends what was given before, frees the port, and says what could not be sent in time") {
  UdpHost host(512 * 1024, 2048, 100);
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const uint16_t port = host.port(a);
  const Address to = loopback(host.port(b));
  host.send(a, "last words", to);
  host.engine.close(a);
  host.engine.flush();
  CHECK(host.engine.bind(loopback(port), {}) > 0);
  host.until([&] { return host.received.size() == 1; });
  CHECK_EQUAL(host.count(Event::closed), 1);
  refusal = EAGAIN;
  host.send(b, "one", to);
  host.send(b, "two", to);
  host.engine.close(b);
  host.engine.close(b);
  const int64_t start_ms = engine::monotonic_ms();
  host.engine.flush();
  host.send(b, "too late", to);
  host.until([&] { return host.count(Event::closed) == 2; });
  CHECK(engine::monotonic_ms() - start_ms >= 99);
  CHECK_EQUAL(host.count(Event::send_failed), 2);
  CHECK_EQUAL(host.last(Event::send_failed)->a, -ECANCELED);
  CHECK_EQUAL(host.count(Event::closed), 2);
  CHECK(host.log.back().event == Event::closed);
  CHECK_EQUAL(host.engine.count<engine::UdpSocket>(), 1);
}

TEST("a socket for both families shows IPv4 peers as IPv4, and sends to them") {
  UdpHost host;
  const int32_t both = host.engine.bind(loopback(0, "::"), {});
  if (both == -EAFNOSUPPORT || both == -EADDRNOTAVAIL) return;
  CHECK(both > 0);
  const uint32_t a = static_cast<uint32_t>(both);
  const uint32_t b = host.bind();
  host.send(b, "to both", loopback(host.port(a)));
  host.until([&] { return host.received.size() == 1; });
  CHECK_EQUAL(host.sender.b, host.port(b) | 4 << 16);
  CHECK_EQUAL(host.sender.c, 0x7f000001);
  CHECK_EQUAL(host.sender.f, 0);
  host.send(a, "to IPv4", loopback(host.port(b)));
  host.send(a, "to IPv6", loopback(host.port(a), "::1"));
  host.until([&] { return host.received.size() == 3; });
  CHECK_EQUAL(host.count(Event::send_failed), 0);
}

TEST("failures to bind are negative errno, and leave nothing open") {
  UdpHost host;
  const uint32_t a = host.bind();
  CHECK_EQUAL(host.engine.bind(loopback(host.port(a)), {}), -EADDRINUSE);
  CHECK_EQUAL(host.engine.bind(loopback(0, "192.0.2.77"), {}), -EADDRNOTAVAIL);
  CHECK_EQUAL(host.engine.membership(a, loopback(0), "", true), -EINVAL);
  CHECK_EQUAL(host.engine.membership(99, loopback(0), "", true), -EBADF);
  CHECK_EQUAL(host.engine.count<engine::UdpSocket>(), 1);
}

TEST("the options of a socket reach the kernel") {
  UdpSocketOptions options;
  options.reuse_address = 1;
  options.broadcast = 1;
  options.ttl = 7;
  options.multicast_ttl = 0;
  options.multicast_loopback = 0;
  options.receive_buffer = 20'000;
  options.send_buffer = 30'000;
  Descriptor socket;
  CHECK_EQUAL(engine::open_udp_socket(loopback(0), options, socket), 0);
  const auto get = [&](int level, int option) {
    int value = -1;
    socklen_t length = sizeof(value);
    CHECK_EQUAL(::getsockopt(socket.get(), level, option, &value, &length), 0);
    return value;
  };
  CHECK_EQUAL(get(SOL_SOCKET, SO_REUSEADDR), 1);
  CHECK_EQUAL(get(SOL_SOCKET, SO_BROADCAST), 1);
  // The kernel doubles them, for its own bookkeeping.
  CHECK_EQUAL(get(SOL_SOCKET, SO_RCVBUF), 40'000);
  CHECK_EQUAL(get(SOL_SOCKET, SO_SNDBUF), 60'000);
  CHECK_EQUAL(get(IPPROTO_IP, IP_TTL), 7);
  CHECK_EQUAL(get(IPPROTO_IP, IP_MULTICAST_TTL), 0);
  CHECK_EQUAL(get(IPPROTO_IP, IP_MULTICAST_LOOP), 0);
}

TEST("a turn keeps its limit of records and serves every socket") {
  UdpHost host(512 * 1024, 64);
  const uint32_t sender = host.bind();
  std::vector<uint32_t> sockets;
  for (int i = 0; i < 20; i++) sockets.push_back(host.bind());
  for (int i = 0; i < 40; i++) {
    for (const uint32_t id : sockets) host.send(sender, "x", loopback(host.port(id)));
    host.engine.flush();
  }
  size_t before = 0;
  while (host.step(0)) {
    CHECK(host.received.size() - before < 64 + DatagramBatch::count_max);
    before = host.received.size();
  }
  CHECK_EQUAL(host.received.size(), 800);
}

TEST("connections and datagrams share ids, slabs, records and a turn") {
  UdpHost host;
  host.on_record = nullptr;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t connection = host.accept(listener, client);
  const uint32_t socket = host.bind();
  CHECK(engine::index_of(socket) != engine::index_of(connection));
  CHECK(engine::index_of(socket) != engine::index_of(listener));
  // What is for one kind is nothing to the other.
  host.engine.pause(socket, true);
  host.engine.shutdown(socket);
  host.engine.abort(socket);
  host.write(socket, "not a stream");
  host.send(connection, "not datagrams", loopback(host.port(socket)));
  host.engine.flush();
  const std::string data = pattern(1000, 1);
  send_all(client, data);
  host.send(socket, data, loopback(host.port(socket)));
  const auto bytes = [&](uint32_t id) { return host.input[static_cast<int32_t>(id)]; };
  host.until([&] { return bytes(connection).size() == 1000 && bytes(socket).size() == 1000; });
  CHECK(bytes(connection) == data && bytes(socket) == data);
  CHECK_EQUAL(host.last(Event::data, static_cast<int32_t>(socket))->a,
              host.last(Event::data, static_cast<int32_t>(connection))->a);
  CHECK_EQUAL(host.engine.counters().bytes_in, 2000);
  host.engine.close(socket);
  host.engine.close(connection);
  host.until([&] { return host.count(Event::closed) == 2; });
}

TEST("what was received before its socket was closed waits for nobody") {
  UdpHost host(64 * 1024);
  host.lend = false;
  const uint32_t a = host.bind();
  const uint32_t b = host.bind();
  const std::string data = pattern(40'000, 1);
  // One fits into each of four slabs.
  for (int i = 0; i < 5; i++) {
    host.send(a, data, loopback(host.port(b)));
    host.step(10);
  }
  host.until([&] { return host.count(Event::slabs_short) > 0; });
  CHECK_EQUAL(host.received.size(), 4);
  host.engine.close(b);
  host.send(a, "next", loopback(host.port(a)));
  host.engine.flush();
  host.run_for(20);
  CHECK_EQUAL(host.received.size(), 4);
  host.add_slab();
  host.until([&] { return host.received.size() == 5; });
  CHECK(host.received.back() == "next");
}

TEST("what waits for the kernel is counted until it has gone") {
  UdpHost host;
  const uint32_t a = host.bind();
  refusal = EAGAIN;
  for (int i = 0; i < 10; i++) host.send(a, pattern(1000, 1), loopback(host.port(a)));
  host.engine.flush();
  CHECK_EQUAL(host.engine.counters().queued_bytes, 10 * (1000 + 64));
  refusal = 0;
  host.until([&] { return host.received.size() == 10; });
  CHECK_EQUAL(host.engine.counters().queued_bytes, 0);
  CHECK_EQUAL(host.engine.counters().bytes_out, 10'000);
}

}  // namespace marketplace::test
