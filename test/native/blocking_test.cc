// A descriptor's mode belongs to all who share it: a child with a connection as its standard input
// or output makes it a blocking one. That must not hold up the engine.
#include <fcntl.h>
#include <unistd.h>

#include "harness.h"

namespace marketplace::test {

namespace {

// The connection's own end, as a child would leave it.
void make_blocking(const Descriptor& client) {
  const int socket = engine_side(client);
  const int flags = fcntl(socket, F_GETFL);
  CHECK((flags & O_NONBLOCK) != 0);
  CHECK_EQUAL(fcntl(socket, F_SETFL, flags & ~O_NONBLOCK), 0);
}

// If it is held up after all, the process ends by a signal.
struct Watch {
  Watch() { alarm(30); }
  ~Watch() { alarm(0); }
};

}  // namespace

TEST("a connection that others made blocking: what is received in full buffers, and the end") {
  const Watch watch;
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  make_blocking(client);
  std::string& input = host.input[static_cast<int32_t>(id)];
  std::string sent;
  for (const size_t length : {size_t{1}, size_t{64 * 1024}, size_t{128 * 1024}, size_t{100}}) {
    const std::string data = pattern(length, 1);
    send_all(client, data);
    sent += data;
    host.until([&] { return input.size() == sent.size(); });
  }
  CHECK(input == sent);
  client.reset();
  host.until([&] { return host.count(Event::end) == 1; });
}

TEST("a connection that others made blocking: a peer that doesn't read, and one that then does") {
  const Watch watch;
  Host host;
  const uint32_t listener = host.listen();
  Descriptor lazy;
  Descriptor other;
  const uint32_t id = host.accept(listener, lazy);
  const uint32_t busy = host.accept(listener, other);
  make_blocking(lazy);
  const std::string data = pattern(16 * 1024 * 1024, 1);
  // In one piece, and in several.
  host.write(id, data);
  host.write(id, data.substr(0, 100'000));
  host.write(id, data.substr(0, 100'000));
  host.write(busy, "still there");
  CHECK(read_some(other, 100) == "still there");
  host.engine.shutdown(id);
  int error = 0;
  const std::string got = read_all(host, lazy, error);
  CHECK_EQUAL(error, 0);
  CHECK(got == data + data.substr(0, 100'000) + data.substr(0, 100'000));
}

}  // namespace marketplace::test
