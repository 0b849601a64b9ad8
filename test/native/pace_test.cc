// Nothing runs ahead: what the kernel does for the engine stays within bounds, and what it refuses
// for a while is done later.
#include <sys/socket.h>

#include <cerrno>

#include "../../native/engine/socket.h"
#include "../../native/engine/uring.h"
#include "harness.h"

namespace marketplace::test {

namespace {

// What io_uring_enter is made to say, and what it was given.
int refusals = 0;
uint64_t requests = 0;
bool refuse_always = false;

int refusal() {
  constexpr int errors[] = {EAGAIN, EBUSY, EINTR};
  return errors[random_below(3)];
}

long enter_as_told(int ring, uint32_t count, uint32_t flags,
                   const engine::uring::WaitArgument* wait) {
  if (refuse_always || refusals > 0) {
    if (refusals > 0) refusals--;
    errno = refusal();
    return -1;
  }
  // Now and then it takes only some.
  if (count > 1 && random_below(4) == 0) count = 1 + random_below(count - 1);
  const long taken = engine::uring::enter_call(ring, count, flags, wait);
  if (taken > 0) requests += static_cast<uint64_t>(taken);
  return taken;
}

std::unique_ptr<engine::Backend> told_ring(engine::UringFeatures features = {}) {
  refusals = 0;
  requests = 0;
  refuse_always = false;
  return std::make_unique<engine::UringBackend>(features, engine::UringSizes{}, enter_as_told);
}

}  // namespace

TEST("a storm of connections: no descriptor is taken that is not reported") {
  Host host;
  engine::ListenOptions options;
  options.backlog = 1000;
  const uint32_t listener = host.listen("127.0.0.1", options);
  host.engine.flush();
  std::vector<Descriptor> clients(300);
  for (Descriptor& client : clients) client = dial(host.port(listener));
  const int before = open_descriptors();
  while (host.count(Event::accepted) < 300) {
    const int accepted = host.count(Event::accepted);
    host.step();
    // A turn's worth, however many wait.
    CHECK(host.count(Event::accepted) - accepted <= 64);
    CHECK_EQUAL(open_descriptors() - before, host.engine.count());
  }
}

TEST("a storm of connections that are reset at once: their ends keep up") {
  Host host;
  const uint32_t listener = host.listen();
  int at_once = 0;
  constexpr int all = 2000;
  std::vector<Descriptor> some;
  int opened = 0;
  host.until([&] {
    for (int i = 0; i < 50 && opened < all; i++, opened++) {
      some.push_back(dial(host.port(listener)));
      reset(some.back());
    }
    some.clear();
    at_once = std::max(at_once, static_cast<int>(host.engine.count()));
    return host.count(Event::closed) == all;
  });
  CHECK(at_once <= 256);
}

TEST("many connections that have waited with data: the work grows with their number only") {
  if (!backend_is("io_uring") && !backend_is("io_uring, whole buffers")) return;
  engine::UringFeatures features;
  features.incremental_buffers = backend_is("io_uring");
  constexpr uint32_t count = 1000;
  Host host(told_ring(features), {}, 64 * 1024);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(count);
  for (Descriptor& client : clients) host.accept(listener, client);
  const std::string data = pattern(1500, 1);
  for (const Descriptor& client : clients) send_all(client, data);
  requests = 0;
  host.until([&] {
    size_t got = 0;
    for (const auto& [id, input] : host.input) got += input.size();
    return got == count * data.size();
  });
  CHECK(requests < 8 * count);
}

TEST("io_uring_enter that says EAGAIN, EBUSY or EINTR, however often, loses and breaks nothing") {
  if (!backend_is("io_uring")) return;
  Host host(told_ring(), {}, 64 * 1024);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(20);
  std::vector<uint32_t> ids;
  for (Descriptor& client : clients) ids.push_back(host.accept(listener, client));
  std::string expected;
  for (uint32_t round = 0; round < 60; round++) {
    const std::string message = pattern(1 + random_below(3000), round);
    expected += message;
    refusals = static_cast<int>(random_below(200));
    for (const Descriptor& client : clients) send_all(client, message);
    host.until([&] {
      for (const uint32_t id : ids) {
        if (host.input[static_cast<int32_t>(id)].size() < expected.size()) return false;
      }
      return true;
    });
    for (const uint32_t id : ids) {
      CHECK(host.input[static_cast<int32_t>(id)] == expected);
      host.engine.write(id, reinterpret_cast<const uint8_t*>(message.data()), message.size());
      if (random_below(8) == 0) host.engine.pause(id, true);
    }
    refusals = static_cast<int>(random_below(200));
    std::string copy = message;
    host.engine.flush();
    for (const uint32_t id : ids) host.engine.pause(id, false);
    host.engine.flush();
    for (const Descriptor& client : clients) {
      std::string answer;
      while (answer.size() < copy.size()) answer += read_some(client, copy.size() - answer.size());
      CHECK(answer == copy);
    }
  }
  CHECK_EQUAL(host.count(Event::closed), 0);
  // Ends, too, are only put off; and what is sent at the end does not need the ring.
  refuse_always = true;
  const std::string last = "last";
  for (const uint32_t id : ids) {
    host.engine.write(id, reinterpret_cast<const uint8_t*>(last.data()), last.size());
    host.engine.close(id);
  }
  host.engine.flush();
  for (const Descriptor& client : clients) CHECK(read_some(client, 100) == "last");
  for (int i = 0; i < 50; i++) host.step(0);
  refuse_always = false;
  for (const Descriptor& client : clients) CHECK(read_some(client, 100).empty());
  host.until([&] { return host.count(Event::closed) == 20; });
}

TEST("slabs whose bytes are looked at for long are replaced, and never filled again") {
  engine::Options options;
  options.reuses_slabs = true;
  options.poisons_slabs = true;
  Host host(options, 8 * 1024);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  const std::string data = pattern(1'000'000, 3);
  size_t sent = 0;
  unblock(client);
  // The host never says that it is done. The harness frees what is retired, so that a late write
  // would be seen.
  host.on_record = [&](const Record& record) {
    if (record.event == Event::slabs_short) host.engine.replace_slabs();
  };
  host.until([&] {
    const ssize_t n = ::send(client.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    if (n > 0) sent += static_cast<size_t>(n);
    return host.input[static_cast<int32_t>(id)].size() == data.size();
  });
  CHECK(host.input[static_cast<int32_t>(id)] == data);
  CHECK(host.count(Event::slab_retired) > 100);
}

}  // namespace marketplace::test
