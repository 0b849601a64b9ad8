// What the engine and its host tell each other by number: records, ids, addresses. Made by
// scripts/layout.mjs from native/layout.mjs: change that.
#pragma once

#include <cstddef>
#include <cstdint>

#include "address.h"

namespace marketplace::engine {

// Of an id: the index of the socket; what is above it is a generation.
constexpr int32_t index_bits = 20;
// 32-bit words of a record.
constexpr int32_t record_words = 8;
// Of an address: what `family` describes, and four words of the address, most significant first.
constexpr int32_t address_words = 5;
// Of an address' first word: the port is below 16, the family below this, the zone of IPv6 above.
constexpr int32_t zone_shift = 19;
// A zone without room there is the third word, which they leave 0 (RFC 4291, 2.5.6).
constexpr int32_t zone_elsewhere = 4095;

enum class Family : int32_t {
  unix = 1,
  ipv4 = 4,
  ipv6 = 6,
};

// Which backend; `automatic` chooses.
enum class BackendName : uint32_t {
  automatic = 0,
  epoll = 1,
  io_uring = 2,
};

// What an ArrayBuffer is for.
enum class Purpose : uint32_t {
  output = 0,
  input = 1,
  small_input = 2,
  tiny_input = 3,
};

// What a descriptor of others is adopted as: listening, or bound at least, or connected.
enum class Adoptable : uint32_t {
  listener = 0,
  bound = 1,
  connection = 2,
};

// Where a connection goes, besides the numbers of places, from 0 on: to the worker with the fewest
// connections; more of what it says is needed; it is reset.
enum class RouteAnswer : int32_t {
  fewest = -1,
  more = -2,
  refuse = -3,
};

// What a listener limits.
enum class Limit : uint32_t {
  max_connections = 0,
  accept_rate = 1,
  connections_per_prefix = 2,
  accept_rate_per_prefix = 3,
  first_byte_timeout = 4,
  frame_timeout = 5,
  receive_rate = 6,
  pause_above = 7,
};

constexpr uint32_t limit_count = 8;

// How a stream is cut into frames.
enum class FrameKind : uint32_t {
  bytes = 0,
  length = 1,
  varint = 2,
  delimiter = 3,
  fixed = 4,
  lines = 5,
};

// The system call that an error belongs to, under the name that Node gives it.
enum class Call : int32_t {
  none = 0,
  listen = 1,
  accept = 2,
  connect = 3,
  read = 4,
  write = 5,
  shutdown = 6,
  poll = 7,
  // No call: the rules of TLS were broken, or what they demand is missing.
  tls = 8,
  // No call: nothing came or went for too long.
  idle = 9,
  // No call: nothing came for too long.
  silence = 10,
  // No call: the first byte did not come in time.
  first_byte = 11,
  // No call: a frame that had begun did not come in time.
  frame = 12,
};

enum class Event : int32_t {
  accepted = 1,
  accept_failed = 2,
  connected = 3,
  data = 4,
  end = 5,
  written = 6,
  closed = 7,
  slab_retired = 8,
  slabs_short = 9,
  dropped = 10,
  sender = 11,
  truncated = 12,
  send_failed = 13,
  receive_failed = 14,
  frames = 15,
  secured = 16,
  tls_asks = 17,
  tls_session = 18,
  tls_cut = 19,
  tls_failed = 20,
};

// What is known of one connection when somebody asks: mostly the TCP_INFO of the kernel. What an
// older kernel doesn't know is 0.
struct ConnectionInfo {
  // Why nothing is read at present: 1 the host has paused it, 2 there is no slab, 4 too much of its
  // own output waits, 8 too much of all of its account, 16 TLS has to wait, 32 it has had its rate.
  // A sum; 0 if it is not held.
  double held;
  // Microseconds, smoothed.
  double round_trip;
  // Microseconds.
  double round_trip_variance;
  // Microseconds.
  double lowest_round_trip;
  // Segments that were sent again, in all.
  double retransmits;
  // Segments that seem to be lost at present.
  double lost;
  // Segments that are on their way.
  double unacknowledged;
  // Segments that may be.
  double congestion_window;
  // Bytes of a segment that is sent, at most.
  double segment_size;
  // Of data, those that were sent again included.
  double bytes_sent;
  // That the peer has.
  double bytes_acknowledged;
  // Of data.
  double bytes_received;
  // That the kernel has not sent yet.
  double bytes_unsent;
  // Milliseconds since data was sent last.
  double since_sent;
  // Milliseconds since data came last.
  double since_received;
  // Bytes a second that have reached the peer, lately.
  double delivery_rate;
};
constexpr size_t connectioninfo_count = sizeof(ConnectionInfo) / sizeof(double);

// What the engine reports: words, so that a batch of them can be handed to another language without
// a call per event. All are signed: errno values are negative.
struct Record {
  Event event;
  int32_t id = 0;
  int32_t a = 0;
  int32_t b = 0;
  int32_t c = 0;
  int32_t d = 0;
  int32_t e = 0;
  int32_t f = 0;

  static Record accepted(uint32_t id, uint32_t listener, const Address& peer) {
    Record record{Event::accepted};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(listener);
    peer.pack(&record.b);
    return record;
  }
  static Record accept_failed(uint32_t listener, int32_t error) {
    Record record{Event::accept_failed};
    record.id = static_cast<int32_t>(listener);
    record.a = error;
    return record;
  }
  static Record connected(uint32_t id) {
    Record record{Event::connected};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  static Record data(uint32_t id, uint32_t slab, uint32_t offset, uint32_t length) {
    Record record{Event::data};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(slab);
    record.b = static_cast<int32_t>(offset);
    record.c = static_cast<int32_t>(length);
    return record;
  }
  static Record end(uint32_t id) {
    Record record{Event::end};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  static Record written(uint32_t id, uint32_t bytes) {
    Record record{Event::written};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(bytes);
    return record;
  }
  // `error` is 0 if it ended in order; `queued` are the bytes that waited to be sent, in 31 bits.
  static Record closed(uint32_t id, int32_t error, Call call, uint32_t queued) {
    Record record{Event::closed};
    record.id = static_cast<int32_t>(id);
    record.a = error;
    record.b = static_cast<int32_t>(call);
    record.c = static_cast<int32_t>(queued);
    return record;
  }
  // No more will be received into this slab: the host may give up its reference.
  static Record slab_retired(uint32_t slab) {
    Record record{Event::slab_retired};
    record.id = static_cast<int32_t>(slab);
    return record;
  }
  // Reading stopped for lack of slabs for `input`; it goes on when the host has added some. Of
  // another purpose: bigger ones were used instead.
  static Record slabs_short(Purpose purpose) {
    Record record{Event::slabs_short};
    record.id = static_cast<int32_t>(purpose);
    return record;
  }
  // Connections were reset because of a limit of the listener's: how many since the last such
  // record, which was at least a second ago, and the peer of the last.
  static Record dropped(uint32_t listener, uint32_t count, const Address& peer) {
    Record record{Event::dropped};
    record.id = static_cast<int32_t>(listener);
    record.a = static_cast<int32_t>(count);
    peer.pack(&record.b);
    return record;
  }
  // Who has sent the datagrams that follow as `data`, up to the next such record or the end of the
  // turn.
  static Record sender(uint32_t id, const Address& peer) {
    Record record{Event::sender};
    record.id = static_cast<int32_t>(id);
    peer.pack(&record.b);
    return record;
  }
  // A datagram that was too long, and is lost, with its sender.
  static Record truncated(uint32_t id, uint32_t length, const Address& peer) {
    Record record{Event::truncated};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(length);
    peer.pack(&record.b);
    return record;
  }
  // With the receiver.
  static Record send_failed(uint32_t id, int32_t error, const Address& peer) {
    Record record{Event::send_failed};
    record.id = static_cast<int32_t>(id);
    record.a = error;
    peer.pack(&record.b);
    return record;
  }
  static Record receive_failed(uint32_t id, int32_t error) {
    Record record{Event::receive_failed};
    record.id = static_cast<int32_t>(id);
    record.a = error;
    return record;
  }
  // Bytes in which so many frames end: where, the marks from `mark` on say, counted from `offset`;
  // if it is one, with the last byte. The generation is that of the command.
  static Record frames(uint32_t id, uint32_t slab, uint32_t offset, uint32_t length, uint32_t count,
                       uint32_t mark, uint32_t generation) {
    Record record{Event::frames};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(slab);
    record.b = static_cast<int32_t>(offset);
    record.c = static_cast<int32_t>(length);
    record.d = static_cast<int32_t>(count);
    record.e = static_cast<int32_t>(mark);
    record.f = static_cast<int32_t>(generation);
    return record;
  }
  // The TLS handshake is over. What follows as `data` was encrypted.
  static Record secured(uint32_t id) {
    Record record{Event::secured};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  // The client has said whom it wants to talk to: the host says with which certificate it goes on.
  static Record tls_asks(uint32_t id) {
    Record record{Event::tls_asks};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  // There is a session that can be resumed later.
  static Record tls_session(uint32_t id) {
    Record record{Event::tls_session};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  // The end that follows was not announced by TLS: something may be missing.
  static Record tls_cut(uint32_t id) {
    Record record{Event::tls_cut};
    record.id = static_cast<int32_t>(id);
    return record;
  }
  // Why `closed` follows: OpenSSL's number of the error, and of what is wrong with the certificate,
  // or 0.
  static Record tls_failed(uint32_t id, uint32_t reason, uint32_t verify) {
    Record record{Event::tls_failed};
    record.id = static_cast<int32_t>(id);
    record.a = static_cast<int32_t>(reason);
    record.b = static_cast<int32_t>(verify);
    return record;
  }
};
static_assert(sizeof(Record) == record_words * sizeof(int32_t), "words, without padding");

}  // namespace marketplace::engine
