// The datagram engine's functions for JavaScript; see udp.h. Plain Node-API, as in addon.cc: any
// call may fail when a worker is terminated.
#include "udp.h"

#include <array>
#include <cerrno>
#include <iterator>

#include "udp_loop.h"

namespace marketplace::binding {

namespace {

constexpr size_t address_words = 6;
constexpr size_t option_words = 10;

// The loop and the arguments of one call. What is missing or of the wrong type reads as zero.
class Call {
 public:
  Call(napi_env env, napi_callback_info info) : env_(env) {
    size_t count = values_.size();
    void* loop = nullptr;
    napi_value self = nullptr;
    // That it is one of ours, V8 has checked: methods of a class take no other `this`.
    if (napi_get_cb_info(env, info, &count, values_.data(), &self, nullptr) == napi_ok &&
        napi_unwrap(env, self, &loop) == napi_ok) {
      loop_ = static_cast<UdpLoop*>(loop);
    }
  }

  napi_value operator[](size_t index) const { return values_[index]; }

  // nullptr once it is closed.
  UdpLoop* loop() const { return loop_ != nullptr && loop_->running() ? loop_ : nullptr; }

  uint32_t number(size_t index) const {
    uint32_t result = 0;
    return napi_get_value_uint32(env_, values_[index], &result) == napi_ok ? result : 0;
  }

  bool flag(size_t index) const {
    bool result = false;
    return napi_get_value_bool(env_, values_[index], &result) == napi_ok && result;
  }

  // Longer than any literal with its zone; what is cut off cannot have been one.
  using Text = std::array<char, 128>;
  Text text(size_t index) const {
    Text result{};
    size_t length = 0;
    if (napi_get_value_string_utf8(env_, values_[index], result.data(), result.size(), &length) !=
        napi_ok) {
      result[0] = '\0';
    }
    return result;
  }

  int address(size_t index, uint32_t port, engine::Address& out) const {
    return engine::Address::parse(text(index).data(), static_cast<uint16_t>(port), out);
  }

  // The memory of an Int32Array with at least so many words; nullptr if it is not one.
  int32_t* words(size_t index, size_t count) const {
    napi_typedarray_type type = napi_uint8_array;
    size_t length = 0;
    void* data = nullptr;
    bool is_array = false;
    if (napi_is_typedarray(env_, values_[index], &is_array) != napi_ok || !is_array ||
        napi_get_typedarray_info(env_, values_[index], &type, &length, &data, nullptr, nullptr) !=
            napi_ok ||
        type != napi_int32_array || length < count) {
      return nullptr;
    }
    return static_cast<int32_t*>(data);
  }

  napi_value result(int32_t value) const {
    napi_value result = nullptr;
    return napi_create_int32(env_, value, &result) == napi_ok ? result : nullptr;
  }

 private:
  napi_env env_;
  // Where fewer were given, Node-API fills in `undefined`.
  std::array<napi_value, 4> values_{};
  UdpLoop* loop_ = nullptr;
};

void write_address(const engine::Address& from, int32_t* to) {
  to[0] = from.port_and_family();
  from.words(to + 1);
  to[5] = from.is_v6() ? static_cast<int32_t>(from.storage.v6.sin6_scope_id) : 0;
}

napi_value construct(napi_env env, napi_callback_info info) {
  size_t count = 1;
  napi_value options = nullptr;
  napi_value self = nullptr;
  napi_value target = nullptr;
  napi_valuetype type = napi_undefined;
  if (napi_get_new_target(env, info, &target) != napi_ok ||
      napi_get_cb_info(env, info, &count, &options, &self, nullptr) != napi_ok ||
      napi_typeof(env, options, &type) != napi_ok) {
    return nullptr;
  }
  if (target == nullptr || type != napi_object) {
    static_cast<void>(napi_throw_type_error(env, nullptr, "new Udp: options must be an object"));
    return nullptr;
  }
  UdpLoop* loop = UdpLoop::create(env, options);
  if (loop == nullptr) return nullptr;
  const auto finalize = [](napi_env, void* data, void*) { static_cast<UdpLoop*>(data)->unref(); };
  if (napi_wrap(env, self, loop, finalize, nullptr, nullptr) != napi_ok) {
    loop->close();
    loop->unref();
    return nullptr;
  }
  return self;
}

napi_value add_slab(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.result(call.loop() == nullptr ? -EBADF : call.loop()->add_slab(call[0]));
}

// size: an ArrayBuffer to be added next, or undefined where there is no such memory.
napi_value slab_memory(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  return call.loop() == nullptr ? nullptr : call.loop()->make_memory(call.number(0));
}

napi_value release_slab(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() != nullptr) call.loop()->release_slab(call.number(0));
  return nullptr;
}

// address, port, options
napi_value bind(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() == nullptr) return call.result(-EBADF);
  const int32_t* values = call.words(2, option_words);
  if (values == nullptr) return call.result(-EINVAL);
  engine::UdpSocketOptions options;
  options.v6_only = values[0];
  options.reuse_address = values[1];
  options.broadcast = values[2];
  options.ttl = values[3];
  options.multicast_ttl = values[4];
  options.multicast_loopback = values[5];
  options.receive_buffer = values[6];
  options.send_buffer = values[7];
  options.datagram_max = static_cast<uint32_t>(values[8]);
  options.queue_max = static_cast<uint32_t>(values[9]);
  // The engine's memory for one datagram.
  if (values[8] <= 0 || options.datagram_max > engine::UdpPool::place_size) {
    return call.result(-EINVAL);
  }
  engine::Address address;
  const int parsed = call.address(0, call.number(1), address);
  return call.result(parsed < 0 ? parsed : call.loop()->engine().bind(address, options));
}

// id, words
napi_value address(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  int32_t* to = call.words(1, address_words);
  if (call.loop() == nullptr || to == nullptr) return call.result(-EBADF);
  engine::Address found;
  const int result = call.loop()->engine().address(call.number(0), found);
  if (result == 0) write_address(found, to);
  return call.result(result);
}

// id, group, interface, whether to join
napi_value membership(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() == nullptr) return call.result(-EBADF);
  engine::Address group;
  const int parsed = call.address(1, 0, group);
  if (parsed < 0) return call.result(parsed);
  engine::UdpEngine& engine = call.loop()->engine();
  return call.result(engine.membership(call.number(0), group, call.text(2).data(), call.flag(3)));
}

// id, interface
napi_value multicast_interface(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() == nullptr) return call.result(-EBADF);
  engine::UdpEngine& engine = call.loop()->engine();
  return call.result(engine.multicast_interface(call.number(0), call.text(1).data()));
}

// address, words
napi_value parse(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  int32_t* to = call.words(1, address_words);
  if (to == nullptr) return call.result(-EINVAL);
  engine::Address parsed;
  const int result = call.address(0, 0, parsed);
  if (result == 0) write_address(parsed, to);
  return call.result(result);
}

napi_value flush(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() != nullptr) call.loop()->flush();
  return nullptr;
}

napi_value close(napi_env env, napi_callback_info info) {
  const Call call(env, info);
  if (call.loop() != nullptr) call.loop()->close();
  return nullptr;
}

}  // namespace

bool export_udp(napi_env env, napi_value exports) {
  const auto method = [](const char* name, napi_callback callback) {
    return napi_property_descriptor{name,    nullptr, callback,     nullptr,
                                    nullptr, nullptr, napi_default, nullptr};
  };
  const napi_property_descriptor methods[] = {
      method("addSlab", add_slab),
      method("slabMemory", slab_memory),
      method("releaseSlab", release_slab),
      method("bind", bind),
      method("address", address),
      method("membership", membership),
      method("multicastInterface", multicast_interface),
      method("parse", parse),
      method("flush", flush),
      method("close", close),
  };
  napi_value type = nullptr;
  return napi_define_class(env, "Udp", NAPI_AUTO_LENGTH, construct, nullptr, std::size(methods),
                           methods, &type) == napi_ok &&
         napi_set_named_property(env, exports, "Udp", type) == napi_ok;
}

}  // namespace marketplace::binding
