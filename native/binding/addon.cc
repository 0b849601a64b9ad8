// The functions that JavaScript sees. No logic: decode, call, encode. Arguments were checked by
// src/transport/native/transport.ts; what is checked here is what would otherwise corrupt memory.
//
// Per-environment state only, so that the addon loads in worker threads and more than once. Plain
// Node-API throughout: a worker can be terminated inside any of these calls, each of which then
// fails, and the C++ wrappers answer such a failure by ending the process.
#include <node_api.h>
#include <sys/random.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <new>
#include <string>

#include "../engine/socket.h"
#include "heap.h"
#include "loop.h"
#include "options.h"

namespace marketplace::binding {

namespace {

struct Environment {
  // Random: two copies of the addon may be loaded at once and must not take each other's handles.
  napi_type_tag tag{};
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

  uint32_t number(size_t index) const {
    uint32_t result = 0;
    return napi_get_value_uint32(env_, values_[index], &result) == napi_ok ? result : 0;
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
      function("pauseListener", pause_listener),
      function("connect", connect),
      function("socketOptions", socket_options),
      function("bind", bind),
      function("multicast", multicast),
      function("parseAddress", parse_address),
      function("localAddress", local_address),
      function("remoteAddress", remote_address),
      function("typeOfService", type_of_service),
      function("descriptor", descriptor),
      function("duplicate", duplicate),
      function("info", info),
      function("setRef", set_ref),
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
