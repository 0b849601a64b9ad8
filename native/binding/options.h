// Socket options as JavaScript hands them over: words of an Int32Array, in place of an object whose
// properties would have to be asked for one by one. src/transport/native/options.ts is the other
// side.
//
//   0 noDelay, 1 keepAlive (0 or 1), 2 idle and 3 interval (seconds), 4 count, 5 userTimeout (ms),
//   6 sendBufferSize, 7 receiveBufferSize (bytes); of a listener also
//   8 backlog, 9 flags (1 ipv6Only, 2 reusePort, 4 exclusive, 8 pauseOnAccept), 10 maxConnections.
//
// Of a socket for datagrams they are those of `UdpSocketOptions`, in that order.
#pragma once

#include <node_api.h>

#include <cstddef>

#include "../engine/options.h"
#include "../engine/udp_socket.h"

namespace marketplace::binding {

// The properties of an object. False: it is not there, or of the wrong kind.
class Properties {
 public:
  Properties(napi_env env, napi_value object) : env_(env), object_(object) {}
  bool number(const char* name, uint32_t& out) const;
  bool flag(const char* name, bool& out) const;
  // Bytes, or milliseconds: not negative; from 2^53 on, Infinity included, `out` stays as it is.
  bool amount(const char* name, size_t& out) const;

 private:
  napi_env env_;
  napi_value object_;
};

// The array's memory; nullptr if it is not an Int32Array, or too short.
int32_t* words_of(napi_env env, napi_value value, size_t count);

// False if the value is not an Int32Array with so many words, or one is out of range; or, of
// limits, no object with such properties.
bool read_limits(napi_env env, napi_value object, engine::Limits& out);
bool read_listen_options(napi_env env, napi_value words, engine::ListenOptions& out);
bool read_socket_options(napi_env env, napi_value words, engine::SocketOptions& out);
bool read_udp_options(napi_env env, napi_value words, engine::UdpSocketOptions& out);
bool write_socket_options(napi_env env, napi_value words, const engine::SocketOptions& from);

}  // namespace marketplace::binding
