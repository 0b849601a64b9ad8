// What can be asked of TCP sockets before they are used, which socket.cc applies; and the limits of
// what they queue. Plain data.
//
// Invariants: the defaults ask for nothing that costs a system call but TCP_NODELAY; a size, a time
// or a count of 0 leaves the system's own.
#pragma once

#include <cstddef>
#include <cstdint>

#include "address.h"
#include "token_bucket.h"

namespace marketplace::engine {

// Of every connection. A listener has them too, and what it accepts inherits them from it.
struct SocketOptions {
  bool no_delay = true;
  bool keep_alive = false;
  int32_t keep_alive_idle_s = 0;
  int32_t keep_alive_interval_s = 0;
  int32_t keep_alive_count = 0;
  int32_t user_timeout_ms = 0;
  int32_t send_buffer_size = 0;
  int32_t receive_buffer_size = 0;
};

// What a listener takes at most, of whom; see admission.h. 0 is no limit.
struct ListenLimits {
  // Open connections from which on new ones are reset; -1: no limit.
  int32_t most = -1;
  // The same of one prefix.
  uint32_t prefix_connections_max = 0;
  // New connections, in all and of one prefix.
  Rate rate;
  Rate prefix_rate;
  // Bytes received on each connection.
  Rate receive_rate;
  // Bits of an address that are a prefix.
  uint8_t prefix_v4 = 32;
  uint8_t prefix_v6 = 64;
  // Prefixes without connections that are remembered.
  uint32_t idle_prefixes_max = 65'536;
  // Within which the first byte has to come, and all of a frame that has begun.
  uint32_t first_byte_ms = 0;
  uint32_t frame_ms = 0;
  // Nothing is accepted while the host's event loop is delayed by so much.
  uint32_t pause_above_ms = 0;

  uint32_t connections_max() const { return most < 0 ? UINT32_MAX : static_cast<uint32_t>(most); }
};

struct ListenOptions {
  SocketOptions socket;
  int32_t backlog = 511;
  // `::` accepts IPv6 only.
  bool v6_only = false;
  // Others may listen on the same address too, if they ask for the same.
  bool reuse_port = false;
  // Fail while connections of an earlier listener linger on the port.
  bool exclusive = false;
  // What is accepted is not read before `Engine::pause(id, false)`.
  bool pause_accepted = false;
  ListenLimits limits;
};

// What one account may queue, and how long its connections may take to close: see connection.h.
struct Limits {
  int64_t close_timeout_ms = 10'000;
  // Bytes that may be queued for one connection, and for all together, when `flush` returns.
  size_t queued_max = SIZE_MAX;
  size_t queued_total_max = SIZE_MAX;
  // Beyond them: stop reading until half of that is queued. Otherwise -ENOBUFS ends the connection
  // in question, or those with the longest queues.
  bool overflow_pauses = false;
};

struct ConnectOptions {
  SocketOptions socket;
  // Whether to connect from `local`, whose port may be 0.
  bool bound = false;
  Address local{};
};

}  // namespace marketplace::engine
