// Socket options from and to words; see options.h.
#include "options.h"

#include <cstddef>
#include <cstdint>

namespace marketplace::binding {

namespace {

constexpr size_t socket_words = 8;
constexpr size_t listen_words = 11;
constexpr size_t udp_words = 10;

engine::SocketOptions socket_options(const int32_t* words) {
  engine::SocketOptions result;
  result.no_delay = words[0] != 0;
  result.keep_alive = words[1] != 0;
  result.keep_alive_idle_s = words[2];
  result.keep_alive_interval_s = words[3];
  result.keep_alive_count = words[4];
  result.user_timeout_ms = words[5];
  result.send_buffer_size = words[6];
  result.receive_buffer_size = words[7];
  return result;
}

}  // namespace

bool Properties::number(const char* name, uint32_t& out) const {
  napi_value value = nullptr;
  return napi_get_named_property(env_, object_, name, &value) == napi_ok &&
         napi_get_value_uint32(env_, value, &out) == napi_ok;
}

bool Properties::flag(const char* name, bool& out) const {
  napi_value value = nullptr;
  return napi_get_named_property(env_, object_, name, &value) == napi_ok &&
         napi_get_value_bool(env_, value, &out) == napi_ok;
}

bool Properties::amount(const char* name, size_t& out) const {
  napi_value value = nullptr;
  double number = 0;
  if (napi_get_named_property(env_, object_, name, &value) != napi_ok) return false;
  if (napi_get_value_double(env_, value, &number) != napi_ok || !(number >= 0)) return false;
  if (number < 0x1p53) out = static_cast<size_t>(number);
  return true;
}

bool read_limits(napi_env env, napi_value object, engine::Limits& out) {
  const Properties from(env, object);
  size_t close_timeout_ms = static_cast<size_t>(out.close_timeout_ms);
  if (!from.amount("each", out.queued_max) || !from.amount("total", out.queued_total_max) ||
      !from.amount("closeTimeout", close_timeout_ms) || !from.flag("pauses", out.overflow_pauses)) {
    return false;
  }
  out.close_timeout_ms = static_cast<int64_t>(close_timeout_ms);
  return true;
}

int32_t* words_of(napi_env env, napi_value value, size_t count) {
  napi_typedarray_type type = napi_uint8_array;
  size_t length = 0;
  void* data = nullptr;
  if (napi_get_typedarray_info(env, value, &type, &length, &data, nullptr, nullptr) != napi_ok) {
    return nullptr;
  }
  return type == napi_int32_array && length >= count ? static_cast<int32_t*>(data) : nullptr;
}

bool read_socket_options(napi_env env, napi_value value, engine::SocketOptions& out) {
  const int32_t* words = words_of(env, value, socket_words);
  if (words == nullptr) return false;
  out = socket_options(words);
  return true;
}

bool read_listen_options(napi_env env, napi_value value, engine::ListenOptions& out) {
  const int32_t* words = words_of(env, value, listen_words);
  if (words == nullptr) return false;
  out.socket = socket_options(words);
  out.backlog = words[8];
  out.v6_only = (words[9] & 1) != 0;
  out.reuse_port = (words[9] & 2) != 0;
  out.exclusive = (words[9] & 4) != 0;
  out.pause_accepted = (words[9] & 8) != 0;
  out.connections_max = words[10];
  return true;
}

bool read_udp_options(napi_env env, napi_value value, engine::UdpSocketOptions& out) {
  const int32_t* words = words_of(env, value, udp_words);
  if (words == nullptr) return false;
  out.v6_only = words[0];
  out.reuse_address = words[1];
  out.broadcast = words[2];
  out.ttl = words[3];
  out.multicast_ttl = words[4];
  out.multicast_loopback = words[5];
  out.receive_buffer = words[6];
  out.send_buffer = words[7];
  out.datagram_max = static_cast<uint32_t>(words[8]);
  out.queue_max = static_cast<uint32_t>(words[9]);
  return out.datagram_max <= engine::DatagramBatch::length_max;
}

bool write_socket_options(napi_env env, napi_value value, const engine::SocketOptions& from) {
  int32_t* words = words_of(env, value, socket_words);
  if (words == nullptr) return false;
  words[0] = from.no_delay ? 1 : 0;
  words[1] = from.keep_alive ? 1 : 0;
  words[2] = from.keep_alive_idle_s;
  words[3] = from.keep_alive_interval_s;
  words[4] = from.keep_alive_count;
  words[5] = from.user_timeout_ms;
  words[6] = from.send_buffer_size;
  words[7] = from.receive_buffer_size;
  return true;
}

}  // namespace marketplace::binding
