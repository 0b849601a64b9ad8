// The words that are shared with JavaScript: commands, options, counters. Made by
// scripts/layout.mjs from native/layout.mjs: change that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../engine/framer.h"
#include "../engine/options.h"
#include "../engine/udp_socket.h"

namespace marketplace::binding {

// 32-bit words of a command.
constexpr int32_t command_words = 4;
// Words before the first command, as in `header`.
constexpr int32_t command_header_words = 4;
// Of whom a datagram is for: the same, and the zone.
constexpr int32_t receiver_words = 6;
// Further below 0 than any errno: a failed connect is so much less if the local address is why.
constexpr int32_t bind_failed = 4096;
// Stands for a port where the address is the path of a Unix socket.
constexpr int32_t unix_port = -1;

// How many commands follow: JavaScript counts up, who executes them sets it to 0.
constexpr int32_t header_count = 0;
// What is to become of the views of slabs, as `views` has it.
constexpr int32_t header_views = 1;

// What the program says of the views that it was given.
enum class Views : int32_t {
  // Slabs may be filled again.
  over = 1,
  // Full slabs are to be replaced.
  kept = 2,
};

enum class Command : int32_t {
  // Bytes of a slab.
  write = 1,
  // A whole buffer, by its index in the list of large ones.
  write_large = 2,
  shutdown = 3,
  close = 4,
  abort = 5,
  pause = 6,
  resume = 7,
  report_writes_on = 8,
  report_writes_off = 9,
  // JavaScript has seen that the slab is retired.
  release_slab = 10,
  // Milliseconds; 0: none.
  idle_timeout = 11,
  no_delay = 12,
  // Idle time and interval are seconds; `count` is of probes.
  keep_alive = 13,
  // As `write`, but the memory is not used after `flush`: what is left is copied.
  write_taken = 14,
  // As `writeLarge`, the same.
  write_large_taken = 15,
  // Milliseconds; 0: none.
  input_timeout = 16,
  expect_input = 17,
  // A datagram: bytes of a slab, after the words of whom it is for, which `length` doesn't count.
  send = 18,
  // Frames are to be found in what comes: the words of `options.frame`, and then a delimiter, of
  // which `length` is the length.
  frame = 19,
  secure = 20,
};

inline Command operation_of(const int32_t* words) {
  return static_cast<Command>(words[0] & 0xff);
}

// Also write_taken, send, frame.
struct WriteCommand {
  explicit WriteCommand(const int32_t* words)
      : slab(static_cast<uint32_t>(words[0]) >> 8),
        id(static_cast<uint32_t>(words[1])),
        offset(static_cast<uint32_t>(words[2])),
        length(static_cast<uint32_t>(words[3])) {}
  uint32_t slab;
  uint32_t id;
  uint32_t offset;
  uint32_t length;
};

// Also write_large_taken.
struct WriteLargeCommand {
  explicit WriteLargeCommand(const int32_t* words)
      : id(static_cast<uint32_t>(words[1])),
        index(static_cast<uint32_t>(words[2])),
        length(static_cast<uint32_t>(words[3])) {}
  uint32_t id;
  uint32_t index;
  uint32_t length;
};

struct ReleaseSlabCommand {
  explicit ReleaseSlabCommand(const int32_t* words) : slab(static_cast<uint32_t>(words[0]) >> 8) {}
  uint32_t slab;
};

// Also input_timeout.
struct IdleTimeoutCommand {
  explicit IdleTimeoutCommand(const int32_t* words)
      : id(static_cast<uint32_t>(words[1])), time(words[2]) {}
  uint32_t id;
  int32_t time;
};

// Also expect_input.
struct NoDelayCommand {
  explicit NoDelayCommand(const int32_t* words)
      : id(static_cast<uint32_t>(words[1])), on(words[2]) {}
  uint32_t id;
  int32_t on;
};

struct KeepAliveCommand {
  explicit KeepAliveCommand(const int32_t* words)
      : interval(words[0] >> 8),
        id(static_cast<uint32_t>(words[1])),
        on(words[2] & 1),
        count(words[2] >> 1),
        idle(words[3]) {}
  int32_t interval;
  uint32_t id;
  int32_t on;
  int32_t count;
  int32_t idle;
};

constexpr size_t socket_options_words = 8;
inline void read_words(const int32_t* words, engine::SocketOptions& out) {
  out.no_delay = words[0] != 0;
  out.keep_alive = words[1] != 0;
  out.keep_alive_idle_s = words[2];
  out.keep_alive_interval_s = words[3];
  out.keep_alive_count = words[4];
  out.user_timeout_ms = words[5];
  out.send_buffer_size = words[6];
  out.receive_buffer_size = words[7];
}
inline void write_words(int32_t* words, const engine::SocketOptions& from) {
  words[0] = from.no_delay ? 1 : 0;
  words[1] = from.keep_alive ? 1 : 0;
  words[2] = from.keep_alive_idle_s;
  words[3] = from.keep_alive_interval_s;
  words[4] = from.keep_alive_count;
  words[5] = from.user_timeout_ms;
  words[6] = from.send_buffer_size;
  words[7] = from.receive_buffer_size;
}

constexpr size_t listen_options_words = 13;
inline void read_words(const int32_t* words, engine::ListenOptions& out) {
  read_words(words, out.socket);
  out.backlog = words[8];
  out.v6_only = words[9] != 0;
  out.reuse_port = words[10] != 0;
  out.exclusive = words[11] != 0;
  out.pause_accepted = words[12] != 0;
}

constexpr size_t listen_limits_words = 14;
inline void read_words(const int32_t* words, engine::ListenLimits& out) {
  out.most = words[0];
  out.prefix_connections_max = static_cast<uint32_t>(words[1]);
  out.rate.per_second = static_cast<uint32_t>(words[2]);
  out.rate.burst = static_cast<uint32_t>(words[3]);
  out.prefix_rate.per_second = static_cast<uint32_t>(words[4]);
  out.prefix_rate.burst = static_cast<uint32_t>(words[5]);
  out.receive_rate.per_second = static_cast<uint32_t>(words[6]);
  out.receive_rate.burst = static_cast<uint32_t>(words[7]);
  out.prefix_v4 = static_cast<uint8_t>(words[8]);
  out.prefix_v6 = static_cast<uint8_t>(words[9]);
  out.idle_prefixes_max = static_cast<uint32_t>(words[10]);
  out.first_byte_ms = static_cast<uint32_t>(words[11]);
  out.frame_ms = static_cast<uint32_t>(words[12]);
  out.pause_above_ms = static_cast<uint32_t>(words[13]);
}

constexpr size_t udp_socket_options_words = 10;
inline void read_words(const int32_t* words, engine::UdpSocketOptions& out) {
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
}

constexpr size_t frame_order_words = 12;
inline void read_words(const int32_t* words, engine::FrameOrder& out) {
  out.generation = static_cast<uint32_t>(words[0]);
  out.position = static_cast<uint32_t>(words[1]);
  out.kind = static_cast<engine::FrameKind>(words[2]);
  out.size = static_cast<uint32_t>(words[3]);
  out.offset = static_cast<uint32_t>(words[4]);
  out.adjust = words[5];
  out.little = words[6] != 0;
  out.longest = static_cast<uint32_t>(words[7]);
  out.seen = static_cast<uint32_t>(words[8]);
  out.whole = static_cast<uint32_t>(words[9]);
  out.matched = static_cast<uint32_t>(words[10]);
  out.after_cr = words[11] != 0;
}

// What is counted. Times are nanoseconds.
struct Stats {
  // Taken by the kernel.
  double bytes_out;
  // Handed over by the program.
  double chunks_out;
  // Waiting to be sent at present.
  double queued_bytes;
  // In system calls and the engine's own work.
  double kernel_time;
  // In the program, called with a batch.
  double js_time;
  // Bytes of full slabs that the program may still see.
  double slabs_spent;
  // Taken by the kernel.
  double datagrams_out;
  // Of Node's loop, in which the last turn was.
  double iteration;
  // How often the next event was waited for awake.
  double spins;
  // Because of `pauseAbove`, now.
  double listeners_paused;
  // How often maxConnections acted.
  double of_max_connections;
  // How often acceptRate acted.
  double of_accept_rate;
  // How often connectionsPerPrefix acted.
  double of_connections_per_prefix;
  // How often acceptRatePerPrefix acted.
  double of_accept_rate_per_prefix;
  // How often firstByteTimeout acted.
  double of_first_byte_timeout;
  // How often frameTimeout acted.
  double of_frame_timeout;
  // How often receiveRate acted.
  double of_receive_rate;
  // How often pauseAbove acted.
  double of_pause_above;
};
constexpr size_t stats_count = sizeof(Stats) / sizeof(double);

// What a listener has counted beside how often its limits acted, after that.
// Open now.
constexpr size_t listener_connections = 8;
// That are remembered now, for their connections or how fast they came.
constexpr size_t listener_prefixes = 9;
// Whether it is paused because of `pauseAbove`.
constexpr size_t listener_overloaded = 10;
constexpr size_t listener_counts = 11;

}  // namespace marketplace::binding
