// The state of one socket of each kind: a connection, a listener, a socket for datagrams. Data
// only: what happens to it is in engine_input.cc, engine_output.cc, engine_accept.cc and
// engine_datagrams.cc.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "admission.h"
#include "backend.h"
#include "chain.h"
#include "framer.h"
#include "halves.h"
#include "idle.h"
#include "inlet.h"
#include "options.h"
#include "output.h"
#include "socket_file.h"
#include "tls.h"
#include "udp_socket.h"

namespace marketplace::engine {

struct Account;

// What receives into slabs, and sends.
struct Traffic : Socket {
  using Socket::Socket;
  std::shared_ptr<Account> account;
  Halves halves;
  // How much of its account's sum of what waits to be sent is of this one.
  size_t queued_bytes = 0;
  // Among what the next `flush` looks at.
  Link<Traffic> touched;
  // Among those that are held by a lack of slabs, or those held by the output of their account.
  Link<Traffic> waiting;
  // Among those whose close has a time limit, and until when.
  Link<Traffic> deadline;
  int64_t deadline_ms = 0;
};

// Of a connection in whose input frames are found.
struct Framing {
  explicit Framing(const FrameOrder& order) : framer(order), generation(order.generation) {}

  Framer framer;
  // Of the order, for the records.
  uint32_t generation;
  // The begin of a frame that was not reported.
  std::vector<uint8_t> kept;
  // The host wants no frames any more: what is kept is to be reported as bytes.
  bool spills = false;
};

// Of a connection that is read from at a limited rate.
struct Pace {
  Pace(const Rate& of, int64_t now_ms) : rate(of), bucket(of, now_ms) {}

  Rate rate;
  TokenBucket bucket;
  // Until when it is not read from.
  int64_t until_ms = 0;
};

struct Connection : Traffic {
  static constexpr uint32_t no_piece = UINT32_MAX;

  bool report_writes = false;
  Key listener = 0;  // of the one that accepted it; 0: none
  // Where that one counts it: see admission.h.
  uint32_t prefix = Admission::no_prefix;
  // What the next receive will probably bring.
  uint32_t expected = 2048;
  // Bytes that were reported, in 32 bits.
  uint32_t reported = 0;
  std::unique_ptr<Framing> framing;
  // Between the socket's bytes and those of the host; see engine_tls.cc. nullptr: they are the
  // same.
  std::unique_ptr<Tls> tls;
  // What it has made TLS send since it last sent something for the host with no output waiting.
  size_t answers = 0;
  std::unique_ptr<Pace> pace;
  // This turn's output: a list of pieces in memory of the caller's, sent by `flush`.
  uint32_t piece_first = no_piece;
  uint32_t piece_last = no_piece;
  IdleLink idle;
  OutputQueue output;
};

struct Counters {
  uint64_t bytes_in = 0;
  uint64_t bytes_out = 0;
  // Handed over by the host: pieces of output, or datagrams.
  uint64_t writes = 0;
  uint64_t datagrams_out = 0;
  // Waiting to be sent at present; a datagram counts for a little more than its bytes.
  uint64_t queued_bytes = 0;
  // Listeners that are paused because the host is late, at present.
  uint64_t listeners_paused = 0;
  LimitCounts limits{};
};

// Whose sockets they are. An engine serves several users of its host: each has its own limits, and
// is told what its own sockets have done; what one of them queues is nothing to the others. It
// lives for as long as the host or one of its sockets has it.
struct Account {
  explicit Account(const Limits& of) : limits(of) {}

  const Limits limits;
  Counters counters;
  // The host's, who looks at it in `take_changed`: where to tell of the counters.
  double* stats = nullptr;
  bool changed = false;  // since then
  // Too much is queued: connections that have input are put into the list, and not read from.
  bool throttles = false;
  Chain<Traffic, &Traffic::waiting> throttled;
  // Those whose close has a time limit, in order of time, as it is the same for all. While there
  // are any, the account is in the engine's list of those that have some.
  Chain<Traffic, &Traffic::deadline> closing;
  Link<Account> closes;
};

struct Listener : Socket {
  Listener() : Socket(Kind::listener) {}
  std::shared_ptr<Account> account;
  // Of a Unix socket: its file, and what its connections do not inherit.
  SocketFile file;
  SocketOptions options;
  bool failing = false;     // the last accept failed for lack of resources, which has been reported
  uint8_t shortages = 0;    // how often in a row clients that waited were sent away for that
  bool paused = false;      // the host wants nothing to be accepted
  bool overloaded = false;  // nothing is accepted as the host is late
  bool pause_accepted = false;
  std::unique_ptr<Admission> admission;
  // Of one that has its connections from an acceptor: then the descriptor says when there are some.
  std::unique_ptr<Inlet> inlet;
  // Among those that rest, and until when.
  Link<Listener> rest;
  int64_t rest_until_ms = 0;
  // Among those that are paused when the host is late.
  Link<Listener> guarded;
  // Among those that have refused connections since the last report: how many, where the last of
  // them came from, and when the next report may be.
  Link<Listener> dropping;
  uint32_t dropped = 0;
  int64_t report_at_ms = 0;
  std::unique_ptr<Address> dropped_peer;
};

// A datagram that is to be sent: in memory of the caller's, or in a copy that is its own.
struct Datagram {
  const uint8_t* data;
  size_t length;
  Address to;
  std::unique_ptr<uint8_t[]> copy;
};

struct UdpSocket : Traffic {
  UdpSocket() : Traffic(Kind::datagrams) {}
  bool is_v6 = false;
  int32_t watch_error = 0;  // why the kernel would not watch it when it was asked last
  UdpSocketOptions options;
  // This turn's output, and what waits for the kernel.
  std::vector<Datagram> output;
  std::deque<Datagram> queue;
};

}  // namespace marketplace::engine
