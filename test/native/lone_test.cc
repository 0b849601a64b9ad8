// One connection that does all the talking: it is read from without asking which one is ready, and
// must neither make the others wait nor be mistaken for one that goes on.
#include <sys/socket.h>

#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

// So many turns in which this connection alone has something to say.
void talk_alone(Host& host, uint32_t id, const Descriptor& client, size_t turns) {
  std::string& input = host.input[static_cast<int32_t>(id)];
  for (size_t i = 0; i < turns; i++) {
    const size_t before = input.size();
    send_all(client, "a");
    host.until([&] { return input.size() > before; });
  }
}

}  // namespace

TEST("one that talks alone is heard, and the next one within a few turns") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor first;
  Descriptor second;
  const uint32_t a = host.accept(listener, first);
  const uint32_t b = host.accept(listener, second);
  for (size_t turns = 0; turns < 12; turns++) {
    host.input.clear();
    talk_alone(host, a, first, turns);
    send_all(second, "b");
    size_t sent = turns;
    int waited = 0;
    for (; host.input[static_cast<int32_t>(b)].empty(); waited++) {
      send_all(first, "a");
      sent++;
      host.step();
    }
    CHECK(waited <= 10);
    host.until([&] { return host.input[static_cast<int32_t>(a)].size() == sent; });
  }
}

TEST("the end of one that talked alone is seen at once") {
  Host host;
  const uint32_t listener = host.listen();
  for (size_t turns = 0; turns < 12; turns++) {
    Descriptor client;
    const uint32_t id = host.accept(listener, client);
    const int32_t key = static_cast<int32_t>(id);
    talk_alone(host, id, client, turns);
    send_all(client, "z");
    if (turns % 2 == 0) {
      CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
      host.until([&] { return host.count(Event::end, key) == 1; });
      host.engine.close(id);
      host.engine.flush();
    } else {
      host.until([&] { return host.input[key].size() == turns + 1; });
      reset(client);
    }
    host.until([&] { return host.count(Event::closed, key) == 1; });
    CHECK_EQUAL(host.last(Event::closed, key)->a, turns % 2 == 0 ? 0 : -ECONNRESET);
    CHECK_EQUAL(host.input[key].size(), turns + 1);
    host.input.erase(key);
  }
}

TEST("one that talks alone can be paused and closed") {
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  const int32_t key = static_cast<int32_t>(id);
  talk_alone(host, id, client, 5);
  host.engine.pause(id, true);
  host.engine.flush();
  send_all(client, "b");
  host.run_for(20);
  CHECK_EQUAL(host.input[key].size(), 5);
  host.engine.pause(id, false);
  host.engine.flush();
  host.until([&] { return host.input[key].size() == 6; });
  talk_alone(host, id, client, 5);
  host.engine.close(id);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed, key) == 1; });
  CHECK(read_some(client, 1).empty());
}

}  // namespace marketplace::test
