// Unix sockets: their addresses, and the file of one that is listened on.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "harness.h"

namespace marketplace::test {

namespace {

Address unix_address(const std::string& path) {
  Address address;
  CHECK_EQUAL(Address::parse_unix(path.data(), path.size(), address), 0);
  return address;
}

bool exists(const std::string& path) {
  struct stat found {};
  return ::lstat(path.c_str(), &found) == 0;
}

// A directory of its own, gone with the test.
class Directory {
 public:
  Directory() { CHECK(::mkdtemp(name_) != nullptr); }
  ~Directory() {
    for (const std::string& path : made_) ::unlink(path.c_str());
    ::rmdir(name_);
  }
  std::string file(const char* name) {
    made_.push_back(std::string(name_) + "/" + name);
    return made_.back();
  }

 private:
  char name_[32] = "/tmp/engine-unix-XXXXXX";
  std::vector<std::string> made_;
};

Descriptor dial_unix(const std::string& path) {
  const Address address = unix_address(path);
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK(socket.valid());
  CHECK_EQUAL(::connect(socket.get(), address.data(), address.length), 0);
  return socket;
}

uint32_t listen_at(Host& host, const std::string& path) {
  const int32_t id = host.engine.listen(unix_address(path), {});
  CHECK(id > 0);
  return static_cast<uint32_t>(id);
}

// There and back, over a connection that the engine accepted.
void talk(Host& host, const std::string& path) {
  const int accepted = host.count(Event::accepted);
  Descriptor client = dial_unix(path);
  host.until([&] { return host.count(Event::accepted) > accepted; });
  const Record* record = host.last(Event::accepted);
  CHECK_EQUAL(record->b, 1 << 16);
  const int32_t id = record->id;
  send_all(client, "question");
  host.until([&] { return host.input[id] == "question"; });
  host.write(static_cast<uint32_t>(id), "answer");
  CHECK(read_some(client, 6) == "answer");
}

}  // namespace

TEST("a Unix address is a path, or an abstract name, of any length that fits") {
  constexpr size_t room = sizeof(sockaddr_un::sun_path);
  Address address;
  CHECK_EQUAL(Address::parse_unix("", 0, address), -EINVAL);
  CHECK_EQUAL(Address::parse_unix("\0", 1, address), -EINVAL);
  CHECK_EQUAL(Address::parse_unix("a\0b", 3, address), -EINVAL);
  const std::string longest(room - 1, 'x');
  CHECK_EQUAL(Address::parse_unix(longest.data(), longest.size(), address), 0);
  CHECK(std::strcmp(address.file(), longest.c_str()) == 0);
  CHECK_EQUAL(address.length, sizeof(sockaddr_un));
  const std::string longer(room, 'x');
  CHECK_EQUAL(Address::parse_unix(longer.data(), longer.size(), address), -ENAMETOOLONG);
  CHECK_EQUAL(Address::parse_unix("\0name", 5, address), 0);
  CHECK(address.file() == nullptr);
  CHECK_EQUAL(address.length, offsetof(sockaddr_un, sun_path) + 5);
  CHECK_EQUAL(address.port(), 0);
  CHECK_EQUAL(address.port_and_family(), 1 << 16);
}

TEST("an address is zero wherever nothing was said, whatever memory it is made in") {
  alignas(Address) unsigned char memory[sizeof(Address)];
  std::memset(memory, 0xa5, sizeof(memory));
  const Address* address = new (memory) Address;
  for (size_t i = 0; i < sizeof(sockaddr_in6); i++) {
    CHECK_EQUAL(reinterpret_cast<const unsigned char*>(address->data())[i], 0);
  }
}

TEST("a Unix listener: its file is there while it listens, and removed when it closes") {
  Directory directory;
  const std::string path = directory.file("socket");
  Host host;
  const uint32_t listener = listen_at(host, path);
  CHECK(exists(path));
  talk(host, path);
  // Another is told, and takes nothing away.
  CHECK_EQUAL(host.engine.listen(unix_address(path), {}), -EADDRINUSE);
  CHECK(exists(path));
  host.engine.close_listener(listener);
  host.run_for(10);
  CHECK(!exists(path));
  talk(host, (listen_at(host, path), path));
}

TEST("the file of a Unix listener is left alone once it is another's") {
  Directory directory;
  const std::string path = directory.file("socket");
  Host host;
  const uint32_t first = listen_at(host, path);
  CHECK_EQUAL(::unlink(path.c_str()), 0);
  Host other;
  listen_at(other, path);
  host.engine.close_listener(first);
  host.run_for(10);
  CHECK(exists(path));
  talk(other, path);
}

TEST("a stale file, one that is no socket, and a directory that isn't there") {
  Directory directory;
  const std::string stale = directory.file("stale");
  {
    Descriptor left(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const Address address = unix_address(stale);
    CHECK_EQUAL(::bind(left.get(), address.data(), address.length), 0);
  }
  Host host;
  // Whose it is can't be known: as Node, it says that the address is taken.
  CHECK_EQUAL(host.engine.listen(unix_address(stale), {}), -EADDRINUSE);
  CHECK(exists(stale));
  const std::string plain = directory.file("plain");
  Descriptor file(::open(plain.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  CHECK(file.valid());
  CHECK_EQUAL(host.engine.listen(unix_address(plain), {}), -EADDRINUSE);
  CHECK(exists(plain));
  CHECK_EQUAL(host.engine.listen(unix_address(directory.file("none") + "/socket"), {}), -ENOENT);
}

TEST("an abstract name: listened on, dialled, and free again without a file") {
  const std::string name = std::string(1, '\0') + "engine-test-" + std::to_string(::getpid());
  Host host;
  const uint32_t listener = listen_at(host, name);
  talk(host, name);
  CHECK_EQUAL(host.engine.listen(unix_address(name), {}), -EADDRINUSE);
  host.engine.close_listener(listener);
  host.run_for(10);
  listen_at(host, name);
  talk(host, name);
}

TEST("outbound to a Unix socket: connected, refused, and nobody there") {
  Directory directory;
  const std::string path = directory.file("socket");
  Host host;
  listen_at(host, path);
  const int32_t id = host.connect(unix_address(path));
  CHECK(id > 0);
  host.until([&] { return host.count(Event::connected, id) == 1; });
  host.write(static_cast<uint32_t>(id), "hello");
  host.until([&] {
    const Record* record = host.last(Event::accepted);
    return record != nullptr && host.input[record->id] == "hello";
  });
  CHECK_EQUAL(host.connect(unix_address(directory.file("nobody"))), -ENOENT);
}

}  // namespace marketplace::test
