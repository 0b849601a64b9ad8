// Connections that were accepted, and whose worker the host has to name: it is asked with what the
// client has said so far, which is looked at and left in the socket (MSG_PEEK), so that the worker
// has all of it.
//
// Owns the connections until they are taken, the queue of questions, and until when the host may
// say that it needs more. Has no lock: it is the acceptor's.
//
// Invariants: a connection is in the queue once at most; at most `most` are here, and beyond half
// of that the oldest ones are asked about for the last time, so that clients that say nothing do
// not keep others out.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <unordered_map>

#include "address.h"
#include "descriptor.h"

namespace marketplace::engine {

// How the host is asked.
struct Routing {
  // Called on any thread when there are questions; again only after it was found that there are no
  // more. Without it the host is not asked.
  std::function<void()> ask;
  // Bytes that are looked at at most.
  size_t prefix_max = 0;
  // How long more of them may be awaited.
  int64_t wait_ms = 0;
};

class Unrouted {
 public:
  static constexpr size_t most = 1024;

  struct Question {
    uint64_t id = 0;
    int32_t listener = 0;
    Address peer;
    // No more will come: the limit is reached, the client has ended its output, or the time is
    // over.
    bool last = false;
  };
  struct Connection {
    int32_t listener = 0;
    Descriptor descriptor;
    Address peer;
  };

  // `epoll` tells of connections that say more, with `key_of(id)`; the eventfd `room` is woken when
  // it is no longer full, whatever made the room.
  void open(Routing routing, int epoll, int room);
  bool on() const { return routing_.ask != nullptr; }
  bool full() const { return connections_.size() >= most; }

  static bool is_key(uint64_t key) { return (key & key_flag) != 0; }
  static uint64_t id_of(uint64_t key) { return key & ~key_flag; }

  void add(int32_t listener, Descriptor descriptor, const Address& peer);
  // It has said more; `ended`: and will say nothing after that.
  void said(uint64_t id, bool ended);
  // The next question, and as many bytes of the prefix as it returns; or -EAGAIN.
  ssize_t next(Question& out, uint8_t* prefix, size_t size);
  // The host needs more. 0, -ENOENT, -EINVAL if it was told that there will not be any, or what
  // epoll_ctl says.
  int wait_for_more(uint64_t id);
  // False: there is none with this id (any more).
  bool take(uint64_t id, Connection& out);
  // All of a listener's are asked about for the last time.
  void hurry(int32_t listener);
  // All of a listener's are reset.
  void drop(int32_t listener);
  // Those whose time is over are.
  void expire(int64_t now_ms);
  // When the next one's is; 0: never.
  int64_t next_expiry_ms();

 private:
  static constexpr uint64_t key_flag = 1ULL << 63U;

  struct One {
    Connection connection;
    // Bytes that the host has seen.
    ssize_t seen = -1;
    bool last = false;
    bool queued = false;
    bool watched = false;
    // The question was taken: what comes meanwhile is asked about after the answer.
    bool asked = false;
    // It was the last one.
    bool asked_last = false;
    bool said_more = false;
  };
  struct Expiry {
    int64_t at_ms;
    uint64_t id;
  };

  void queue(uint64_t id, One& one);
  void ask_last(uint64_t id);
  void forget_gone();
  void remove(std::unordered_map<uint64_t, One>::iterator one);
  void removed(bool was_full);

  Routing routing_;
  int epoll_ = -1;
  int room_ = -1;
  uint64_t last_id_ = 0;
  std::unordered_map<uint64_t, One> connections_;
  std::deque<uint64_t> questions_;
  // In the order in which they came, which is that of their ends. Some are gone.
  std::deque<Expiry> expiries_;
  // The host knows that there are questions.
  bool told_ = false;
};

}  // namespace marketplace::engine
