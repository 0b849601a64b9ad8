// What the engine's tests share: registration and TAP output, a host that drives an engine, and
// plain sockets for the other end. No dependency but the compiler.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../../native/engine/engine.h"

namespace marketplace::test {

using engine::Address;
using engine::Descriptor;
using engine::Engine;
using engine::Event;
using engine::Record;

// A test that fails says where; the rest of it is skipped.
struct Failure {
  std::string text;
};

struct Registration {
  Registration(const char* name, void (*body)());
};

#define TEST_NAMED(line, name)                                                           \
  static void test_##line();                                                             \
  static const ::marketplace::test::Registration registration_##line(name, test_##line); \
  static void test_##line()
#define TEST_EXPANDED(line, name) TEST_NAMED(line, name)
#define TEST(name) TEST_EXPANDED(__LINE__, name)

#define CHECK(condition) ::marketplace::test::check((condition), #condition, __FILE__, __LINE__)
#define CHECK_EQUAL(got, wanted)                                                            \
  ::marketplace::test::check_equal(static_cast<int64_t>(got), static_cast<int64_t>(wanted), \
                                   #got " == " #wanted, __FILE__, __LINE__)

void check(bool condition, const char* text, const char* file, int line);
void check_equal(int64_t got, int64_t wanted, const char* text, const char* file, int line);

// However busy the machine is; only a test that fails waits for so long.
constexpr int patience_ms = 30'000;

// The backend that the tests are run on at present: each is run on every one that works here.
std::unique_ptr<engine::Backend> make_backend();
bool backend_is(const char* name);
// Turns without anything to report that it may take until nothing more happens: io_uring says when
// a request has ended that nobody wants any more.
int idle_turns_max();

// Drives one engine as a program would: lends slabs, reads records, flushes.
class Host {
 public:
  explicit Host(engine::Options options = {}, uint32_t slab_size = 64 * 1024);
  Host(std::unique_ptr<engine::Backend> backend, engine::Options options, uint32_t slab_size);

  // Waits for something to do, up to `timeout_ms`, and does it. False if there was nothing.
  bool step(int timeout_ms = patience_ms);
  // Steps until `done`; fails the test when that takes too long.
  void until(const std::function<bool()>& done);
  // Steps for that long; returns how many turns had something to do.
  int run_for(int time_ms);

  uint32_t listen(const char* address = "127.0.0.1", const engine::ListenOptions& options = {});
  // An outbound connection: its id, or negative errno.
  int32_t connect(const Address& address, const engine::ConnectOptions& options = {});
  uint16_t port(uint32_t listener);
  // A connection from a plain socket: its id here; `client` is the other end.
  uint32_t accept(uint32_t listener, Descriptor& client);
  void write(uint32_t id, const std::string& data);

  int count(Event event, int32_t id = 0) const;
  const Record* last(Event event, int32_t id = 0) const;

  Engine engine;
  std::vector<Record> log;
  std::map<int32_t, std::string> input;
  // Sees each record; what it writes is flushed afterwards.
  std::function<void(const Record&)> on_record;
  // Whether slabs are replaced when they are used up.
  bool lend = true;
  void add_slab(engine::Purpose purpose = engine::Purpose::input);
  // From now on it sleeps in the engine instead of polling the engine's descriptor.
  void sleep_in_engine();
  // What rings it ends the sleep.
  const Descriptor& bell() const { return bell_; }

 private:
  void take(const Record& record);

  uint32_t slab_size_;
  // Every other host sleeps in the engine; this is what it would hear of besides.
  bool sleeps_ = false;
  Descriptor bell_;
  // Each one an allocation of its own, so that the sanitizer sees what is out of bounds.
  std::vector<std::unique_ptr<uint8_t[]>> slabs_;
};

// Plain sockets. All of them fail the test instead of returning an error.
Descriptor dial(uint16_t port, int receive_buffer = 0, const char* address = "127.0.0.1");
void send_all(const Descriptor& socket, const std::string& data);
// Reads up to `length` bytes, or to the end; empty at the end.
std::string read_some(const Descriptor& socket, size_t length);
// Reads to the end while the host runs; `error` is what ended it (0: FIN).
std::string read_all(Host& host, const Descriptor& socket, int& error);
void reset(Descriptor& socket);
void unblock(const Descriptor& socket);
// The engine's own end of a connection, found by the peer's port.
int engine_side(const Descriptor& client);

std::string pattern(size_t length, uint32_t seed);
uint32_t random_below(uint32_t limit);
int open_descriptors();

}  // namespace marketplace::test
