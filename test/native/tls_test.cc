// TLS between two ends of one engine: handshakes, data that is cut in any way, ends. With the
// machine's OpenSSL, where there is one; it agrees on keys without certificates here, as those are
// the host's matter.
#include <dlfcn.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <type_traits>

#include "harness.h"

namespace marketplace::test {

using namespace engine;

namespace {

constexpr int control_dh_auto = 118;
constexpr int control_protocol_max = 124;
constexpr long tls_1_2 = 0x0303;

// What only tests need of it.
struct Library {
  std::shared_ptr<const OpenSsl> openssl;
  SSL_CTX* (*context_new)(const void*) = nullptr;
  const void* (*method)() = nullptr;
  int (*ciphers)(SSL_CTX*, const char*) = nullptr;
};

const Library* library() {
  static const Library* const found = []() -> const Library* {
    if (::dlopen("libssl.so.3", RTLD_NOW | RTLD_GLOBAL) == nullptr) return nullptr;
    const char* missing = nullptr;
    static Library made;
    made.openssl = OpenSsl::find(missing);
    if (made.openssl == nullptr) return nullptr;
    const auto find = [](const char* name, auto*& function) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(
          ::dlsym(RTLD_DEFAULT, name));
    };
    find("SSL_CTX_new", made.context_new);
    find("TLS_method", made.method);
    find("SSL_CTX_set_cipher_list", made.ciphers);
    return &made;
  }();
  return found;
}

std::shared_ptr<TlsContext> context(bool server) {
  const Library& from = *library();
  SSL_CTX* made = from.context_new(from.method());
  CHECK(made != nullptr);
  from.openssl->SSL_CTX_ctrl(made, control_protocol_max, tls_1_2, nullptr);
  from.openssl->SSL_CTX_ctrl(made, control_dh_auto, 1, nullptr);
  CHECK_EQUAL(from.ciphers(made, "ADH-AES256-GCM-SHA384:@SECLEVEL=0"), 1);
  auto result = std::make_shared<TlsContext>(from.openssl, made, server);
  result->reject_unauthorized = false;
  // The context has a reference of its own.
  from.openssl->SSL_CTX_free(made);
  return result;
}

// Both ends of a connection, whose handshake has begun.
struct Pair {
  explicit Pair(engine::Options options = {}, uint32_t slab_size = 64 * 1024)
      : host(options, slab_size) {
    const uint32_t listener = host.listen();
    Address address;
    CHECK_EQUAL(host.engine.local(listener, address), 0);
    near = static_cast<uint32_t>(host.connect(address));
    host.until(
        [this] { return host.count(Event::accepted) == 1 && host.count(Event::connected) == 1; });
    far = static_cast<uint32_t>(host.last(Event::accepted)->id);
    CHECK_EQUAL(host.engine.start_tls(far, context(true), TlsTarget{}), 0);
    CHECK_EQUAL(host.engine.start_tls(near, context(false), TlsTarget{"localhost", {}}), 0);
    for (const uint32_t id : {far, near}) host.engine.secure(id);
    host.engine.flush();
  }
  void secured() {
    host.until([this] { return host.count(Event::secured) == 2; });
  }

  Host host;
  uint32_t near = 0;
  uint32_t far = 0;
};

bool missing() {
  if (library() != nullptr) return false;
  std::printf("# there is no libssl.so.3 of OpenSSL 3 here: skipped\n");
  return true;
}

void exchange(engine::Options options, uint32_t slab_size, size_t length) {
  if (missing()) return;
  Pair pair(options, slab_size);
  pair.secured();
  const std::string data = pattern(length, 3);
  const int32_t near = static_cast<int32_t>(pair.near);
  const int32_t far = static_cast<int32_t>(pair.far);
  pair.host.engine.report_writes(pair.near, true);
  for (size_t at = 0; at < length;) {
    const size_t part = std::min<size_t>(length - at, 1 + random_below(40'000));
    pair.host.write(pair.near, data.substr(at, part));
    at += part;
  }
  pair.host.engine.shutdown(pair.near);
  pair.host.engine.flush();
  pair.host.until([&] { return pair.host.count(Event::end, far) == 1; });
  CHECK(pair.host.input[far] == data);
  CHECK_EQUAL(pair.host.count(Event::tls_cut), 0);
  size_t written = 0;
  for (const Record& record : pair.host.log) {
    if (record.event == Event::written && record.id == near) {
      written += static_cast<size_t>(record.a);
    }
  }
  CHECK_EQUAL(written, length);
  pair.host.write(pair.far, "back");
  pair.host.engine.close(pair.far);
  pair.host.engine.flush();
  pair.host.until([&] { return pair.host.count(Event::closed) == 2; });
  CHECK(pair.host.input[near] == "back");
  CHECK_EQUAL(pair.host.last(Event::closed, near)->a, 0);
  CHECK_EQUAL(pair.host.last(Event::closed, far)->a, 0);
}

}  // namespace

TEST("TLS: what is sent is what comes, and each end is announced") {
  exchange({}, 64 * 1024, 1'000'000);
}

TEST("TLS: with slabs that are smaller than a record, and few records in a turn") {
  engine::Options options;
  options.records_max = 3;
  options.handshakes_max = 1;
  exchange(options, 4 * 1024, 300'000);
}

TEST("TLS: an end that was not announced is told") {
  if (missing()) return;
  Pair pair;
  pair.secured();
  // Behind the engine's back.
  Address address;
  CHECK_EQUAL(pair.host.engine.local(pair.near, address), 0);
  const int descriptor = pair.host.engine.share(pair.near);
  CHECK_EQUAL(::shutdown(descriptor, SHUT_WR), 0);
  const int32_t far = static_cast<int32_t>(pair.far);
  pair.host.until([&] { return pair.host.count(Event::end, far) == 1; });
  CHECK_EQUAL(pair.host.count(Event::tls_cut, far), 1);
}

TEST("TLS: what is no handshake ends the connection, and says why") {
  if (missing()) return;
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  CHECK_EQUAL(host.engine.start_tls(id, context(true), TlsTarget{}), 0);
  host.engine.secure(id);
  host.engine.flush();
  send_all(client, "GET / HTTP/1.1\r\n\r\n");
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.count(Event::tls_failed), 1);
  CHECK(host.last(Event::tls_failed)->a != 0);
  CHECK_EQUAL(host.last(Event::closed)->a, -EPROTO);
}

TEST("TLS: a connection may end at any moment of its handshake") {
  if (missing()) return;
  for (int turns = 0; turns < 8; turns++) {
    Pair pair;
    for (int i = 0; i < turns; i++) pair.host.step(20);
    pair.host.engine.abort(turns % 2 == 0 ? pair.near : pair.far);
    pair.host.engine.flush();
    pair.host.until([&] { return pair.host.count(Event::closed) == 2; });
  }
}

TEST("TLS: what was received before belongs to it") {
  if (missing()) return;
  Host host;
  const uint32_t listener = host.listen();
  Descriptor client;
  const uint32_t id = host.accept(listener, client);
  CHECK_EQUAL(host.engine.start_tls(id, context(true), TlsTarget{}), 0);
  const std::string garbage(100, 'x');
  host.engine.prepend_tls(id, reinterpret_cast<const uint8_t*>(garbage.data()), garbage.size());
  host.engine.secure(id);
  host.engine.flush();
  host.until([&] { return host.count(Event::closed) == 1; });
  CHECK_EQUAL(host.count(Event::tls_failed), 1);
}

}  // namespace marketplace::test
