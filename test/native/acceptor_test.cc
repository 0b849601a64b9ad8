// Accepting for several engines: who gets a connection, and what becomes of those that an engine
// has not taken when it ends.
#include "../../native/engine/acceptor.h"

#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <ctime>
#include <memory>
#include <string>
#include <vector>

#include "../../native/engine/socket.h"
#include "harness.h"

namespace marketplace::test {

namespace {

using engine::Acceptor;

void until_true(const std::function<bool()>& done) {
  const int64_t deadline = engine::monotonic_ms() + patience_ms;
  while (!done()) {
    CHECK(engine::monotonic_ms() < deadline);
    ::usleep(1000);
  }
}

// An acceptor that listens, and clients of it.
struct Room {
  Room() : Room(engine::Routing{}) {}
  explicit Room(engine::Routing routing) : Room(std::move(routing), 0) {}
  Room(engine::Routing routing, int32_t places) {
    CHECK_EQUAL(acceptor.open(std::move(routing)), 0);
    Address address;
    CHECK_EQUAL(Address::parse("127.0.0.1", 0, address), 0);
    listener = acceptor.listen(address, {}, places);
    CHECK(listener > 0);
    CHECK_EQUAL(acceptor.local(listener, where), 0);
  }

  Descriptor dial() {
    Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    CHECK(socket.valid());
    CHECK_EQUAL(::connect(socket.get(), where.data(), where.length), 0);
    return socket;
  }

  Acceptor acceptor;
  int32_t listener = 0;
  Address where;
};

// An engine that has a seat there.
struct Worker {
  Worker(Room& room, int32_t number) : host(std::make_unique<Host>()) {
    Acceptor::Seat seat{};
    CHECK_EQUAL(room.acceptor.sit(room.listener, number, number, seat), 0);
    const int32_t result = host->engine.borrow_listener(seat.descriptors, false, {});
    CHECK(result > 0);
    id = static_cast<uint32_t>(result);
    host->engine.flush();
  }

  std::unique_ptr<Host> host;
  uint32_t id = 0;
};

uint32_t connections(Worker& worker) {
  return worker.host->engine.count<engine::Connection>();
}

}  // namespace

TEST("an acceptor gives each connection to the engine that has the fewest") {
  Room room;
  Worker one(room, 1);
  Worker two(room, 2);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 20; i++) clients.push_back(room.dial());
  until_true([&] { return room.acceptor.counts(1).given + room.acceptor.counts(2).given == 20; });
  one.host->until([&] { return connections(one) == 10; });
  two.host->until([&] { return connections(two) == 10; });
  CHECK_EQUAL(room.acceptor.counts(1).live, 10);
  CHECK_EQUAL(room.acceptor.counts(1).waiting, 0);
}

TEST("what an engine has not taken when it ends goes to another one") {
  Room room;
  auto dying = std::make_unique<Worker>(room, 1);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 7; i++) clients.push_back(room.dial());
  until_true([&] { return room.acceptor.counts(1).waiting == 7; });
  Worker other(room, 2);
  dying.reset();
  other.host->until([&] { return connections(other) == 7; });
  for (Descriptor& client : clients) {
    CHECK_EQUAL(::send(client.get(), "x", 1, MSG_NOSIGNAL), 1);
  }
}

TEST("what an engine that is busy has not taken goes to another one, and it gets no more") {
  Room room;
  Worker busy(room, 1);
  Worker other(room, 2);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 8; i++) clients.push_back(room.dial());
  until_true([&] { return room.acceptor.counts(1).waiting == 4; });
  room.acceptor.recall(1);
  CHECK_EQUAL(room.acceptor.counts(1).live, 0);
  for (int i = 0; i < 4; i++) clients.push_back(room.dial());
  other.host->until([&] { return connections(other) == 12; });
  CHECK_EQUAL(room.acceptor.counts(1).given, 4);
  // It turns again.
  static_cast<void>(busy.host->run_for(50));
  CHECK_EQUAL(connections(busy), 0);
}

TEST("nobody to give it to: it waits for one who comes") {
  Room room;
  Descriptor client = room.dial();
  ::usleep(20'000);
  CHECK_EQUAL(room.acceptor.unplaced(), 0);
  Worker late(room, 1);
  late.host->until([&] { return connections(late) == 1; });
}

TEST("an engine that is paused gets nothing until it goes on") {
  Room room;
  Worker one(room, 1);
  one.host->engine.pause_listener(one.id, true);
  Worker two(room, 2);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 6; i++) clients.push_back(room.dial());
  two.host->until([&] { return connections(two) == 6; });
  two.host->engine.pause_listener(two.id, true);
  Descriptor last = room.dial();
  ::usleep(20'000);
  CHECK_EQUAL(room.acceptor.counts(1).given, 0);
  CHECK_EQUAL(room.acceptor.counts(2).given, 6);
  one.host->engine.pause_listener(one.id, false);
  one.host->until([&] { return connections(one) == 1; });
}

TEST("a queue that is full: the next wait until there is room") {
  Room room;
  Worker one(room, 1);
  constexpr uint32_t more = engine::inlet_capacity + 100;
  std::vector<Descriptor> clients;
  // In steps that the kernel's queue has room for.
  for (uint32_t i = 0; i < engine::inlet_capacity; i++) {
    clients.push_back(room.dial());
    if (i % 64 == 63) until_true([&] { return room.acceptor.counts(1).waiting == i + 1; });
  }
  for (int i = 0; i < 100; i++) clients.push_back(room.dial());
  CHECK_EQUAL(room.acceptor.counts(1).waiting, engine::inlet_capacity);
  one.host->until([&] { return connections(one) == more; });
}

TEST("a connection that ends is counted out, also one that a limit has refused") {
  Room room;
  Acceptor::Seat seat{};
  CHECK_EQUAL(room.acceptor.sit(room.listener, 1, 1, seat), 0);
  Host host;
  engine::ListenOptions options;
  options.limits.most = 1;
  CHECK(host.engine.borrow_listener(seat.descriptors, false, options) > 0);
  host.engine.flush();
  std::vector<Descriptor> clients;
  for (int i = 0; i < 3; i++) clients.push_back(room.dial());
  host.until(
      [&] { return room.acceptor.counts(1).given == 3 && room.acceptor.counts(1).live == 1; });
  clients.clear();
  host.on_record = [&](const Record& record) {
    if (record.event == Event::end) host.engine.close(static_cast<uint32_t>(record.id));
  };
  host.until([&] { return room.acceptor.counts(1).live == 0; });
}

TEST("a listener that is closed gives away who waits first") {
  Room room;
  Worker one(room, 1);
  one.host->engine.pause_listener(one.id, true);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 5; i++) clients.push_back(room.dial());
  one.host->engine.pause_listener(one.id, false);
  room.acceptor.close_listener(room.listener);
  one.host->until([&] { return connections(one) == 5; });
  Descriptor late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQUAL(::connect(late.get(), room.where.data(), room.where.length), -1);
  CHECK_EQUAL(errno, ECONNREFUSED);
}

TEST("a listener that is closed: who waits and finds no room is given away when there is some") {
  Room room;
  Worker one(room, 1);
  constexpr uint32_t all = engine::inlet_capacity + 100;
  std::vector<Descriptor> clients;
  for (uint32_t i = 0; i < engine::inlet_capacity; i++) {
    clients.push_back(room.dial());
    if (i % 64 == 63) until_true([&] { return room.acceptor.counts(1).waiting == i + 1; });
  }
  for (int i = 0; i < 100; i++) clients.push_back(room.dial());
  room.acceptor.close_listener(room.listener);
  CHECK_EQUAL(room.acceptor.unplaced(), 100);
  one.host->until([&] { return connections(one) == all; });
  CHECK_EQUAL(room.acceptor.unplaced(), 0);
}

TEST("a listener that is closed: who waits for a worker that has ended is let go") {
  Room room;
  Worker one(room, 1);
  std::vector<Descriptor> clients;
  for (uint32_t i = 0; i < engine::inlet_capacity + 1; i++) {
    clients.push_back(room.dial());
    if (i % 64 == 63) until_true([&] { return room.acceptor.counts(1).waiting == i + 1; });
  }
  room.acceptor.close_listener(room.listener);
  CHECK_EQUAL(room.acceptor.unplaced(), 1);
  room.acceptor.leave(1);
  until_true([&] { return room.acceptor.unplaced() == 0; });
}

TEST("connections whose engine has closed their listener are counted until they end") {
  Room room;
  Worker one(room, 1);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 3; i++) clients.push_back(room.dial());
  one.host->until([&] { return connections(one) == 3; });
  one.host->on_record = [&](const Record& record) {
    if (record.event == Event::end) one.host->engine.close(static_cast<uint32_t>(record.id));
  };
  one.host->engine.close_listener(one.id);
  static_cast<void>(one.host->run_for(20));
  CHECK_EQUAL(room.acceptor.counts(1).live, 3);
  clients.pop_back();
  one.host->until([&] { return room.acceptor.counts(1).live == 2; });
  // Its engine ends, and they with it.
  one.host.reset();
  until_true([&] { return room.acceptor.counts(1).live == 0; });
  CHECK_EQUAL(room.acceptor.counts(1).given, 3);
}

namespace {

// A room with a socket for each of two places, 0 and 1, and their workers; the kernel divides.
struct DividedRoom {
  DividedRoom() : room(engine::Routing{}, 2) {}

  void dial(int count) {
    for (int i = 0; i < count; i++) clients.push_back(room.dial());
  }

  Room room;
  std::vector<Descriptor> clients;
};

}  // namespace

TEST("sockets of their own: each engine accepts by itself, and its connections are counted") {
  DividedRoom divided;
  Worker one(divided.room, 0);
  Worker two(divided.room, 1);
  // Until both have had some: which socket the kernel chooses is its own affair.
  until_true([&] {
    divided.dial(4);
    static_cast<void>(one.host->run_for(5));
    static_cast<void>(two.host->run_for(5));
    return connections(one) > 0 && connections(two) > 0 &&
           connections(one) + connections(two) == divided.clients.size();
  });
  for (Worker* worker : {&one, &two}) {
    const auto counts = divided.room.acceptor.counts(worker == &one ? 0 : 1);
    CHECK_EQUAL(counts.live, connections(*worker));
    CHECK_EQUAL(counts.given, connections(*worker));
    CHECK_EQUAL(counts.waiting, 0);
  }
  for (Worker* worker : {&one, &two}) {
    worker->host->on_record = [worker](const Record& record) {
      if (record.event == Event::end) {
        worker->host->engine.close(static_cast<uint32_t>(record.id));
      }
    };
  }
  divided.clients.clear();
  one.host->until([&] { return divided.room.acceptor.counts(0).live == 0; });
  two.host->until([&] { return divided.room.acceptor.counts(1).live == 0; });
}

TEST("sockets of their own: of an engine that ends, is paused or is recalled others get them") {
  DividedRoom divided;
  auto ending = std::make_unique<Worker>(divided.room, 0);
  Worker stays(divided.room, 1);
  // What the kernel has given to either, and nobody has accepted.
  divided.dial(20);
  ending.reset();
  stays.host->until([&] { return connections(stays) == 20; });
  Worker pauses(divided.room, 0);
  divided.dial(20);
  pauses.host->engine.pause_listener(pauses.id, true);
  stays.host->until([&] { return connections(stays) == 40; });
  CHECK_EQUAL(connections(pauses), 0);
  pauses.host->engine.pause_listener(pauses.id, false);
  until_true([&] {
    divided.dial(4);
    static_cast<void>(pauses.host->run_for(5));
    return connections(pauses) > 0;
  });
  const uint32_t before = connections(pauses);
  divided.room.acceptor.recall(0);
  divided.dial(20);
  stays.host->until([&] { return connections(stays) + before == divided.clients.size(); });
  static_cast<void>(pauses.host->run_for(50));
  CHECK_EQUAL(connections(pauses), before);
}

TEST("sockets of their own: while nobody has a place, and for the next one at it") {
  DividedRoom divided;
  Worker stays(divided.room, 1);
  divided.dial(20);
  stays.host->until([&] { return connections(stays) == 20; });
  CHECK_EQUAL(divided.room.acceptor.counts(1).given, 20);
  Worker next(divided.room, 0);
  until_true([&] {
    divided.dial(4);
    static_cast<void>(next.host->run_for(5));
    static_cast<void>(stays.host->run_for(5));
    return connections(next) > 0;
  });
}

TEST("sockets of their own: one that is closed gives away who waits, and listens no more") {
  DividedRoom divided;
  Worker one(divided.room, 0);
  Worker two(divided.room, 1);
  divided.dial(20);
  divided.room.acceptor.close_listener(divided.room.listener);
  Descriptor late(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const Address& where = divided.room.where;
  CHECK_EQUAL(::connect(late.get(), where.data(), where.length), -1);
  CHECK_EQUAL(errno, ECONNREFUSED);
  until_true([&] {
    static_cast<void>(one.host->run_for(5));
    static_cast<void>(two.host->run_for(5));
    return connections(one) + connections(two) == 20;
  });
  // Neither waits in a loop for the socket that hangs up.
  const int64_t cpu = ::clock();
  static_cast<void>(one.host->run_for(200));
  CHECK(::clock() - cpu < CLOCKS_PER_SEC / 10);
}

TEST("sockets of their own: a port that somebody else has, even one who would share it") {
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, address), 0);
  engine::ListenOptions options;
  options.reuse_port = true;
  Descriptor foreign;
  CHECK_EQUAL(engine::open_listener(address, options, foreign), 0);
  CHECK_EQUAL(engine::local_address(foreign.get(), address), 0);
  Acceptor acceptor;
  CHECK_EQUAL(acceptor.open(), 0);
  CHECK_EQUAL(acceptor.listen(address, {}, 2), -EADDRINUSE);
}

namespace {

// A room whose connections are routed; it is asked here and not by a call.
struct RoutedRoom {
  explicit RoutedRoom(size_t prefix_max, int64_t wait_ms = 60'000)
      : room(engine::Routing{[this] { calls++; }, prefix_max, wait_ms}) {}

  engine::Unrouted::Question next() {
    engine::Unrouted::Question question;
    ssize_t length = -1;
    until_true([&] {
      length = room.acceptor.next_question(question, prefix, sizeof(prefix));
      return length >= 0;
    });
    text.assign(reinterpret_cast<const char*>(prefix), static_cast<size_t>(length));
    return question;
  }
  bool has_question() {
    engine::Unrouted::Question question;
    return room.acceptor.next_question(question, prefix, sizeof(prefix)) >= 0;
  }

  std::atomic<int> calls = 0;
  uint8_t prefix[64];
  std::string text;
  Room room;
};

}  // namespace

TEST("routing: what a client says first is seen, and left to the engine that it is routed to") {
  RoutedRoom routed(16);
  Worker one(routed.room, 1);
  Worker two(routed.room, 2);
  Descriptor client = routed.room.dial();
  auto question = routed.next();
  CHECK(routed.text == "");
  CHECK(!question.last);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
  CHECK(!routed.has_question());
  CHECK_EQUAL(routed.calls, 1);
  CHECK_EQUAL(::send(client.get(), "room", 4, MSG_NOSIGNAL), 4);
  question = routed.next();
  CHECK(routed.text == "room");
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
  CHECK_EQUAL(::send(client.get(), " 2, and more than fits", 22, MSG_NOSIGNAL), 22);
  question = routed.next();
  CHECK(routed.text == "room 2, and more");
  CHECK(question.last);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), -EINVAL);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, 2), 0);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, 2), -ENOENT);
  two.host->until([&] {
    return two.host->input.size() == 1 &&
           two.host->input.begin()->second == "room 2, and more than fits";
  });
  CHECK_EQUAL(connections(one), 0);
  CHECK(routed.calls <= 3);
}

TEST("routing: the end of the output and the end of the time are told") {
  RoutedRoom routed(16, 50);
  Worker one(routed.room, 1);
  Descriptor ends = routed.room.dial();
  CHECK_EQUAL(::shutdown(ends.get(), SHUT_WR), 0);
  auto question = routed.next();
  if (!question.last) {
    CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
    question = routed.next();
  }
  CHECK(question.last);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::refuse), 0);
  Descriptor silent = routed.room.dial();
  question = routed.next();
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
  question = routed.next();
  CHECK(question.last);
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::fewest), 0);
  one.host->until([&] { return connections(one) == 1; });
}

TEST("routing: a connection that is reset meanwhile is nobody's; an unknown place is none") {
  RoutedRoom routed(16);
  Worker one(routed.room, 1);
  {
    Descriptor gone = routed.room.dial();
    const auto question = routed.next();
    CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
    CHECK_EQUAL(engine::reset_on_close(gone.get()), 0);
  }
  Descriptor client = routed.room.dial();
  auto question = routed.next();
  CHECK_EQUAL(routed.room.acceptor.answer(question.id, -7), 0);
  char byte = 0;
  until_true(
      [&] { return ::recv(client.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET; });
  CHECK_EQUAL(routed.room.acceptor.unplaced(), 0);
}

TEST("routing: what an engine has not taken waits for the next one at its place") {
  RoutedRoom routed(0);
  auto dying = std::make_unique<Worker>(routed.room, 1);
  Worker other(routed.room, 2);
  std::vector<Descriptor> clients;
  for (int i = 0; i < 5; i++) {
    clients.push_back(routed.room.dial());
    const auto question = routed.next();
    CHECK(question.last);
    CHECK_EQUAL(routed.room.acceptor.answer(question.id, i == 4 ? 2 : 1), 0);
  }
  dying.reset();
  other.host->until([&] { return connections(other) == 1; });
  until_true([&] { return routed.room.acceptor.unplaced() == 4; });
  CHECK_EQUAL(connections(other), 1);
  Worker next(routed.room, 1);
  next.host->until([&] { return connections(next) == 4; });
}

TEST("routing: who says nothing does not keep others out, and what is not answered is bounded") {
  RoutedRoom routed(16);
  Worker one(routed.room, 1);
  constexpr size_t most = engine::Unrouted::most;
  std::vector<Descriptor> clients;
  for (size_t i = 0; i < most / 2; i++) {
    clients.push_back(routed.room.dial());
    const auto question = routed.next();
    CHECK(!question.last);
    CHECK_EQUAL(routed.room.acceptor.answer(question.id, Acceptor::more), 0);
  }
  clients.push_back(routed.room.dial());
  size_t lasts = 0;
  uint64_t oldest = 0;
  for (int i = 0; i < 2; i++) {
    const auto question = routed.next();
    if (!question.last) continue;
    lasts++;
    oldest = question.id;
  }
  CHECK_EQUAL(lasts, 1);
  CHECK_EQUAL(oldest, 1);
  routed.room.acceptor.close_listener(routed.room.listener);
  char byte = 0;
  for (Descriptor& client : clients) {
    until_true(
        [&] { return ::recv(client.get(), &byte, 1, MSG_DONTWAIT) < 0 && errno == ECONNRESET; });
  }
}

}  // namespace marketplace::test
