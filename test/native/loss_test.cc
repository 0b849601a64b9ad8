// Ends that are no ends: whatever keeps bytes from being sent or received, the peer hears of a
// reset, the host of an error, and the descriptor is gone.
#include <sys/socket.h>

#include <cerrno>

#include "../../native/engine/socket.h"
#include "faulty.h"

namespace marketplace::test {

using engine::Call;

namespace {

void write(Host& host, uint32_t id, const std::string& data) {
  host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
}

// What a test does to a connection that has taken part of `data`, and what comes of it.
struct Fault {
  int error;
  Call call;
  std::function<void(Faulty&, Host&, uint32_t, Descriptor&)> bring_about;
};

void check_fault(const Fault& fault) {
  auto backend = std::make_unique<Faulty>();
  Faulty& faulty = *backend;
  Host host(std::move(backend), {}, 64 * 1024);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.run_for(5);
  const std::string data = pattern(16 * 1024 * 1024, 1);
  write(host, id, data);
  host.engine.flush();
  fault.bring_about(faulty, host, id, client);
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.last(Event::closed)->a, fault.error);
  CHECK_EQUAL(host.last(Event::closed)->b, fault.call);
  int error = 0;
  CHECK(read_all(host, client, error).size() < data.size());
  CHECK_EQUAL(error, ECONNRESET);
  CHECK_EQUAL(host.engine.count(), 0);
}

}  // namespace

TEST("a send that fails for lack of memory: a reset, not an end that the peer may believe") {
  for (const int error : {-ENOMEM, -ENOSPC, -EIO}) {
    check_fault({error, Call::write, [=](Faulty& faulty, Host& host, uint32_t, Descriptor& client) {
                   faulty.send_error = [=] { return error; };
                   // Makes room for another send.
                   host.until([&] {
                     read_some(client, 256 * 1024);
                     return host.count(Event::closed) == 1;
                   });
                 }});
  }
}

TEST("a receive that fails for lack of memory: a reset") {
  for (const int error : {-ENOMEM, -ENOBUFS, -ENOSPC}) {
    check_fault({error, Call::read, [=](Faulty& faulty, Host&, uint32_t, Descriptor& client) {
                   faulty.receive_error = [=] { return error; };
                   CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
                 }});
  }
}

TEST("a connection that can't be watched: a reset") {
  for (const int error : {-ENOMEM, -ENOSPC}) {
    check_fault({error, Call::poll, [=](Faulty& faulty, Host& host, uint32_t id, Descriptor&) {
                   faulty.watch_error = [=] { return error; };
                   host.engine.pause(id, true);
                 }});
  }
}

TEST("a connection that can't be watched from the first: its id, then its end") {
  auto backend = std::make_unique<Faulty>();
  Faulty& faulty = *backend;
  Host host(std::move(backend), {}, 64 * 1024);
  const uint32_t listener = host.listen();
  Address address;
  CHECK_EQUAL(Address::parse("127.0.0.1", host.port(listener), address), 0);
  faulty.watch_error = [] { return -ENOSPC; };
  const int32_t id = host.connect(address);
  faulty.watch_error = [] { return 0; };
  CHECK(id > 0);
  host.until([&] { return host.count(Event::closed, id) == 1; });
  CHECK_EQUAL(host.last(Event::closed, id)->a, -ENOSPC);
  CHECK_EQUAL(host.last(Event::closed, id)->b, Call::poll);
}

TEST("an engine that ends with output left resets") {
  Descriptor client;
  Descriptor content;
  const std::string data = pattern(16 * 1024 * 1024, 1);
  {
    Host host;
    const uint32_t listener = host.listen();
    const uint32_t id = host.accept(listener, client);
    host.write(id, data);
    const uint32_t other = host.accept(listener, content);
    host.write(other, "all");
  }
  unblock(client);
  std::string chunk(64 * 1024, '\0');
  ssize_t n = 0;
  while ((n = ::recv(client.get(), chunk.data(), chunk.size(), 0)) > 0) {
  }
  CHECK(n < 0 && errno == ECONNRESET);
  CHECK(read_some(content, 100) == "all");
  CHECK(read_some(content, 100).empty());
}

TEST("reset while its output is full: closed, whatever there was to read before") {
  for (const size_t unread : {size_t{0}, size_t{10}, size_t{300'000}}) {
    for (const bool total : {false, true}) {
      engine::Options options;
      options.overflow_pauses = true;
      (total ? options.queued_total_max : options.queued_max) = 64 * 1024;
      Host host(options);
      const uint32_t listener = host.listen();
      Descriptor client;
      Descriptor lazy;
      const uint32_t id = host.accept(listener, client);
      // Of the total, most is another's, who doesn't read and stays.
      const std::string data = pattern(8 * 1024 * 1024, 1);
      host.write(total ? host.accept(listener, lazy) : id, data);
      if (total) host.write(id, data);
      const std::string before = pattern(unread, 2);
      unblock(client);
      size_t sent = 0;
      while (sent < unread) {
        const ssize_t n = ::send(client.get(), before.data() + sent, unread - sent, MSG_NOSIGNAL);
        if (n > 0)
          sent += static_cast<size_t>(n);
        else
          host.step(1);
      }
      host.run_for(5);
      reset(client);
      host.until([&] { return host.count(Event::closed, static_cast<int32_t>(id)) == 1; });
      CHECK(host.last(Event::closed)->a < 0);
      // A reset takes away what its receiver has not read; but there are no holes.
      const std::string& got = host.input[static_cast<int32_t>(id)];
      CHECK(before.compare(0, got.size(), got) == 0);
      CHECK_EQUAL(host.engine.count(), total ? 1 : 0);
    }
  }
}

TEST("reset while there is no memory to receive into: closed, once there is") {
  Host host({}, 4096);
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  host.lend = false;
  send_all(client, pattern(30'000, 1));
  host.run_for(30);
  reset(client);
  host.run_for(30);
  host.lend = true;
  for (int i = 0; i < 10; i++) host.add_slab();
  host.until([&] { return host.count(Event::closed, static_cast<int32_t>(id)) == 1; });
}

}  // namespace marketplace::test
