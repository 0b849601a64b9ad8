// The engine's parts by themselves: ids, queue, slabs, addresses.
#include <cerrno>
#include <set>

#include "../../native/engine/hand_over.h"
#include "../../native/engine/output.h"
#include "../../native/engine/slab.h"
#include "../../native/engine/table.h"
#include "harness.h"

namespace marketplace::test {

namespace {

struct Thing {
  engine::Key key = 0;
  uint32_t id = 0;
};

}  // namespace

TEST("a table finds what it has and nothing else") {
  engine::Table<Thing> table;
  Thing* first = table.insert();
  const uint32_t id = first->id;
  CHECK(id != 0 && static_cast<int32_t>(id) > 0);
  CHECK(table.find(id) == first);
  CHECK(table.find(0) == nullptr);
  CHECK(table.find(engine::index_max) == nullptr);
  table.remove(*first);
  CHECK(table.find(id) == nullptr);
  Thing* second = table.insert();
  CHECK_EQUAL(engine::index_of(second->id), engine::index_of(id));
  CHECK(second->id != id);
  CHECK(table.find(id) == nullptr);
}

TEST("items stay where they are while the table grows") {
  engine::Table<Thing> table;
  std::vector<Thing*> things;
  std::set<uint32_t> ids;
  for (int i = 0; i < 1000; i++) things.push_back(table.insert());
  for (const Thing* thing : things) {
    CHECK(table.find(thing->id) == thing);
    ids.insert(thing->id);
  }
  CHECK_EQUAL(ids.size(), 1000);
  CHECK_EQUAL(table.count(), 1000);
}

TEST("records are handed over the oldest first, and none to nowhere") {
  std::vector<uint64_t> records;
  // As before the host has given its memory: the sanitizer minds what is done with null.
  CHECK_EQUAL(engine::hand_over(records, nullptr, 0), 0);
  CHECK_EQUAL(engine::hand_over(records, nullptr, 4), 0);
  records = {1, 2, 3, 4, 5};
  CHECK_EQUAL(engine::hand_over(records, nullptr, 0), 0);
  CHECK_EQUAL(records.size(), 5);
  uint64_t host[4] = {};
  CHECK_EQUAL(engine::hand_over(records, host, 4), 4);
  CHECK(host[0] == 1 && host[3] == 4);
  CHECK_EQUAL(records.size(), 1);
  CHECK_EQUAL(engine::hand_over(records, host, 4), 1);
  CHECK(host[0] == 5 && host[1] == 2);
  CHECK(records.empty());
}

TEST("generations go round without ever being 0") {
  engine::Table<Thing> table;
  uint32_t last = 0;
  for (uint32_t i = 0; i < engine::generation_max + 10; i++) {
    Thing* thing = table.insert();
    CHECK(thing->id != last && thing->id >> engine::index_bits != 0);
    last = thing->id;
    table.remove(*thing);
  }
}

TEST("the output queue keeps bytes in order under random use") {
  engine::OutputQueue queue;
  std::string model;
  uint32_t seed = 0;
  for (int round = 0; round < 3000; round++) {
    if (random_below(2) == 0) {
      const uint32_t most = random_below(20) == 0 ? 600'000 : 5'000;
      const std::string data = pattern(1 + random_below(most), seed++);
      CHECK(queue.append(reinterpret_cast<const uint8_t*>(data.data()), data.size()));
      model += data;
    } else if (!model.empty()) {
      iovec pieces[8];
      const int count = queue.gather(pieces, 8);
      std::string seen;
      for (int i = 0; i < count; i++) {
        seen.append(static_cast<const char*>(pieces[i].iov_base), pieces[i].iov_len);
      }
      CHECK(!seen.empty() && model.compare(0, seen.size(), seen) == 0);
      const size_t taken = 1 + random_below(static_cast<uint32_t>(seen.size()));
      queue.consume(taken);
      model.erase(0, taken);
    }
    CHECK_EQUAL(queue.size(), model.size());
  }
}

TEST("slabs are filled from the start, aligned, and retired when little is left") {
  engine::SlabPool pool;
  std::vector<uint8_t> memory(4096);
  pool.add(7, memory.data(), 4096);
  CHECK_EQUAL(pool.lease(100'000).size, 4096);
  pool.commit(13);
  const engine::Memory second = pool.lease(512);
  CHECK_EQUAL(second.offset, 16);
  CHECK(second.base == memory.data() + 16);
  pool.commit(3500);
  CHECK_EQUAL(pool.lease(100).size, 576);
  CHECK_EQUAL(pool.lease(1000).size, 0);
  CHECK_EQUAL(pool.retire(), 7);
  CHECK(pool.empty());
}

TEST("slabs that are put aside are filled again after a rewind, poisoned if that is wanted") {
  engine::SlabPool pool;
  std::vector<uint8_t> memory(2048, 1);
  pool.add(1, memory.data(), 1024);
  pool.add(2, memory.data() + 1024, 1024);
  pool.commit(1000);
  pool.put_aside();
  pool.commit(8);
  pool.put_aside();
  CHECK(pool.empty());
  pool.rewind(true);
  CHECK_EQUAL(pool.lease(1024).size, 1024);
  CHECK_EQUAL(memory[999], 0xdb);
  CHECK_EQUAL(memory[1000], 1);
  CHECK_EQUAL(memory[1031], 0xdb);
  uint32_t lost = 0;
  CHECK(pool.retire_lost([](uint32_t id) { return id == 1; }, lost));
  CHECK_EQUAL(lost, 1);
  CHECK(!pool.retire_lost([](uint32_t id) { return id == 1; }, lost));
  CHECK_EQUAL(pool.retire(), 2);
}

TEST("a slab whose bytes nobody has seen is not asked about") {
  engine::SlabPool pool;
  std::vector<uint8_t> memory(1024);
  uint32_t lost = 0;
  pool.add(1, memory.data(), 1024);
  CHECK(!pool.retire_lost([](uint32_t) { return true; }, lost));
  pool.commit(8);
  CHECK(pool.retire_lost([](uint32_t) { return true; }, lost));
  CHECK(pool.empty());
}

TEST("a slab that is filled to its last byte is not offered again") {
  engine::SlabPool pool;
  std::vector<uint8_t> memory(1001);
  pool.add(1, memory.data(), 1001);
  pool.commit(1001);
  CHECK_EQUAL(pool.lease(1).size, 0);
}

TEST("addresses are parsed and unpacked") {
  Address address;
  int32_t words[4];
  CHECK_EQUAL(Address::parse("127.0.0.1", 80, address), 0);
  address.words(words);
  CHECK_EQUAL(words[0], 0x7f000001);
  CHECK_EQUAL(address.port_and_family(), 80 | 4 << 16);
  CHECK_EQUAL(Address::parse("2001:db8::5", 65535, address), 0);
  address.words(words);
  CHECK_EQUAL(words[0], 0x20010db8);
  CHECK_EQUAL(words[3], 5);
  CHECK_EQUAL(address.port_and_family(), 65535 | 6 << 16);
  CHECK_EQUAL(Address::parse("::1%lo", 1, address), 0);
  CHECK(address.storage.v6.sin6_scope_id != 0);
  CHECK_EQUAL(Address::parse("::1%no-such-interface", 1, address), -ENODEV);
  for (const char* wrong : {"", "localhost", "1.2.3", "1.2.3.4.5", ":::", "fe80::1%%%", "%lo"}) {
    CHECK(Address::parse(wrong, 1, address) < 0);
  }
  CHECK_EQUAL(Address::parse(std::string(5000, '1').c_str(), 1, address), -EINVAL);
}

}  // namespace marketplace::test
