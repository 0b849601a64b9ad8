// The functions that JavaScript sees. No logic: decode, call, encode. Arguments were checked by
// src/transport/native/transport.ts; what is checked here is what would otherwise corrupt memory.
//
// Per-environment state only, so that the addon loads in worker threads and more than once. Plain
// Node-API throughout: a worker can be terminated inside any of these calls, each of which then
// fails, and the C++ wrappers answer such a failure by ending the process.
#include <node_api.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>
#include <string>
#include <utility>
#include <vector>

#include "../engine/acceptor.h"
#include "../engine/socket.h"
#include "heap.h"
#include "loop.h"
#include "options.h"
#include "tls.h"

namespace marketplace::binding {

namespace {

struct Environment {
  // Random: two copies of the addon may be loaded at once and must not take each other's handles.
  napi_type_tag tag{};
  // Of contexts of TLS.
  napi_type_tag context_tag{};
  // Of acceptors.
  napi_type_tag acceptor_tag{};
  // Looked for when TLS is wanted first.
  std::shared_ptr<const OpenSsl> openssl{};
};

// The arguments of one call. What is missing or of the wrong type reads as zero or false.
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = values_.size();
    void* data = nullptr;
    if (napi_get_cb_info(env, info, &count, values_.data(), nullptr, &data) == napi_ok) {
      environment_ = static_cast<Environment*>(data);
    }
  }

  napi_env env() const { return env_; }
  napi_value operator[](size_t index) const { return values_[index]; }
  const Environment* environment() const { return environment_; }
  Environment* environment() { return environment_; }

  uint32_t number(size_t index) const {
    uint32_t result = 0;
    return napi_get_value_uint32(env_, values_[index], &result) == napi_ok ? result : 0;
  }

  // -1 for what is no descriptor's number.
  int descriptor(size_t index) const {
    int32_t result = -1;
    return napi_get_value_int32(env_, values_[index], &result) == napi_ok ? result : -1;
  }

  bool flag(size_t index) const {
    bool result = false;
    return napi_get_value_bool(env_, values_[index], &result) == napi_ok && result;
  }

  bool is_object(size_t index) const { return type(index) == napi_object; }
  bool is_string(size_t index) const { return type(index) == napi_string; }
  bool is_number(size_t index) const { return type(index) == napi_number; }

  // Longer than any literal with its zone, and any path; what is cut off cannot have been one.
  struct Text {
    std::array<char, 128> bytes{};
    size_t length = 0;
    const char* data() const { return bytes.data(); }
  };
  bool text(size_t index, Text& out) const {
    return napi_get_value_string_utf8(env_, values_[index], out.bytes.data(), out.bytes.size(),
                                      &out.length) == napi_ok;
  }

  // An IP address literal and, after it, a port; or the path of a Unix socket and, after it, -1.
  int address(size_t index, engine::Address& out) const {
    Text literal;
    int32_t port = 0;
    if (!text(index, literal)) return -EINVAL;
    if (napi_get_value_int32(env_, values_[index + 1], &port) != napi_ok) return -EINVAL;
    if (port == unix_port) return engine::Address::parse_unix(literal.data(), literal.length, out);
    return engine::Address::parse(literal.data(), static_cast<uint16_t>(port), out);
  }

  // The open loop behind the first argument; nullptr if it is closed, or, with an exception, if
  // that is not a handle of ours.
  Loop* loop() const {
    bool tagged = false;
    void* loop = nullptr;
    if (environment_ == nullptr) return nullptr;
    if (is_object(0)) {
      const napi_status status =
          napi_check_object_type_tag(env_, values_[0], &environment_->tag, &tagged);
      // The environment is about to end.
      if (status != napi_ok) return nullptr;
    }
    if (!tagged || napi_unwrap(env_, values_[0], &loop) != napi_ok) {
      static_cast<void>(napi_throw_type_error(env_, nullptr, "marketplace: not an engine handle"));
      return nullptr;
    }
    Loop* result = static_cast<Loop*>(loop);
    return result->running() ? result : nullptr;
  }

  napi_value result(int32_t value) const {
    napi_value result = nullptr;
    return napi_create_int32(env_, value, &result) == napi_ok ? result : nullptr;
  }

  // Writes an address into an Int32Array of five, as Address::pack does.
  napi_value result(int status, const engine::Address& from, size_t index) const {
    if (status < 0) return result(status);
    int32_t* words = words_of(env_, values_[index], engine::address_words);
    if (words == nullptr) return result(-EINVAL);
    from.pack(words);
    return result(0);
  }

 private:
  napi_valuetype type(size_t index) const {
    napi_valuetype type = napi_undefined;
    return napi_typeof(env_, values_[index], &type) == napi_ok ? type : napi_undefined;
  }

  napi_env env_;
  // Where fewer were given, Node-API fills in `undefined`.
  std::array<napi_value, 7> values_{};
  Environment* environment_ = nullptr;
};

napi_value create(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  if (arguments.environment() == nullptr) return nullptr;
  if (!arguments.is_object(0)) {
    static_cast<void>(napi_throw_type_error(env, nullptr, "create: options must be an object"));
    return nullptr;
  }
  napi_value handle = nullptr;
  if (napi_create_object(env, &handle) != napi_ok) return nullptr;
  Loop* loop = Loop::create(env, arguments[0]);
  if (loop == nullptr) return nullptr;
  const auto finalize = [](napi_env, void* data, void*) { static_cast<Loop*>(data)->unref(); };
  if (napi_wrap(env, handle, loop, finalize, nullptr, nullptr) != napi_ok) {
    loop->close();
    loop->unref();
    return nullptr;
  }
  if (napi_type_tag_object(env, handle, &arguments.environment()->tag) != napi_ok) {
    loop->close();
    return nullptr;
  }
  return handle;
}

napi_value add_slab(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  const uint32_t purpose = arguments.number(2);
  if (purpose > static_cast<uint32_t>(Purpose::tiny_input)) return arguments.result(-EINVAL);
  return arguments.result(loop->add_slab(arguments[1], static_cast<Purpose>(purpose)));
}

// handle, size: an ArrayBuffer to be added next, or undefined where there is no such memory.
napi_value slab_memory(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  return loop == nullptr ? nullptr : loop->make_memory(arguments.number(1));
}

// Bytes of such memory that wait to be used again.
napi_value idle_memory(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  const double bytes = loop == nullptr ? 0 : static_cast<double>(loop->idle_memory());
  napi_value result = nullptr;
  return napi_create_double(env, bytes, &result) == napi_ok ? result : nullptr;
}

napi_value reclaim(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->shared().reclaim(arguments.flag(1));
  return nullptr;
}

napi_value set_gauges(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  const bool ok = loop->shared().set_gauges(env, arguments[1], loop->engine());
  return arguments.result(ok ? 0 : -EINVAL);
}

// handle, stats, limits: an account of its own for sockets. Its number goes before an address.
napi_value open_account(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  engine::Limits limits;
  if (loop == nullptr) return arguments.result(-EBADF);
  if (!arguments.is_object(2) || !read_limits(env, arguments[2], limits)) {
    return arguments.result(-EINVAL);
  }
  return arguments.result(loop->shared().open_account(arguments[1], limits));
}

napi_value close_account(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->shared().close_account(arguments.number(1));
  return nullptr;
}

// handle, account, address, port, options
napi_value listen(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  const int parsed = arguments.address(2, address);
  if (parsed < 0) return arguments.result(parsed);
  engine::ListenOptions options;
  if (!read_options(env, arguments[4], listen_options_words, options))
    return arguments.result(-EINVAL);
  const auto account = loop->shared().account(arguments.number(1));
  return arguments.result(loop->engine().listen(address, options, account));
}

// handle, id, limits, and perhaps peers that those of prefixes are not for: from now on
napi_value limit_listener(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  engine::ListenLimits limits;
  if (loop == nullptr) return arguments.result(-EBADF);
  std::vector<engine::PrefixRange> exempt;
  if (!read_options(env, arguments[2], listen_limits_words, limits) ||
      !read_ranges(env, arguments[3], exempt)) {
    return arguments.result(-EINVAL);
  }
  loop->engine().limit_listener(arguments.number(1), limits);
  loop->engine().exempt(arguments.number(1), std::move(exempt));
  loop->watch_delay();
  return arguments.result(0);
}

// handle, id, counts: what a listener has counted, into a Float64Array
napi_value read_listener_counts(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  double* counts = doubles_of(env, arguments[2], listener_counts);
  if (counts == nullptr) return arguments.result(-EINVAL);
  bool overloaded = false;
  const engine::Admission* from = loop->engine().admission(arguments.number(1), overloaded);
  if (from == nullptr) return arguments.result(-EBADF);
  std::ranges::copy(from->counts, counts);
  counts[listener_connections] = from->connections();
  counts[listener_prefixes] = from->prefixes();
  counts[listener_overloaded] = overloaded ? 1 : 0;
  return arguments.result(0);
}

napi_value pause_listener(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->engine().pause_listener(arguments.number(1), arguments.flag(2));
  return nullptr;
}

napi_value close_listener(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->engine().close_listener(arguments.number(1));
  return nullptr;
}

// handle, account, address, port, options, and perhaps the local address and its port
napi_value connect(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  const int parsed = arguments.address(2, address);
  if (parsed < 0) return arguments.result(parsed);
  engine::ConnectOptions options;
  if (!read_options(env, arguments[4], socket_options_words, options.socket))
    return arguments.result(-EINVAL);
  options.bound = arguments.is_string(5);
  if (options.bound) {
    const int local = arguments.address(5, options.local);
    if (local < 0) return arguments.result(local - bind_failed);
  }
  bool of_local = false;
  const auto account = loop->shared().account(arguments.number(1));
  const int32_t id = loop->engine().connect(address, options, of_local, account);
  return arguments.result(of_local ? id - bind_failed : id);
}

// The options of a socket, as the kernel has them, into an Int32Array.
napi_value socket_options(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::SocketOptions options;
  const int status = loop->engine().options(arguments.number(1), options);
  if (status < 0) return arguments.result(status);
  int32_t* words = words_of(env, arguments[2], socket_options_words);
  if (words == nullptr) return arguments.result(-EINVAL);
  write_words(words, options);
  return arguments.result(0);
}

// handle, account, address, port, options: a socket for datagrams.
napi_value bind(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  engine::UdpSocketOptions options;
  const int parsed = arguments.address(2, address);
  if (parsed < 0) return arguments.result(parsed);
  if (!read_options(env, arguments[4], udp_socket_options_words, options) ||
      options.datagram_max > engine::DatagramBatch::length_max) {
    return arguments.result(-EINVAL);
  }
  const auto account = loop->shared().account(arguments.number(1));
  return arguments.result(loop->engine().bind(address, options, account));
}

// handle, id, interface, and, unless this is to be where multicast leaves: group, whether to join
// it
napi_value multicast(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  Arguments::Text interface;
  Arguments::Text group;
  if (loop == nullptr) return arguments.result(-EBADF);
  if (!arguments.text(2, interface)) return arguments.result(-EINVAL);
  const uint32_t id = arguments.number(1);
  if (!arguments.text(3, group)) {
    return arguments.result(loop->engine().multicast_interface(id, interface.data()));
  }
  engine::Address address;
  const int parsed = engine::Address::parse(group.data(), 0, address);
  if (parsed < 0) return arguments.result(parsed);
  return arguments.result(
      loop->engine().membership(id, address, interface.data(), arguments.flag(4)));
}

// A literal, into an Int32Array of six: port and family, four address words, the zone.
napi_value parse_address(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Arguments::Text literal;
  engine::Address address;
  int32_t* words = words_of(env, arguments[1], receiver_words);
  if (words == nullptr || !arguments.text(0, literal)) return arguments.result(-EINVAL);
  const int status = engine::Address::parse(literal.data(), 0, address);
  if (status < 0) return arguments.result(status);
  words[0] = address.port_and_family();
  address.words(words + 1);
  words[engine::address_words] =
      address.is_v6() ? static_cast<int32_t>(address.storage.v6.sin6_scope_id) : 0;
  return arguments.result(0);
}

napi_value local_address(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  const int status = loop->engine().local(arguments.number(1), address);
  return arguments.result(status, address, 2);
}

napi_value remote_address(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  const int status = loop->engine().remote(arguments.number(1), address);
  return arguments.result(status, address, 2);
}

// Sets it, if there is a third argument; returns what it is.
napi_value type_of_service(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  const uint32_t id = arguments.number(1);
  if (arguments.is_number(2)) {
    const int status =
        loop->engine().set_type_of_service(id, static_cast<int>(arguments.number(2)));
    if (status < 0) return arguments.result(status);
  }
  return arguments.result(loop->engine().type_of_service(id));
}

// handle, id, and a Float64Array for what is known of the connection.
napi_value connection_info(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  double* words = doubles_of(env, arguments[2], engine::connectioninfo_count);
  if (words == nullptr) return arguments.result(-EINVAL);
  engine::ConnectionInfo known;
  const int status = loop->engine().info(arguments.number(1), known);
  if (status == 0) std::memcpy(words, &known, sizeof(known));
  return arguments.result(status);
}

int shared_descriptor(const Arguments& arguments) {
  Loop* loop = arguments.loop();
  return loop == nullptr ? -EBADF : loop->engine().share(arguments.number(1));
}

// Of a socket, which keeps it: who gets the number may not close it.
napi_value descriptor(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return arguments.result(shared_descriptor(arguments));
}

// A further one for the same socket, which is the caller's.
napi_value duplicate(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const int descriptor = shared_descriptor(arguments);
  if (descriptor < 0) return arguments.result(descriptor);
  return arguments.result(engine::duplicate(descriptor));
}

// What a descriptor is to be adopted as.
engine::Adoptable adoptable(const Arguments& arguments, size_t index) {
  const uint32_t number = arguments.number(index);
  return number <= static_cast<uint32_t>(engine::Adoptable::connection)
             ? static_cast<engine::Adoptable>(number)
             : engine::Adoptable::connection;
}

// descriptor, as what: whether it can be adopted: 1 for a Unix socket, 0 for TCP, or negative
// errno.
napi_value check_adoptable(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  bool unix_domain = false;
  const int result =
      engine::check_adoptable(arguments.descriptor(0), adoptable(arguments, 1), unix_domain);
  return arguments.result(result < 0 ? result : unix_domain ? 1 : 0);
}

// A further one of a descriptor of anybody's, which is the caller's.
napi_value duplicate_descriptor(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return arguments.result(engine::duplicate(arguments.descriptor(0)));
}

napi_value close_on_exec(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  return arguments.result(engine::close_on_exec(arguments.descriptor(0)));
}

// handle, account, descriptor, options, as what, whether a Unix socket's file goes with it
napi_value adopt_listener(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::ListenOptions options;
  if (!read_options(env, arguments[3], listen_options_words, options)) {
    return arguments.result(-EINVAL);
  }
  const auto account = loop->shared().account(arguments.number(1));
  return arguments.result(loop->engine().adopt_listener(
      arguments.descriptor(2), options, adoptable(arguments, 4), arguments.flag(5), account));
}

// handle, account, descriptor, options
napi_value adopt_connection(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  engine::SocketOptions options;
  if (!read_options(env, arguments[3], socket_options_words, options)) {
    return arguments.result(-EINVAL);
  }
  const auto account = loop->shared().account(arguments.number(1));
  return arguments.result(
      loop->engine().adopt_connection(arguments.descriptor(2), options, account));
}

// handle, descriptor: whether the engine has adopted it, or has told its number.
napi_value knows_descriptor(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  const bool known = loop != nullptr && loop->engine().knows(arguments.descriptor(1));
  return arguments.result(known ? 1 : 0);
}

napi_value disown_file(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->engine().disown_file(arguments.number(1));
  return nullptr;
}

// handle, descriptor: whether it is a listener of the engine's, with which its file goes now.
napi_value own_file(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  const bool found = loop != nullptr && loop->engine().own_file(arguments.descriptor(1));
  napi_value result = nullptr;
  return napi_get_boolean(env, found, &result) == napi_ok ? result : nullptr;
}

napi_value same_user(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  return arguments.result(loop->engine().same_user(arguments.number(1)));
}

// handle, id: the path of a Unix socket, or undefined if it has none.
napi_value socket_path(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  engine::Address address;
  if (loop == nullptr || loop->engine().local(arguments.number(1), address) < 0) return nullptr;
  constexpr size_t before = offsetof(sockaddr_un, sun_path);
  if (!address.is_unix() || address.length <= before) return nullptr;
  const char* path = address.storage.un.sun_path;
  // A name of the abstract kind begins with a zero byte, and has none at its end.
  const size_t most = address.length - before;
  const size_t length = path[0] == '\0' ? most : strnlen(path, most);
  napi_value result = nullptr;
  return napi_create_string_utf8(env, path, length, &result) == napi_ok ? result : nullptr;
}

napi_value carry_descriptors(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  return arguments.result(loop->engine().carry_descriptors(arguments.number(1)));
}

// handle, id, bytes, an Int32Array of descriptors: how many bytes were sent.
napi_value send_descriptors(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  napi_typedarray_type type = napi_int8_array;
  size_t length = 0;
  void* data = nullptr;
  size_t count = 0;
  void* descriptors = nullptr;
  if (napi_get_typedarray_info(env, arguments[2], &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != napi_uint8_array) {
    return arguments.result(-EINVAL);
  }
  if (napi_get_typedarray_info(env, arguments[3], &type, &count, &descriptors, nullptr, nullptr) !=
          napi_ok ||
      type != napi_int32_array) {
    return arguments.result(-EINVAL);
  }
  return arguments.result(static_cast<int32_t>(
      loop->engine().send_descriptors(arguments.number(1), static_cast<const uint8_t*>(data),
                                      length, static_cast<const int*>(descriptors), count)));
}

// handle, id, an Int32Array: how many descriptors are in it now; they are the caller's.
napi_value take_descriptors(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  napi_typedarray_type type = napi_int8_array;
  size_t count = 0;
  void* out = nullptr;
  if (loop == nullptr) return arguments.result(-EBADF);
  if (napi_get_typedarray_info(env, arguments[2], &type, &count, &out, nullptr, nullptr) !=
          napi_ok ||
      type != napi_int32_array) {
    return arguments.result(-EINVAL);
  }
  return arguments.result(static_cast<int32_t>(
      loop->engine().take_descriptors(arguments.number(1), static_cast<int*>(out), count)));
}

// '' if there is TLS, or what is missing.
napi_value find_tls(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Environment* environment = arguments.environment();
  napi_value result = nullptr;
  const char* missing = "";
  if (environment != nullptr && environment->openssl == nullptr) {
    environment->openssl = OpenSsl::find(missing);
  }
  const char* text = missing == nullptr ? "" : missing;
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &result) == napi_ok ? result
                                                                                  : nullptr;
}

// address, server, requestCert, rejectUnauthorized, asks, protocols: an object that stands for a
// context of OpenSSL's.
napi_value tls_context(napi_env env, napi_callback_info info) {
  Arguments arguments(env, info);
  Environment* environment = arguments.environment();
  if (environment == nullptr || environment->openssl == nullptr) return nullptr;
  engine::SSL_CTX* shared = context_at(env, arguments[0]);
  if (shared == nullptr) return nullptr;
  auto context = std::make_shared<TlsContext>(environment->openssl, shared, arguments.flag(1));
  context->request_certificate = arguments.flag(2);
  context->reject_unauthorized = arguments.flag(3);
  context->asks = arguments.flag(4);
  static_cast<void>(bytes_of(env, arguments[5], context->protocols));
  return wrap_context(env, environment->context_tag, std::move(context));
}

// handle, id, context, and of a client the server's name and a session
napi_value start_tls(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop == nullptr) return arguments.result(-EBADF);
  auto context = unwrap_context(env, arguments.environment()->context_tag, arguments[2]);
  if (context == nullptr) return arguments.result(-EINVAL);
  engine::TlsTarget target;
  std::vector<uint8_t> name;
  // As bytes, since it may be longer than a `Text`.
  static_cast<void>(bytes_of(env, arguments[3], name));
  target.server_name.assign(name.begin(), name.end());
  static_cast<void>(bytes_of(env, arguments[4], target.session));
  return arguments.result(
      loop->engine().start_tls(arguments.number(1), std::move(context), target));
}

// handle, id, bytes that were received before TLS began, and are of it
napi_value prepend_tls(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  std::vector<uint8_t> bytes;
  if (loop == nullptr || !bytes_of(env, arguments[2], bytes)) return nullptr;
  loop->engine().prepend_tls(arguments.number(1), bytes.data(), bytes.size());
  return nullptr;
}

// handle, id, address: whether it has a certificate. undefined for the one that there is.
napi_value answer_tls(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  napi_value result = nullptr;
  if (loop == nullptr) return nullptr;
  const bool right = loop->engine().answer_tls(arguments.number(1), context_at(env, arguments[2]));
  return napi_get_boolean(env, right, &result) == napi_ok ? result : nullptr;
}

const Tls* tls_of(const Arguments& arguments) {
  Loop* loop = arguments.loop();
  return loop == nullptr ? nullptr : loop->engine().tls(arguments.number(1));
}

napi_value tls_info(napi_env env, napi_callback_info info) {
  const Tls* tls = tls_of(Arguments(env, info));
  return tls == nullptr ? nullptr : describe_tls(env, *tls);
}

// handle, id, own
napi_value tls_certificates(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Tls* tls = tls_of(arguments);
  return tls == nullptr ? nullptr : certificates_of(env, *tls, arguments.flag(2));
}

napi_value tls_session(napi_env env, napi_callback_info info) {
  const Tls* tls = tls_of(Arguments(env, info));
  return tls == nullptr ? nullptr : session_of(env, *tls);
}

// OpenSSL's numbers of an error and of what is wrong with a certificate, in words.
napi_value tls_error(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  const Environment* environment = arguments.environment();
  if (environment == nullptr || environment->openssl == nullptr) return nullptr;
  return error_in_words(env, *environment->openssl, arguments.number(0),
                        static_cast<int32_t>(arguments.number(1)));
}

// handle, account, descriptors (memory, a pipe, the acceptor's, a socket of its own or -1),
// whether it is a Unix socket, options: a listener that has its connections from an acceptor
napi_value borrow_listener(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  engine::ListenOptions options;
  const int32_t* descriptors = words_of(env, arguments[2], 4);
  if (loop == nullptr) return arguments.result(-EBADF);
  if (descriptors == nullptr || !read_options(env, arguments[4], listen_options_words, options)) {
    return arguments.result(-EINVAL);
  }
  const auto account = loop->shared().account(arguments.number(1));
  const engine::InletDescriptors theirs{descriptors[0], descriptors[1], descriptors[2],
                                        descriptors[3]};
  return arguments.result(
      loop->engine().borrow_listener(theirs, arguments.flag(3), options, account));
}

// An acceptor, and the function that it calls to ask where connections go; nullptr if it asks
// nobody.
struct AcceptorHolder {
  std::unique_ptr<engine::Acceptor> acceptor;
  napi_threadsafe_function ask = nullptr;

  engine::Acceptor* operator->() const { return acceptor.get(); }
  void close() {
    // Its thread may call the function until it has ended.
    acceptor.reset();
    if (ask == nullptr) return;
    static_cast<void>(
        napi_release_threadsafe_function(std::exchange(ask, nullptr), napi_tsfn_abort));
  }
};

// At the end of the environment, whatever of it is left.
void close_acceptor_of(void* data) {
  static_cast<AcceptorHolder*>(data)->close();
}

// bytes of a prefix, milliseconds to wait for them, the function to call when there are questions;
// all undefined if connections are not routed. An object that stands for an acceptor, whose thread
// runs; or a negative errno.
napi_value create_acceptor(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  napi_value handle = nullptr;
  if (arguments.environment() == nullptr || napi_create_object(env, &handle) != napi_ok) {
    return nullptr;
  }
  auto holder = std::make_unique<AcceptorHolder>();
  holder->acceptor = std::make_unique<engine::Acceptor>();
  engine::Routing routing;
  napi_valuetype type = napi_undefined;
  if (napi_typeof(env, arguments[2], &type) != napi_ok) return nullptr;
  if (type == napi_function) {
    napi_value name = nullptr;
    if (napi_create_string_utf8(env, "marketplace: route", NAPI_AUTO_LENGTH, &name) != napi_ok ||
        napi_create_threadsafe_function(env, arguments[2], nullptr, name, 1, 1, nullptr, nullptr,
                                        nullptr, nullptr, &holder->ask) != napi_ok) {
      return nullptr;
    }
    // It is the listeners' users that keep the process alive.
    static_cast<void>(napi_unref_threadsafe_function(env, holder->ask));
    // One call that is under way is enough.
    routing.ask = [ask = holder->ask] {
      static_cast<void>(napi_call_threadsafe_function(ask, nullptr, napi_tsfn_nonblocking));
    };
    routing.prefix_max = arguments.number(0);
    routing.wait_ms = static_cast<int64_t>(arguments.number(1));
  }
  const int result = holder->acceptor->open(std::move(routing));
  if (result < 0) {
    holder->close();
    return arguments.result(result);
  }
  const auto finalize = [](napi_env of, void* data, void*) {
    static_cast<void>(napi_remove_env_cleanup_hook(of, close_acceptor_of, data));
    static_cast<AcceptorHolder*>(data)->close();
    delete static_cast<AcceptorHolder*>(data);
  };
  if (napi_add_env_cleanup_hook(env, close_acceptor_of, holder.get()) != napi_ok) {
    holder->close();
    return nullptr;
  }
  if (napi_wrap(env, handle, holder.get(), finalize, nullptr, nullptr) != napi_ok) {
    static_cast<void>(napi_remove_env_cleanup_hook(env, close_acceptor_of, holder.get()));
    holder->close();
    return nullptr;
  }
  static_cast<void>(holder.release());
  if (napi_type_tag_object(env, handle, &arguments.environment()->acceptor_tag) != napi_ok) {
    return nullptr;
  }
  return handle;
}

// The first argument's; nullptr if that is none, or closed.
AcceptorHolder* acceptor_of(const Arguments& arguments) {
  bool tagged = false;
  void* data = nullptr;
  if (arguments.environment() == nullptr || !arguments.is_object(0)) return nullptr;
  const napi_status status = napi_check_object_type_tag(
      arguments.env(), arguments[0], &arguments.environment()->acceptor_tag, &tagged);
  if (status != napi_ok || !tagged) return nullptr;
  if (napi_unwrap(arguments.env(), arguments[0], &data) != napi_ok) return nullptr;
  AcceptorHolder* holder = static_cast<AcceptorHolder*>(data);
  return holder->acceptor == nullptr ? nullptr : holder;
}

// handle, address, port, options, how many places have a socket of their own: the id of a listener
napi_value acceptor_listen(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  engine::Address address;
  engine::ListenOptions options;
  if (acceptor == nullptr) return arguments.result(-EBADF);
  const int parsed = arguments.address(1, address);
  if (parsed < 0) return arguments.result(parsed);
  if (!read_options(env, arguments[3], listen_options_words, options)) {
    return arguments.result(-EINVAL);
  }
  const auto places = static_cast<int32_t>(arguments.number(4));
  return arguments.result((*acceptor)->listen(address, options, places));
}

// handle, listener, an Int32Array of five for its address
napi_value acceptor_address(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  if (acceptor == nullptr) return arguments.result(-EBADF);
  engine::Address address;
  const int status = (*acceptor)->local(static_cast<int32_t>(arguments.number(1)), address);
  return arguments.result(status, address, 2);
}

// handle, listener, worker, its place, an Int32Array of five: id, memory, a pipe, the acceptor's,
// its own socket or -1
napi_value acceptor_sit(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  int32_t* out = words_of(env, arguments[4], 5);
  if (acceptor == nullptr) return arguments.result(-EBADF);
  if (out == nullptr) return arguments.result(-EINVAL);
  engine::Acceptor::Seat seat{};
  const int result = (*acceptor)->sit(static_cast<int32_t>(arguments.number(1)),
                                      static_cast<int32_t>(arguments.number(2)),
                                      static_cast<int32_t>(arguments.number(3)), seat);
  if (result < 0) return arguments.result(result);
  out[0] = seat.id;
  out[1] = seat.descriptors.memory;
  out[2] = seat.descriptors.told;
  out[3] = seat.descriptors.acceptor;
  out[4] = seat.descriptors.socket;
  return arguments.result(0);
}

// What a call about one listener, worker or seat does.
template <void (engine::Acceptor::*Deed)(int32_t)>
napi_value acceptor_do(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  if (acceptor != nullptr)
    (acceptor->acceptor.get()->*Deed)(static_cast<int32_t>(arguments.number(1)));
  return nullptr;
}

// handle, worker, a Float64Array of five: live, waiting, given; unplaced, the last failure
napi_value acceptor_counts(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  double* out = doubles_of(env, arguments[2], 5);
  if (acceptor == nullptr) return arguments.result(-EBADF);
  if (out == nullptr) return arguments.result(-EINVAL);
  const auto counts = (*acceptor)->counts(static_cast<int32_t>(arguments.number(1)));
  out[0] = counts.live;
  out[1] = counts.waiting;
  out[2] = static_cast<double>(counts.given);
  out[3] = (*acceptor)->unplaced();
  out[4] = (*acceptor)->take_failure();
  return arguments.result(0);
}

// handle, a Uint8Array for the prefix, a Float64Array for what is asked: id, listener, whether it
// is the last time, five words of the peer's address. How long the prefix is, or -EAGAIN
napi_value acceptor_next_question(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  constexpr size_t before = 3;
  double* out = doubles_of(env, arguments[2], before + engine::address_words);
  size_t size = 0;
  uint8_t* prefix = octets_of(env, arguments[1], size);
  if (acceptor == nullptr) return arguments.result(-EAGAIN);
  if (out == nullptr || prefix == nullptr) return arguments.result(-EINVAL);
  engine::Unrouted::Question question;
  const ssize_t length = (*acceptor)->next_question(question, prefix, size);
  if (length < 0) return arguments.result(static_cast<int32_t>(length));
  out[0] = static_cast<double>(question.id);
  out[1] = question.listener;
  out[2] = question.last ? 1 : 0;
  std::array<int32_t, engine::address_words> peer{};
  question.peer.pack(peer.data());
  for (size_t i = 0; i < peer.size(); i++) out[before + i] = peer[i];
  return arguments.result(static_cast<int32_t>(length));
}

// handle, id, where
napi_value acceptor_answer(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  AcceptorHolder* acceptor = acceptor_of(arguments);
  if (acceptor == nullptr) return arguments.result(-EBADF);
  double id = 0;
  int32_t where = 0;
  if (napi_get_value_double(env, arguments[1], &id) != napi_ok ||
      napi_get_value_int32(env, arguments[2], &where) != napi_ok) {
    return arguments.result(-EINVAL);
  }
  return arguments.result((*acceptor)->answer(static_cast<uint64_t>(id), where));
}

// Its thread ends, its listeners are closed.
napi_value acceptor_close(napi_env env, napi_callback_info info) {
  AcceptorHolder* acceptor = acceptor_of(Arguments(env, info));
  if (acceptor != nullptr) acceptor->close();
  return nullptr;
}

bool set_text(napi_env env, napi_value object, const char* name, const char* text) {
  napi_value value = nullptr;
  return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok &&
         napi_set_named_property(env, object, name, value) == napi_ok;
}

// What the engine runs on: { backend, requested, reason, features }.
napi_value info(napi_env env, napi_callback_info call) {
  const Arguments arguments(env, call);
  Loop* loop = arguments.loop();
  napi_value result = nullptr;
  if (loop == nullptr) return nullptr;
  const engine::BackendInfo& from = loop->info();
  std::string features;
  for (const char* feature : from.features) {
    features += features.empty() ? "" : ", ";
    features += feature;
  }
  const bool made = napi_create_object(env, &result) == napi_ok &&
                    set_text(env, result, "backend", from.backend) &&
                    set_text(env, result, "requested", from.requested) &&
                    set_text(env, result, "reason", from.reason.c_str()) &&
                    set_text(env, result, "features", features.c_str());
  return made ? result : nullptr;
}

napi_value set_ref(napi_env env, napi_callback_info info) {
  const Arguments arguments(env, info);
  Loop* loop = arguments.loop();
  if (loop != nullptr) loop->keep_alive(arguments.flag(1));
  return nullptr;
}

napi_value flush(napi_env env, napi_callback_info info) {
  Loop* loop = Arguments(env, info).loop();
  if (loop != nullptr) loop->flush();
  return nullptr;
}

napi_value close(napi_env env, napi_callback_info info) {
  Loop* loop = Arguments(env, info).loop();
  if (loop != nullptr) loop->close();
  return nullptr;
}

napi_value collect_young_now(napi_env env, napi_callback_info /*info*/) {
  napi_value result = nullptr;
  return napi_get_boolean(env, collect_young(env), &result) == napi_ok ? result : nullptr;
}

napi_value shrink_heap_soon(napi_env env, napi_callback_info /*info*/) {
  napi_value result = nullptr;
  return napi_get_boolean(env, shrink_heap(), &result) == napi_ok ? result : nullptr;
}

napi_value initialize(napi_env env, napi_value exports) {
  Environment* environment = new (std::nothrow) Environment;
  if (environment == nullptr) return nullptr;
  if (getrandom(&environment->tag, sizeof(environment->tag), 0) != sizeof(environment->tag)) {
    // An address is as different between two copies.
    environment->tag = napi_type_tag{reinterpret_cast<uintptr_t>(environment), 1};
  }
  environment->context_tag = napi_type_tag{environment->tag.lower, ~environment->tag.upper};
  environment->acceptor_tag = napi_type_tag{~environment->tag.lower, environment->tag.upper};
  const auto finalize = [](napi_env, void* data, void*) { delete static_cast<Environment*>(data); };
  if (napi_set_instance_data(env, environment, finalize, nullptr) != napi_ok) {
    delete environment;
    return nullptr;
  }
  const auto function = [environment](const char* name, napi_callback callback) {
    return napi_property_descriptor{name,    nullptr, callback,        nullptr,
                                    nullptr, nullptr, napi_enumerable, environment};
  };
  const napi_property_descriptor functions[] = {
      function("create", create),
      function("addSlab", add_slab),
      function("slabMemory", slab_memory),
      function("idleMemory", idle_memory),
      function("reclaim", reclaim),
      function("setGauges", set_gauges),
      function("openAccount", open_account),
      function("closeAccount", close_account),
      function("listen", listen),
      function("closeListener", close_listener),
      function("limitListener", limit_listener),
      function("listenerCounts", read_listener_counts),
      function("pauseListener", pause_listener),
      function("connect", connect),
      function("socketOptions", socket_options),
      function("bind", bind),
      function("multicast", multicast),
      function("parseAddress", parse_address),
      function("localAddress", local_address),
      function("remoteAddress", remote_address),
      function("typeOfService", type_of_service),
      function("connectionInfo", connection_info),
      function("descriptor", descriptor),
      function("duplicate", duplicate),
      function("checkAdoptable", check_adoptable),
      function("duplicateDescriptor", duplicate_descriptor),
      function("closeOnExec", close_on_exec),
      function("adoptListener", adopt_listener),
      function("adoptConnection", adopt_connection),
      function("knowsDescriptor", knows_descriptor),
      function("disownFile", disown_file),
      function("ownFile", own_file),
      function("sameUser", same_user),
      function("socketPath", socket_path),
      function("carryDescriptors", carry_descriptors),
      function("sendDescriptors", send_descriptors),
      function("takeDescriptors", take_descriptors),
      function("findTls", find_tls),
      function("tlsContext", tls_context),
      function("startTls", start_tls),
      function("prependTls", prepend_tls),
      function("answerTls", answer_tls),
      function("tlsInfo", tls_info),
      function("tlsCertificates", tls_certificates),
      function("tlsSession", tls_session),
      function("tlsError", tls_error),
      function("borrowListener", borrow_listener),
      function("createAcceptor", create_acceptor),
      function("acceptorListen", acceptor_listen),
      function("acceptorAddress", acceptor_address),
      function("acceptorSit", acceptor_sit),
      function("acceptorCloseListener", acceptor_do<&engine::Acceptor::close_listener>),
      function("acceptorRetire", acceptor_do<&engine::Acceptor::retire>),
      function("acceptorRecall", acceptor_do<&engine::Acceptor::recall>),
      function("acceptorLeave", acceptor_do<&engine::Acceptor::leave>),
      function("acceptorLeaveSeat", acceptor_do<&engine::Acceptor::leave_seat>),
      function("acceptorCounts", acceptor_counts),
      function("acceptorHurry", acceptor_do<&engine::Acceptor::hurry>),
      function("acceptorNextQuestion", acceptor_next_question),
      function("acceptorAnswer", acceptor_answer),
      function("acceptorClose", acceptor_close),
      function("info", info),
      function("setRef", set_ref),
      function("collectYoung", collect_young_now),
      function("shrinkHeap", shrink_heap_soon),
      function("flush", flush),
      function("close", close),
  };
  // Its failure leaves an exception, or an environment that is about to end.
  static_cast<void>(napi_define_properties(env, exports, std::size(functions), functions));
  return exports;
}

}  // namespace

NAPI_MODULE_INIT() {
  return initialize(env, exports);
}

}  // namespace marketplace::binding
