// The functions that JavaScript sees. No logic: decode, call, encode. Arguments were checked by
// src/transport/native.ts; what is checked here is what would otherwise corrupt memory.
//
// Per-environment state only, so that the addon loads in worker threads and more than once.
#include <napi.h>
#include <sys/random.h>

#include <cerrno>
#include <string>

#include "loop.h"

namespace marketplace::binding {

namespace {

struct Environment {
  // Random, as two copies of the addon may be loaded at once and must not take each other's handles.
  napi_type_tag tag{};
};

// The loop behind the first argument; nullptr if it is not one of ours or no longer open.
Loop* loop_of(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  bool tagged = false;
  void* loop = nullptr;
  const Environment* environment = static_cast<Environment*>(info.Data());
  if (info.Length() == 0 || !info[0].IsObject() ||
      napi_check_object_type_tag(env, info[0], &environment->tag, &tagged) != napi_ok || !tagged ||
      napi_unwrap(env, info[0], &loop) != napi_ok) {
    Napi::TypeError::New(env, "marketplace: not an engine handle").ThrowAsJavaScriptException();
    return nullptr;
  }
  Loop* result = static_cast<Loop*>(loop);
  return result->running() ? result : nullptr;
}

uint32_t number(const Napi::CallbackInfo& info, size_t index) {
  return info[index].IsNumber() ? info[index].As<Napi::Number>().Uint32Value() : 0;
}

Napi::Value result_of(const Napi::CallbackInfo& info, int32_t result) {
  return Napi::Number::New(info.Env(), result);
}

Napi::Value create(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  if (info.Length() != 1 || !info[0].IsObject()) {
    Napi::TypeError::New(env, "create: options must be an object").ThrowAsJavaScriptException();
    return env.Undefined();
  }
  Napi::Object handle = Napi::Object::New(env);
  Loop* loop = Loop::create(env, info[0]);
  if (loop == nullptr) return env.Undefined();
  const auto finalize = [](napi_env, void* data, void*) { static_cast<Loop*>(data)->unref(); };
  const Environment* environment = static_cast<Environment*>(info.Data());
  if (napi_wrap(env, handle, loop, finalize, nullptr, nullptr) != napi_ok) {
    loop->close();
    loop->unref();
    return env.Undefined();
  }
  if (napi_type_tag_object(env, handle, &environment->tag) != napi_ok) {
    loop->close();
    return env.Undefined();
  }
  return handle;
}

Napi::Value add_slab(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  const bool fill = info[2].ToBoolean();
  return result_of(info, loop->shared().add_slab(info.Env(), info[1], fill, loop->engine()));
}

Napi::Value set_gauges(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  const bool ok = loop->shared().set_gauges(info.Env(), info[1], loop->engine());
  return result_of(info, ok ? 0 : -EINVAL);
}

int parse_address(const Napi::CallbackInfo& info, engine::Address& out) {
  if (!info[1].IsString()) return -EINVAL;
  const std::string text = info[1].As<Napi::String>().Utf8Value();
  return engine::Address::parse(text.c_str(), static_cast<uint16_t>(number(info, 2)), out);
}

Napi::Value listen(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  engine::Address address;
  const int parsed = parse_address(info, address);
  if (parsed < 0) return result_of(info, parsed);
  const int backlog = static_cast<int>(number(info, 3));
  const bool v6_only = info[4].ToBoolean();
  return result_of(info, loop->engine().listen(address, backlog, v6_only));
}

Napi::Value close_listener(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop != nullptr) loop->engine().close_listener(number(info, 1));
  return info.Env().Undefined();
}

Napi::Value connect(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  engine::Address address;
  const int parsed = parse_address(info, address);
  return result_of(info, parsed < 0 ? parsed : loop->engine().connect(address));
}

// Writes an address into an Int32Array of five: port and family, then four words.
Napi::Value write_address(const Napi::CallbackInfo& info, int result, const engine::Address& from) {
  if (result < 0) return result_of(info, result);
  napi_typedarray_type type;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(info.Env(), info[2], &type, &length, &data, nullptr, nullptr) !=
          napi_ok ||
      type != napi_int32_array || length < 5) {
    return result_of(info, -EINVAL);
  }
  int32_t* words = static_cast<int32_t*>(data);
  words[0] = from.port_and_family();
  from.words(words + 1);
  return result_of(info, 0);
}

Napi::Value listener_address(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  engine::Address address;
  const int result = loop->engine().listener_address(number(info, 1), address);
  return write_address(info, result, address);
}

Napi::Value local_address(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop == nullptr) return result_of(info, -EBADF);
  engine::Address address;
  const int result = loop->engine().local(number(info, 1), address);
  return write_address(info, result, address);
}

Napi::Value flush(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop != nullptr) loop->flush();
  return info.Env().Undefined();
}

Napi::Value close(const Napi::CallbackInfo& info) {
  Loop* loop = loop_of(info);
  if (loop != nullptr) loop->close();
  return info.Env().Undefined();
}

Napi::Object initialize(Napi::Env env, Napi::Object exports) {
  Environment* environment = new Environment;
  if (getrandom(&environment->tag, sizeof(environment->tag), 0) != sizeof(environment->tag)) {
    environment->tag = napi_type_tag{reinterpret_cast<uintptr_t>(environment), 1};
  }
  env.SetInstanceData(environment);
  const auto add = [&](const char* name, Napi::Value (*function)(const Napi::CallbackInfo&)) {
    exports.Set(name, Napi::Function::New(env, function, name, environment));
  };
  add("create", create);
  add("addSlab", add_slab);
  add("setGauges", set_gauges);
  add("listen", listen);
  add("closeListener", close_listener);
  add("connect", connect);
  add("listenerAddress", listener_address);
  add("localAddress", local_address);
  add("flush", flush);
  add("close", close);
  return exports;
}

}  // namespace

NODE_API_MODULE(marketplace, initialize)

}  // namespace marketplace::binding
