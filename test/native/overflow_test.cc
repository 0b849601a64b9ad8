// A ring that is far too small: completions that it has no room for are neither lost nor misread.
#include "../../native/engine/uring.h"
#include "harness.h"

namespace marketplace::test {

namespace {

std::unique_ptr<engine::Backend> small_ring(engine::UringFeatures features) {
  return std::make_unique<engine::UringBackend>(features, engine::UringSizes{4, 8});
}

// Hears from and answers all of its connections, many more than its completion queue has room for.
void overflow(engine::UringFeatures features) {
  constexpr uint32_t count = 100;
  Host host(small_ring(features), {}, 64 * 1024);
  const uint32_t listener = host.listen();
  std::vector<Descriptor> clients(count);
  std::vector<uint32_t> ids;
  // A storm first: accepting overflows as well.
  for (Descriptor& client : clients) client = dial(host.port(listener));
  host.until([&] { return host.count(Event::accepted) == static_cast<int>(count); });
  for (const Record& record : host.log) {
    if (record.event == Event::accepted) ids.push_back(static_cast<uint32_t>(record.id));
  }
  for (int round = 0; round < 5; round++) {
    const std::string message = pattern(300, static_cast<uint32_t>(round) + 1);
    for (const Descriptor& client : clients) send_all(client, message);
    host.until([&] {
      for (const uint32_t id : ids) {
        const size_t wanted = message.size() * static_cast<size_t>(round + 1);
        if (host.input[static_cast<int32_t>(id)].size() < wanted) return false;
      }
      return true;
    });
    // All answers in one flush.
    for (const uint32_t id : ids) {
      const uint8_t* data = reinterpret_cast<const uint8_t*>(message.data());
      host.engine.write(id, data, message.size());
    }
    host.engine.flush();
    for (const Descriptor& client : clients) {
      std::string answer;
      while (answer.size() < message.size()) {
        answer += read_some(client, message.size() - answer.size());
      }
      CHECK(answer == message);
    }
  }
  CHECK_EQUAL(host.count(Event::closed), 0);
  clients.clear();
  host.until([&] { return host.count(Event::end) == static_cast<int>(count); });
  for (const uint32_t id : ids) host.engine.close(id);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == static_cast<int>(count); });
  CHECK_EQUAL(host.engine.count(), 0);
}

}  // namespace

TEST("a completion queue that overflows") {
  // Once is enough: it makes its own backend.
  if (!backend_is("io_uring")) return;
  engine::UringFeatures features;
  overflow(features);
  features.incremental_buffers = false;
  overflow(features);
}

}  // namespace marketplace::test
