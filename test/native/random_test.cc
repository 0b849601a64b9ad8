// Random traffic under random commands: whatever the backend does behind the scenes to receive, to
// stop, and to go on, every byte is reported once and in order.
#include <sys/socket.h>

#include <cerrno>

#include "harness.h"

namespace marketplace::test {

namespace {

// One connection: what its client has to send, and what it has to receive.
struct Line {
  Descriptor client;
  uint32_t id = 0;
  std::string to_send;
  size_t sent = 0;
  std::string written;
  std::string received;
  bool paused = false;
};

void send_some(Line& line) {
  if (line.sent == line.to_send.size()) return;
  // Mostly small, but now and then much of it, so that a socket is read in every way.
  const uint32_t most = random_below(4) == 0 ? 200'000 : 300;
  const size_t length = std::min<size_t>(1 + random_below(most), line.to_send.size() - line.sent);
  const ssize_t n =
      ::send(line.client.get(), line.to_send.data() + line.sent, length, MSG_NOSIGNAL);
  CHECK(n > 0 || errno == EAGAIN);
  if (n > 0) line.sent += static_cast<size_t>(n);
}

void receive_some(Line& line) {
  char chunk[65536];
  const ssize_t n = ::recv(line.client.get(), chunk, sizeof(chunk), MSG_DONTWAIT);
  CHECK(n > 0 || (n < 0 && errno == EAGAIN));
  if (n > 0) line.received.append(chunk, static_cast<size_t>(n));
}

void command(Host& host, Line& line, uint32_t seed) {
  const uint32_t choice = random_below(10);
  if (choice < 2) {
    line.paused = choice == 0;
    host.engine.pause(line.id, line.paused);
  } else if (choice < 6) {
    const std::string data = pattern(1 + random_below(choice == 5 ? 50'000 : 100), seed);
    line.written += data;
    host.engine.write(line.id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
    // The bytes are the caller's again after this.
    if (random_below(2) == 0 || choice == 5)
      host.engine.flush();
    else
      host.write(line.id, "");
  }
}

}  // namespace

TEST("random traffic, pauses and shortages: every byte once and in order, in both directions") {
  for (uint32_t round = 0; round < 4; round++) {
    Host host({}, round % 2 == 0 ? 64 * 1024 : 8 * 1024);
    const uint32_t listener = host.listen();
    std::vector<Line> lines(12);
    for (uint32_t i = 0; i < lines.size(); i++) {
      lines[i].id = host.accept(listener, lines[i].client);
      lines[i].to_send = pattern(i % 3 == 0 ? 3'000'000 : 30'000, round * 100 + i);
      unblock(lines[i].client);
    }
    for (uint32_t turn = 0; turn < 600; turn++) {
      Line& line = lines[random_below(static_cast<uint32_t>(lines.size()))];
      for (Line& each : lines) {
        if (random_below(2) == 0) send_some(each);
        if (random_below(2) == 0) receive_some(each);
      }
      command(host, line, turn);
      if (random_below(3) > 0) host.step(0);
    }
    for (Line& line : lines) host.engine.pause(line.id, false);
    for (Line& line : lines) {
      host.until([&] {
        for (Line& each : lines) {
          send_some(each);
          receive_some(each);
        }
        return host.input[static_cast<int32_t>(line.id)].size() == line.to_send.size() &&
               line.received.size() == line.written.size();
      });
      CHECK(host.input[static_cast<int32_t>(line.id)] == line.to_send);
      CHECK(line.received == line.written);
    }
  }
}

TEST("random ends: connections are paused, closed, aborted and reset in the midst of traffic") {
  Host host({}, 16 * 1024);
  const uint32_t listener = host.listen();
  const std::string data = pattern(100'000, 9);
  int opened = 0;
  for (uint32_t round = 0; round < 150; round++) {
    Descriptor client;
    const uint32_t id = host.accept(listener, client);
    opened++;
    unblock(client);
    const size_t length = random_below(2) == 0 ? 10 : data.size();
    static_cast<void>(!::send(client.get(), data.data(), length, MSG_NOSIGNAL));
    if (random_below(3) == 0) host.engine.pause(id, true);
    host.engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), random_below(90'000) + 1);
    if (random_below(2) == 0) host.engine.flush();
    if (random_below(2) == 0) host.step(0);
    if (random_below(2) == 0) reset(client);
    const uint32_t how = random_below(3);
    if (how == 0)
      host.engine.close(id);
    else
      host.engine.abort(id);
    host.engine.flush();
    if (random_below(2) == 0) host.step(0);
  }
  host.until([&] { return host.count(Event::closed) == opened; });
  CHECK_EQUAL(host.engine.count(), 0);
}

TEST("the port of a closed listener is free at once") {
  Host host;
  for (int i = 0; i < 20; i++) {
    const uint32_t listener = host.listen();
    Address address;
    CHECK_EQUAL(host.engine.local(listener, address), 0);
    Descriptor client = dial(address.port());
    if (i % 2 == 0) host.step(0);
    host.engine.close_listener(listener);
    const int32_t again = host.engine.listen(address, {});
    CHECK(again > 0);
    host.engine.close_listener(static_cast<uint32_t>(again));
    host.run_for(1);
  }
}

TEST(
    "bytes and an end that are on their way when a connection is paused are kept, and come later") {
  Host host;
  const uint32_t listener = host.listen();
  for (const bool close : {false, true}) {
    Descriptor client = dial(host.port(listener));
    send_all(client, "early");
    CHECK_EQUAL(::shutdown(client.get(), SHUT_WR), 0);
    const uint32_t id = host.accept(listener, client);
    host.log.clear();
    // `accept` has asked for input, which may already have been received, but was not reported.
    host.engine.pause(id, true);
    host.engine.flush();
    host.run_for(20);
    CHECK_EQUAL(host.count(Event::data), 0);
    CHECK_EQUAL(host.count(Event::end), 0);
    if (close) {
      host.engine.close(id);
    } else {
      host.engine.pause(id, false);
      host.until([&] { return host.count(Event::end) == 1; });
      CHECK(host.input[static_cast<int32_t>(id)] == "early");
      host.engine.shutdown(id);
    }
    host.until([&] { return host.count(Event::closed) == 1; });
    CHECK_EQUAL(host.last(Event::closed)->a, 0);
    CHECK_EQUAL(host.count(Event::end), close ? 0 : 1);
  }
}

TEST("a connection that changes from big pieces to small ones and back") {
  Host host;
  Descriptor client;
  const uint32_t id = host.accept(host.listen(), client);
  std::string expected;
  for (uint32_t i = 0; i < 600; i++) {
    const bool big = i % 300 < 20;
    const std::string data = pattern(big ? 20'000 : 50, i);
    expected += data;
    send_all(client, data);
    host.until([&] { return host.input[static_cast<int32_t>(id)].size() == expected.size(); });
  }
  CHECK(host.input[static_cast<int32_t>(id)] == expected);
}

TEST("a turn with more connections than the backend submits at once") {
  Host host;
  const uint32_t listener = host.listen();
  std::vector<Line> lines(1300);
  for (Line& line : lines) host.accept(listener, line.client);
  for (const Line& line : lines) send_all(line.client, "question");
  host.until([&] { return host.count(Event::data) >= 1300; });
  for (const Record& record : host.log) {
    if (record.event != Event::accepted) continue;
    const std::string& text = host.input[record.id];
    host.engine.write(static_cast<uint32_t>(record.id),
                      reinterpret_cast<const uint8_t*>(text.data()), text.size());
  }
  host.engine.flush();
  for (const Line& line : lines) CHECK(read_some(line.client, 100) == "question");
  for (const Record& record : std::vector<Record>(host.log)) {
    if (record.event == Event::accepted) host.engine.abort(static_cast<uint32_t>(record.id));
  }
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1300; });
}

TEST("sends to many connections in one turn: partial ones, refused ones, and those that are gone") {
  Host host;
  const uint32_t listener = host.listen();
  std::vector<Line> lines(40);
  for (Line& line : lines) line.id = host.accept(listener, line.client);
  std::vector<std::string> data;
  for (uint32_t i = 0; i < lines.size(); i++)
    data.push_back(pattern(i % 8 == 0 ? 9'000'000 : 70, i));
  reset(lines[1].client);
  lines[2].client.reset();
  for (uint32_t i = 0; i < lines.size(); i++) {
    host.engine.report_writes(lines[i].id, true);
    // Many pieces, more than one send takes.
    const size_t part = data[i].size() < 100 ? 1 : data[i].size() / 100;
    for (size_t at = 0; at < data[i].size(); at += part) {
      const size_t length = std::min(part, data[i].size() - at);
      host.engine.write(lines[i].id, reinterpret_cast<const uint8_t*>(data[i].data() + at), length);
    }
  }
  host.engine.flush();
  for (uint32_t i = 3; i < lines.size(); i++) {
    host.engine.close(lines[i].id);
    host.engine.flush();
    int error = -1;
    CHECK(read_all(host, lines[i].client, error) == data[i]);
    CHECK_EQUAL(error, 0);
  }
}

}  // namespace marketplace::test
