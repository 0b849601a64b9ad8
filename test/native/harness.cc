// See harness.h.
#include "harness.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>

#include "../../native/engine/epoll.h"
#include "../../native/engine/socket.h"
#include "../../native/engine/uring.h"

namespace marketplace::test {

namespace {

struct Test {
  const char* name;
  void (*body)();
};

// A function's, as the order in which files are initialised is not defined.
std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

std::mt19937& random_source() {
  static std::mt19937 source(std::random_device{}());
  return source;
}

// io_uring also as it is on older kernels, or with all of its features missing.
constexpr const char* backend_names[] = {"epoll", "io_uring", "io_uring, whole buffers",
                                         "io_uring, bare"};
const char* backend_name = backend_names[0];

Address parse(const char* text, uint16_t port) {
  Address address;
  CHECK_EQUAL(Address::parse(text, port, address), 0);
  return address;
}

}  // namespace

bool backend_is(const char* name) {
  return strcmp(backend_name, name) == 0;
}

int idle_turns_max() {
  return backend_is("epoll") ? 0 : 3;
}

std::unique_ptr<engine::Backend> make_backend() {
  if (backend_is("epoll")) return std::make_unique<engine::EpollBackend>();
  engine::UringFeatures features;
  if (!backend_is("io_uring")) features.incremental_buffers = false;
  if (backend_is("io_uring, bare")) features = engine::UringFeatures{false, false, false};
  return std::make_unique<engine::UringBackend>(features);
}

Registration::Registration(const char* name, void (*body)()) {
  tests().push_back({name, body});
}

void check(bool condition, const char* text, const char* file, int line) {
  if (condition) return;
  throw Failure{std::string(file) + ":" + std::to_string(line) + ": " + text + " (errno is " +
                strerror(errno) + ")"};
}

void check_equal(int64_t got, int64_t wanted, const char* text, const char* file, int line) {
  if (got == wanted) return;
  const std::string values = std::to_string(got) + " != " + std::to_string(wanted);
  check(false, (std::string(text) + ": " + values).c_str(), file, line);
}

Host::Host(engine::Options options, uint32_t slab_size)
    : Host(make_backend(), options, slab_size) {}

Host::Host(std::unique_ptr<engine::Backend> backend, engine::Options options, uint32_t slab_size)
    : engine(std::move(backend), options), slab_size_(slab_size) {
  static int hosts = 0;
  CHECK_EQUAL(engine.open(), 0);
  for (int i = 0; i < 4; i++) add_slab();
  if (hosts++ % 2 == 1) sleep_in_engine();
}

void Host::sleep_in_engine() {
  if (sleeps_) return;
  bell_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  CHECK_EQUAL(engine.watch_host(bell_.get()), 0);
  sleeps_ = true;
}

void Host::add_slab(engine::Purpose purpose) {
  slabs_.push_back(std::make_unique<uint8_t[]>(slab_size_));
  const uint32_t id = static_cast<uint32_t>(slabs_.size() - 1);
  engine.add_slab(id, slabs_.back().get(), slab_size_, purpose);
}

bool Host::step(int timeout_ms) {
  if (sleeps_) {
    const int woken = engine.sleep(engine.pending() ? 0 : timeout_ms);
    CHECK(woken >= 0);
    if (woken == 0 && !engine.pending()) return false;
  } else if (!engine.pending()) {
    pollfd wait{engine.descriptor(), POLLIN, 0};
    if (::poll(&wait, 1, timeout_ms) == 0) return false;
    engine.acknowledge();
  }
  CHECK_EQUAL(engine.turn(), 0);
  const std::vector<Record> records = std::move(engine.records());
  engine.records().clear();
  for (const Record& record : records) {
    take(record);
    if (on_record) on_record(record);
  }
  engine.flush();
  return true;
}

void Host::take(const Record& record) {
  log.push_back(record);
  if (record.event == Event::data) {
    const uint8_t* base = slabs_[static_cast<size_t>(record.a)].get() + record.b;
    CHECK_EQUAL(record.b % 8, 0);
    input[record.id].append(reinterpret_cast<const char*>(base), static_cast<size_t>(record.c));
  }
  if (record.event == Event::slab_retired) {
    // Freed, as it may be by a garbage collector: a late write into it would be seen.
    slabs_[static_cast<size_t>(record.id)].reset();
    if (lend) add_slab();
  }
}

void Host::until(const std::function<bool()>& done) {
  const int64_t deadline_ms = engine::monotonic_ms() + patience_ms;
  engine.flush();
  while (!done()) {
    CHECK(engine::monotonic_ms() < deadline_ms);
    step(10);
  }
}

int Host::run_for(int time_ms) {
  const int64_t end_ms = engine::monotonic_ms() + time_ms;
  int turns = 0;
  engine.flush();
  for (int64_t now_ms = 0; (now_ms = engine::monotonic_ms()) < end_ms;) {
    if (step(static_cast<int>(end_ms - now_ms))) turns++;
  }
  return turns;
}

uint32_t Host::listen(const char* address, const engine::ListenOptions& options) {
  const int32_t id = engine.listen(parse(address, 0), options);
  CHECK(id > 0);
  return static_cast<uint32_t>(id);
}

int32_t Host::connect(const Address& address, const engine::ConnectOptions& options) {
  bool bind_failed = false;
  return engine.connect(address, options, bind_failed);
}

uint16_t Host::port(uint32_t listener) {
  Address address;
  CHECK_EQUAL(engine.local(listener, address), 0);
  return address.port();
}

uint32_t Host::accept(uint32_t listener, Descriptor& client) {
  const int before = count(Event::accepted);
  if (!client.valid()) client = dial(port(listener));
  until([&] { return count(Event::accepted) > before; });
  return static_cast<uint32_t>(last(Event::accepted)->id);
}

void Host::write(uint32_t id, const std::string& data) {
  engine.write(id, reinterpret_cast<const uint8_t*>(data.data()), data.size());
  engine.flush();
}

int Host::count(Event event, int32_t id) const {
  int result = 0;
  for (const Record& record : log) {
    if (record.event == event && (id == 0 || record.id == id)) result++;
  }
  return result;
}

const Record* Host::last(Event event, int32_t id) const {
  for (auto record = log.rbegin(); record != log.rend(); record++) {
    if (record->event == event && (id == 0 || record->id == id)) return &*record;
  }
  return nullptr;
}

Descriptor dial(uint16_t port, int receive_buffer, const char* address) {
  const Address to = parse(address, port);
  Descriptor socket(::socket(to.data()->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(socket.valid());
  if (receive_buffer > 0) {
    CHECK_EQUAL(
        ::setsockopt(socket.get(), SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof(receive_buffer)),
        0);
  }
  CHECK_EQUAL(::connect(socket.get(), to.data(), to.length), 0);
  return socket;
}

void send_all(const Descriptor& socket, const std::string& data) {
  size_t sent = 0;
  while (sent < data.size()) {
    const ssize_t n = ::send(socket.get(), data.data() + sent, data.size() - sent, MSG_NOSIGNAL);
    CHECK(n > 0);
    sent += static_cast<size_t>(n);
  }
}

std::string read_some(const Descriptor& socket, size_t length) {
  std::string result(length, '\0');
  const ssize_t n = ::recv(socket.get(), result.data(), length, 0);
  CHECK(n >= 0);
  result.resize(static_cast<size_t>(n));
  return result;
}

std::string read_all(Host& host, const Descriptor& socket, int& error) {
  std::string result;
  std::string chunk(64 * 1024, '\0');
  const int64_t deadline_ms = engine::monotonic_ms() + patience_ms;
  for (;;) {
    CHECK(engine::monotonic_ms() < deadline_ms);
    const ssize_t n = ::recv(socket.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
    if (n > 0) {
      result.append(chunk, 0, static_cast<size_t>(n));
    } else if (n < 0 && errno == EAGAIN) {
      host.step(1);
    } else {
      error = n == 0 ? 0 : errno;
      return result;
    }
  }
}

void reset(Descriptor& socket) {
  CHECK_EQUAL(engine::reset_on_close(socket.get()), 0);
  socket.reset();
}

void unblock(const Descriptor& socket) {
  CHECK_EQUAL(::fcntl(socket.get(), F_SETFL, O_NONBLOCK), 0);
}

int engine_side(const Descriptor& client) {
  Address own;
  CHECK_EQUAL(engine::local_address(client.get(), own), 0);
  for (int fd = 0; fd < 1024; fd++) {
    Address peer;
    if (fd != client.get() && engine::peer_address(fd, peer) == 0 && peer.port() == own.port()) {
      return fd;
    }
  }
  return -1;
}

std::string pattern(size_t length, uint32_t seed) {
  std::string result(length, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : result) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return result;
}

uint32_t random_below(uint32_t limit) {
  return std::uniform_int_distribution<uint32_t>(0, limit - 1)(random_source());
}

int open_descriptors() {
  DIR* directory = ::opendir("/proc/self/fd");
  CHECK(directory != nullptr);
  int count = 0;
  while (::readdir(directory) != nullptr) count++;
  ::closedir(directory);
  return count;
}

// What is wrong with one test; empty if nothing. It must give back the descriptors that it took.
std::string run(const Test& test) {
  const int before = open_descriptors();
  try {
    test.body();
  } catch (const Failure& failure) {
    return failure.text;
  }
  const int after = open_descriptors();
  return after == before ? "" : std::to_string(after - before) + " descriptors were leaked";
}

// Runs every test on every backend, or on those that are named.
int run_all(const std::vector<std::string>& names) {
  int number = 0;
  int failures = 0;
  for (const char* name : backend_names) {
    if (!names.empty() && std::find(names.begin(), names.end(), name) == names.end()) continue;
    backend_name = name;
    const int available = make_backend()->open();
    if (available < 0) {
      std::printf("ok %d - %s # SKIP %s\n", ++number, name, strerror(-available));
      continue;
    }
    for (const Test& test : tests()) {
      const std::string problem = run(test);
      if (!problem.empty()) failures++;
      std::printf("%s %d - %s: %s\n", problem.empty() ? "ok" : "not ok", ++number, name, test.name);
      if (!problem.empty()) std::printf("# %s\n", problem.c_str());
      std::fflush(stdout);
    }
  }
  std::printf("1..%d\n", number);
  return failures == 0 ? 0 : 1;
}

}  // namespace marketplace::test

int main(int count, char** arguments) {
  return marketplace::test::run_all({arguments + 1, arguments + count});
}
