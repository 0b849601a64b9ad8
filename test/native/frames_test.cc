// Frames in what is received: the search by itself, and what the engine reports of it.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "../../native/engine/framer.h"
#include "../../native/engine/socket.h"
#include "harness.h"

namespace marketplace::test {

namespace {

using engine::FrameKind;
using engine::FrameOrder;
using engine::Framer;
using Outcome = engine::Framer::Outcome;

const uint8_t* bytes_of(const std::string& text) {
  return reinterpret_cast<const uint8_t*>(text.data());
}

FrameOrder order_of(FrameKind kind, uint32_t size = 0, uint32_t longest = 1000) {
  FrameOrder order;
  order.generation = 7;
  order.kind = kind;
  order.size = size;
  order.longest = longest;
  if (kind == FrameKind::length) order.adjust = static_cast<int32_t>(size);
  return order;
}

FrameOrder delimited(const std::string& delimiter, uint32_t longest = 1000) {
  FrameOrder order =
      order_of(FrameKind::delimiter, static_cast<uint32_t>(delimiter.size()), longest);
  order.delimiter = bytes_of(delimiter);
  return order;
}

// Where frames end in a stream that comes in pieces of `step` bytes; -1 at last if something was
// unusual.
std::vector<int> ends(const FrameOrder& order, const std::string& stream, size_t step) {
  Framer framer(order);
  std::vector<int> result;
  for (size_t at = 0; at < stream.size(); at += step) {
    // A copy of its own, so that the sanitizer sees what is out of bounds.
    const std::vector<uint8_t> piece(bytes_of(stream) + at,
                                     bytes_of(stream) + std::min(stream.size(), at + step));
    for (size_t from = 0; from < piece.size();) {
      const auto [outcome, length] = framer.scan(piece.data() + from, piece.size() - from);
      if (outcome == Outcome::unusual) {
        result.push_back(-1);
        return result;
      }
      CHECK(length > 0 && length <= piece.size() - from);
      from += length;
      if (outcome == Outcome::partial) CHECK_EQUAL(from, piece.size());
      if (outcome == Outcome::whole) result.push_back(static_cast<int>(at + from));
    }
  }
  return result;
}

void check_ends(const FrameOrder& order, const std::string& stream,
                const std::vector<int>& wanted) {
  for (size_t step = 1; step <= stream.size(); step++) {
    const std::vector<int> got = ends(order, stream, step);
    CHECK_EQUAL(got.size(), wanted.size());
    for (size_t i = 0; i < got.size(); i++) CHECK_EQUAL(got[i], wanted[i]);
  }
}

std::string framed(const std::string& body) {
  const uint32_t length = static_cast<uint32_t>(body.size());
  const char head[] = {static_cast<char>(length >> 8), static_cast<char>(length)};
  return std::string(head, 2) + body;
}

// What a connection reported: its bytes, and where frames end in them, in the order of the stream.
struct Reported {
  std::string bytes;
  std::vector<size_t> ends;
  bool all_known = true;
};

// Lends slabs of which it knows the memory, and takes what is reported.
class FramesHost {
 public:
  explicit FramesHost(engine::Options options = {}, uint32_t slab_size = 64 * 1024)
      : slab_size_(slab_size), engine_(make_backend(), options) {
    CHECK(engine_.open() == 0);
    for (int i = 0; i < 4; i++) lend();
    Address any;
    CHECK_EQUAL(Address::parse("127.0.0.1", 0, any), 0);
    listener_ = static_cast<uint32_t>(engine_.listen(any, {}));
    engine_.flush();
  }

  uint32_t accept(Descriptor& client) {
    Address at;
    CHECK(engine_.local(listener_, at) == 0);
    client = dial(at.port());
    until([this] { return accepted_ != 0; });
    return std::exchange(accepted_, 0);
  }

  void step() {
    if (!engine_.pending()) {
      pollfd poll_fd{engine_.descriptor(), POLLIN, 0};
      static_cast<void>(::poll(&poll_fd, 1, 1));
    }
    engine_.acknowledge();
    CHECK(engine_.turn() == 0);
    std::vector<Record> records;
    std::swap(records, engine_.records());
    std::vector<int32_t> marks;
    std::swap(marks, engine_.marks());
    for (const Record& record : records) take(record, marks);
    engine_.flush();
  }

  void until(const std::function<bool()>& done) {
    const int64_t deadline = engine::monotonic_ms() + patience_ms;
    while (!done()) {
      CHECK(engine::monotonic_ms() < deadline);
      step();
    }
  }

  void lend() {
    slabs_.emplace_back(std::make_unique<uint8_t[]>(slab_size_));
    engine_.add_slab(static_cast<uint32_t>(slabs_.size() - 1), slabs_.back().get(), slab_size_);
  }

  engine::Engine& engine() { return engine_; }

  Reported reported;
  bool ended = false;
  int data_records = 0;
  int frame_records = 0;
  // Whether slabs are replaced when they are used up.
  bool lends = true;

 private:
  void take(const Record& record, const std::vector<int32_t>& marks) {
    switch (record.event) {
      case Event::accepted:
        accepted_ = static_cast<uint32_t>(record.id);
        return;
      case Event::end:
        ended = true;
        return;
      case Event::slab_retired:
      case Event::slabs_short:
        if (lends) lend();
        return;
      case Event::data:
        data_records++;
        reported.all_known = false;
        append(record);
        return;
      case Event::frames: {
        frame_records++;
        CHECK_EQUAL(record.f, 7);
        const size_t begin = reported.bytes.size();
        append(record);
        if (record.d == 1) reported.ends.push_back(reported.bytes.size());
        for (int32_t i = 0; record.d > 1 && i < record.d; i++) {
          const int32_t mark = marks[static_cast<size_t>(record.e + i)];
          CHECK(mark > 0 && mark <= record.c);
          reported.ends.push_back(begin + static_cast<size_t>(mark));
        }
        return;
      }
      default:
        return;
    }
  }

  void append(const Record& record) {
    const uint8_t* slab = slabs_[static_cast<size_t>(record.a)].get();
    CHECK(record.b >= 0 && record.c > 0);
    CHECK(static_cast<uint32_t>(record.b + record.c) <= slab_size_);
    reported.bytes.append(reinterpret_cast<const char*>(slab + record.b),
                          static_cast<size_t>(record.c));
  }

  uint32_t slab_size_;
  std::vector<std::unique_ptr<uint8_t[]>> slabs_;
  engine::Engine engine_;
  uint32_t listener_ = 0;
  uint32_t accepted_ = 0;
};

}  // namespace

TEST("frames: every kind, in pieces of every length") {
  using namespace std::string_literals;
  check_ends(order_of(FrameKind::length, 1), "\2ab\0\1c"s, {3, 4, 6});
  check_ends(order_of(FrameKind::length, 2), "\0\2ab\0\0\0\1c"s, {4, 6, 9});
  FrameOrder little = order_of(FrameKind::length, 4);
  little.little = true;
  little.offset = 1;
  little.adjust = 5;
  check_ends(little, "t\2\0\0\0abt\0\0\0\0t"s, {7, 12});
  check_ends(order_of(FrameKind::length, 8), "\0\0\0\0\0\0\0\1a\0"s, {9});
  check_ends(order_of(FrameKind::varint), "\2ab\0\x81\0c\x80"s, {3, 4, 7});
  check_ends(order_of(FrameKind::fixed, 3), "abcdefgh"s, {3, 6});
  check_ends(delimited("|"), "a||bc|d"s, {2, 3, 6});
  check_ends(delimited("aab"),
             "aaab"
             "aab"
             "baab"
             "aa"s,
             {4, 7, 11});
  check_ends(delimited("abab"),
             "ababab"
             "abab"s,
             {4, 8});
}

TEST("frames: lines, whose ends may be cut in two") {
  using namespace std::string_literals;
  // A LF that comes after a CR has been told of as an end is at the front of the next line.
  const FrameOrder lines = order_of(FrameKind::lines);
  check_ends(lines, "a\n\nb\n"s, {2, 3, 5});
  check_ends(lines, "a\r\rb\r"s, {2, 3, 5});
  const std::string both = "a\r\n\r\nb\r\n";
  const std::vector<int> whole = ends(lines, both, both.size());
  CHECK(whole == (std::vector<int>{3, 5, 8}));
  CHECK(ends(lines, both, 1) == (std::vector<int>{2, 4, 7}));
  CHECK(ends(lines, both, 2) == (std::vector<int>{2, 4, 8}));
  const std::string far = std::string(300, 'x') + "\r\n" + std::string(127, 'y') + "\n";
  CHECK(ends(lines, far, far.size()) == (std::vector<int>{302, 430}));
}

TEST("frames: what is too long, or none, is unusual, and what is as long as allowed is not") {
  using namespace std::string_literals;
  check_ends(order_of(FrameKind::length, 1, 2), "\2ab\3abc"s, {3, -1});
  check_ends(order_of(FrameKind::varint, 0, 2), "\2ab\3abc"s, {3, -1});
  check_ends(order_of(FrameKind::varint), "\0\x80\x80\x80\x80\x80\x80"s, {1, -1});
  check_ends(order_of(FrameKind::length, 8), "\xff\xff\xff\xff\xff\xff\xff\xff"s, {-1});
  FrameOrder inclusive = order_of(FrameKind::length, 2);
  inclusive.adjust = 0;
  check_ends(inclusive, "\0\2\0\1"s, {2, -1});
  check_ends(delimited("ab", 3), "xxxabxxxxab"s, {5, -1});
  check_ends(delimited("aab", 3), "xaaaab"s, {6});
  check_ends(order_of(FrameKind::lines, 0, 2), "ab\nabc\n"s, {3, -1});
}

TEST("frames: orders that make no sense are not taken") {
  CHECK(!Framer::takes(order_of(FrameKind::bytes)));
  CHECK(!Framer::takes(order_of(FrameKind::length, 9)));
  CHECK(!Framer::takes(order_of(FrameKind::fixed, 0)));
  CHECK(!Framer::takes(order_of(FrameKind::delimiter, 1)));
  CHECK(!Framer::takes(order_of(static_cast<FrameKind>(77))));
}

TEST("frames: a begin is kept until the rest comes, and is then before it in one place") {
  FramesHost host;
  Descriptor client;
  const uint32_t id = host.accept(client);
  host.engine().frame(id, order_of(FrameKind::length, 2, 4000));
  const std::string stream = framed("hello") + framed("") + framed(std::string(3000, 'x'));
  for (const char byte : stream) {
    send_all(client, std::string(1, byte));
    host.step();
  }
  host.until([&] { return host.reported.bytes.size() == stream.size(); });
  CHECK(host.reported.bytes == stream);
  CHECK(host.reported.ends == (std::vector<size_t>{7, 9, stream.size()}));
  CHECK(host.reported.all_known);
  CHECK(host.frame_records <= 3);
}

TEST("frames: many in one piece, with the rest of one") {
  FramesHost host;
  Descriptor client;
  const uint32_t id = host.accept(client);
  host.engine().frame(id, order_of(FrameKind::length, 2));
  std::string stream;
  std::vector<size_t> wanted;
  for (int i = 0; i < 2000; i++) {
    stream += framed(pattern(random_below(60), static_cast<uint32_t>(i)));
    wanted.push_back(stream.size());
  }
  for (size_t at = 0; at < stream.size();) {
    const size_t length = std::min<size_t>(1 + random_below(5000), stream.size() - at);
    send_all(client, stream.substr(at, length));
    at += length;
    host.step();
  }
  host.until([&] { return host.reported.bytes.size() == stream.size(); });
  CHECK(host.reported.bytes == stream);
  CHECK(host.reported.ends == wanted);
  CHECK(host.reported.all_known);
}

TEST("frames: a long one is reported piece by piece; more ends than there is room for are bytes") {
  engine::Options options;
  options.marks_max = 10;
  options.frame_keep_max = 100;
  FramesHost host(options);
  Descriptor client;
  const uint32_t id = host.accept(client);
  host.engine().frame(id, order_of(FrameKind::length, 2));
  const std::string longer = framed(std::string(900, 'x'));
  for (size_t at = 0; at < longer.size(); at += 50) {
    send_all(client, longer.substr(at, 50));
    host.step();
  }
  host.until([&] { return host.reported.bytes.size() == longer.size(); });
  CHECK(host.reported.bytes == longer);
  CHECK(host.reported.ends == std::vector<size_t>{longer.size()});
  CHECK(host.reported.all_known);
  std::string many;
  for (int i = 0; i < 50; i++) many += framed("abc");
  send_all(client, many);
  host.until([&] { return host.reported.bytes.size() == longer.size() + many.size(); });
  CHECK(host.reported.bytes == longer + many);
  CHECK(!host.reported.all_known);
}

TEST("frames: an order for another place, and one for bytes, let all come as bytes") {
  FramesHost host;
  Descriptor client;
  const uint32_t id = host.accept(client);
  FrameOrder order = order_of(FrameKind::length, 2);
  order.position = 3;
  host.engine().frame(id, order);
  send_all(client, "abc");
  host.until([&] { return host.reported.bytes.size() == 3; });
  CHECK_EQUAL(host.data_records, 1);
  host.engine().frame(id, order);
  send_all(client, framed("x").substr(0, 2));
  // It is kept; the next order gives it back.
  for (int i = 0; i < 10; i++) host.step();
  CHECK_EQUAL(host.reported.bytes.size(), 3);
  host.engine().frame(id, FrameOrder{});
  host.until([&] { return host.reported.bytes.size() == 5; });
  CHECK_EQUAL(host.frame_records, 0);
  send_all(client, "y");
  host.until([&] { return host.reported.bytes.size() == 6; });
  CHECK_EQUAL(host.frame_records, 0);
}

TEST("frames: the end of the stream within one") {
  FramesHost host;
  Descriptor client;
  const uint32_t id = host.accept(client);
  host.engine().frame(id, order_of(FrameKind::length, 2));
  send_all(client, framed("abc") + "\1");
  client.reset();
  host.until([&] { return host.ended; });
  CHECK(host.reported.bytes == framed("abc") + "\1");
  CHECK(host.reported.ends == std::vector<size_t>{5});
}

TEST("frames: what is kept waits for memory, at the end and when it is wanted back") {
  for (const bool at_end : {true, false}) {
    FramesHost host;
    host.lends = false;
    Descriptor client;
    const uint32_t id = host.accept(client);
    host.engine().frame(id, order_of(FrameKind::length, 2));
    send_all(client, framed("abcdef").substr(0, 5));
    for (int i = 0; i < 10; i++) host.step();
    CHECK_EQUAL(host.reported.bytes.size(), 0);
    // Another connection takes all the memory there is.
    Descriptor other;
    host.accept(other);
    unblock(other);
    const std::string flood(512 * 1024, 'f');
    static_cast<void>(::send(other.get(), flood.data(), flood.size(), MSG_NOSIGNAL));
    for (int i = 0; i < 50; i++) host.step();
    const size_t before = host.reported.bytes.size();
    CHECK(before > 200 * 1024);
    if (at_end) {
      client.reset();
    } else {
      host.engine().frame(id, FrameOrder{});
    }
    for (int i = 0; i < 20; i++) host.step();
    CHECK(!host.ended);
    CHECK_EQUAL(host.reported.bytes.size(), before);
    host.lends = true;
    for (int i = 0; i < 4; i++) host.lend();
    host.until([&] {
      return host.reported.bytes.find(framed("abcdef").substr(0, 5)) != std::string::npos;
    });
    if (at_end) host.until([&] { return host.ended; });
  }
}

}  // namespace marketplace::test
