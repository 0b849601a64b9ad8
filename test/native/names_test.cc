// Ids and keys: an index is used by thousands, one after the other, and what was kept of one of
// them never touches another.
#include <sys/socket.h>

#include <cerrno>
#include <set>

#include "../../native/engine/socket.h"
#include "../../native/engine/table.h"
#include "faulty.h"
#include "harness.h"

namespace marketplace::test {

using engine::generation_max;
using engine::index_of;

namespace {

struct Thing {
  engine::Key key = 0;
  uint32_t id = 0;
};

// Reads what there is, after which the indices of what has ended are free.
void read_all(Host& host) {
  for (int i = 0; i < 2; i++) {
    host.engine.flush();
    CHECK_EQUAL(host.engine.turn(), 0);
    host.engine.records().clear();
  }
}

// Uses the index that is free next over and over, until the next id on it is `wanted` again.
void wrap(Host& host, const Address& address, uint32_t wanted) {
  for (;;) {
    const int32_t id = host.connect(address);
    CHECK(id > 0);
    const uint32_t generation = static_cast<uint32_t>(id) >> engine::index_bits;
    const bool last = generation % generation_max + 1 == wanted >> engine::index_bits;
    CHECK_EQUAL(index_of(static_cast<uint32_t>(id)), index_of(wanted));
    host.engine.abort(static_cast<uint32_t>(id));
    read_all(host);
    if (last) return;
  }
}

// A listener that is none of the engine's, and that only has to be there.
Descriptor plain_listener(Address& address) {
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, address), 0);
  Descriptor socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQUAL(::bind(socket.get(), address.data(), address.length), 0);
  CHECK_EQUAL(::listen(socket.get(), 4096), 0);
  CHECK_EQUAL(engine::local_address(socket.get(), address), 0);
  return socket;
}

}  // namespace

TEST("keys never come back: an index whose keys are used up is given up") {
  engine::Table<Thing, 3> table;
  std::set<engine::Key> keys;
  const uint32_t first = index_of(table.insert()->id);
  for (int use = 0; use < 10; use++) {
    Thing* thing = use == 0 ? table.find(first | 1u << engine::index_bits) : table.insert();
    CHECK(thing != nullptr);
    CHECK(keys.insert(thing->key).second);
    CHECK(table.find_key(thing->key) == thing);
    CHECK_EQUAL(index_of(thing->id), first + static_cast<uint32_t>(use) / 3);
    const engine::Key key = thing->key;
    table.remove(*thing);
    CHECK(table.find_key(key) == nullptr);
  }
}

TEST("an index waits until all was read that was reported before its item ended") {
  engine::Table<Thing> table;
  Thing* one = table.insert();
  const uint32_t index = index_of(one->id);
  table.retire(*one, 7);
  table.recycle(6);
  Thing* other = table.insert();
  CHECK(index_of(other->id) != index);
  table.recycle(7);
  CHECK_EQUAL(index_of(table.insert()->id), index);
}

TEST("the time limit of a close ends nobody who has the same id later") {
  engine::Options options;
  options.close_timeout_ms = 2500;
  Host host(options);
  Address address;
  Descriptor plain = plain_listener(address);
  const int32_t first = host.connect(address);
  CHECK(first > 0);
  Descriptor peer(::accept(plain.get(), nullptr, nullptr));
  host.until([&] { return host.count(Event::connected, first) == 1; });
  const int64_t start_ms = engine::monotonic_ms();
  const std::string data = pattern(16 * 1024 * 1024, 1);
  host.engine.write(static_cast<uint32_t>(first), reinterpret_cast<const uint8_t*>(data.data()),
                    data.size());
  host.engine.close(static_cast<uint32_t>(first));
  host.engine.flush();
  reset(peer);
  host.until([&] { return host.count(Event::closed, first) == 1; });
  read_all(host);
  wrap(host, address, static_cast<uint32_t>(first));
  const int32_t healthy = host.connect(address);
  CHECK_EQUAL(healthy, first);
  host.log.clear();
  const int64_t left_ms = start_ms + options.close_timeout_ms + 100 - engine::monotonic_ms();
  host.run_for(static_cast<int>(std::max<int64_t>(left_ms, 20)));
  CHECK_EQUAL(host.count(Event::closed, healthy), 0);
}

TEST(
    "what was on its way for a connection comes to nobody who has its id later, and does nothing") {
  // Remembers the key of a connection, and asks for it at the end, as a late completion would.
  class Late final : public Faulty {
   public:
    engine::Key key = 0;
    bool found = false;
    void want(engine::Socket& socket, uint8_t wanted) override {
      if (socket.kind == engine::Kind::connection && key == 0) key = socket.key;
      Faulty::want(socket, wanted);
    }
    int turn(engine::BackendSink& sink) override {
      found = sink.find(key) != nullptr;
      return Faulty::turn(sink);
    }
  };
  auto backend = std::make_unique<Late>();
  Late& late = *backend;
  Host host(std::move(backend), {}, 64 * 1024);
  Address address;
  Descriptor plain = plain_listener(address);
  const int32_t first = host.connect(address);
  const uint32_t id = static_cast<uint32_t>(first);
  CHECK(first > 0);
  Descriptor peer(::accept(plain.get(), nullptr, nullptr));
  host.until([&] { return host.count(Event::connected, first) == 1; });
  CHECK(late.found);
  // It is ended in the turn in which this arrives, with what it has to send and to close.
  send_all(peer, "for the first");
  host.engine.write(id, reinterpret_cast<const uint8_t*>("of the first"), 12);
  host.engine.abort(id);
  // Its id is still its own, as its end was not read.
  host.engine.write(id, reinterpret_cast<const uint8_t*>("too late"), 8);
  host.engine.shutdown(id);
  host.engine.close(id);
  read_all(host);
  CHECK(!late.found);
  wrap(host, address, id);
  const int32_t second = host.connect(address);
  CHECK_EQUAL(second, first);
  host.log.clear();
  host.until([&] { return host.count(Event::connected, second) == 1; });
  CHECK(!late.found);
  // Whoever connected in between is in the listener's queue, too.
  Address own;
  CHECK_EQUAL(host.engine.local(id, own), 0);
  Descriptor stranger;
  for (;;) {
    Address from;
    from.length = sizeof(from.storage);
    stranger.reset(::accept(plain.get(), from.data(), &from.length));
    CHECK(stranger.valid());
    if (from.port() == own.port()) break;
  }
  send_all(stranger, "for the second");
  host.until([&] { return host.input[second].size() >= 14; });
  CHECK(host.input[second] == "for the second");
  host.write(id, "of the second");
  CHECK(read_some(stranger, 100) == "of the second");
  CHECK_EQUAL(host.count(Event::closed, second) + host.count(Event::end, second), 0);
}

TEST("a listener has nothing to do with the connections of one that had its id") {
  Host host;
  const uint32_t first = host.listen();
  Descriptor client;
  const uint32_t old = host.accept(first, client);
  host.engine.close_listener(first);
  engine::ListenOptions options;
  options.limits.most = 2;
  uint32_t second = 0;
  for (uint32_t i = 0; i < generation_max; i++) {
    if (second != 0) host.engine.close_listener(second);
    read_all(host);
    second = host.listen("127.0.0.1", options);
    CHECK_EQUAL(index_of(second), index_of(first));
  }
  CHECK_EQUAL(second, first);
  host.engine.abort(old);
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(old)) == 1; });
  Descriptor next;
  host.accept(second, next);
  CHECK_EQUAL(host.count(Event::dropped), 0);
}

TEST("sockets that come and go in one turn: nobody's id is given away before its end was read") {
  Host host;
  std::set<uint32_t> ids;
  for (uint32_t i = 0; i < 2 * generation_max; i++) {
    const uint32_t id = host.listen();
    CHECK(ids.insert(id).second);
    host.engine.close_listener(id);
  }
  read_all(host);
  engine::Engine& udp = host.engine;
  Address any;
  CHECK_EQUAL(Address::parse("127.0.0.1", 0, any), 0);
  ids.clear();
  for (uint32_t i = 0; i < 2 * generation_max; i++) {
    const int32_t id = udp.bind(any, {});
    CHECK(id > 0);
    CHECK(ids.insert(static_cast<uint32_t>(id)).second);
    udp.close(static_cast<uint32_t>(id));
    udp.flush();
  }
  CHECK_EQUAL(udp.count<engine::UdpSocket>(), 0);
  CHECK_EQUAL(udp.records().size(), 2 * generation_max);
  // Once they are read, indices are used again.
  udp.records().clear();
  CHECK_EQUAL(udp.turn(), 0);
  const int32_t id = udp.bind(any, {});
  CHECK(index_of(static_cast<uint32_t>(id)) < 2 * generation_max);
}

}  // namespace marketplace::test
