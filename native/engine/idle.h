// Which connections have had no traffic, or no input, for too long: a wheel of slots, one per tick,
// each with a list of the connections to look at then.
//
// Traffic only notes the time. A connection is looked at when its slot comes up: it has expired, or
// it moves on to the slot in which it would expire if nothing more came. So traffic costs one
// store, a quiet connection one visit per timeout (or turn of the wheel, if that is sooner), and
// all of them together one timer.
//
// Invariants: a connection is in at most one list; it never expires early, and at most two ticks
// late; what is in no list has no limit or has just expired.
#pragma once

#include <array>
#include <cstdint>

namespace marketplace::engine {

struct Connection;

// A connection's place in the wheel. Ticks count from the start of the monotonic clock, and wrap.
struct IdleLink {
  uint32_t limit = 0;        // ticks without traffic; 0: none
  uint32_t input_limit = 0;  // ticks without input; 0: none
  uint32_t received = 0;     // when there was some input
  uint32_t sent = 0;         // and some output
  uint32_t looked = 0;       // tick of the slot it is in
  bool linked = false;
  bool expects = true;  // input is waited for: otherwise `input_limit` doesn't count
  Connection* next = nullptr;
  Connection* previous = nullptr;
};

class IdleWheel {
 public:
  static constexpr int64_t tick_ms = 50;
  static constexpr uint32_t slots = 256;
  static constexpr int64_t turn_ms = slots * tick_ms;

  bool empty() const { return count_ == 0; }
  // To be called when time may have passed: traffic is noted at the time of the last call.
  void update(int64_t now_ms);
  uint32_t now() const { return now_; }

  // Begins to watch a connection for traffic, or ends that with 0.
  void watch(Connection& connection, int64_t timeout_ms);
  // The same for input.
  void watch_input(Connection& connection, int64_t timeout_ms);
  // Input is waited for from now on, or is not.
  void expect(Connection& connection, bool on);
  void forget(Connection& connection);
  // Goes on with one that was expired, as if it had traffic now.
  void resume(Connection& connection);

  // When to look at the next slot that has something, of the monotonic clock; 0 for never.
  int64_t next_ms() const;
  // The next one that has expired, which is watched no longer; nullptr when there are no more.
  Connection* expired();
  // Whether one has had no input for too long. Otherwise it was traffic that it had none of.
  bool without_input(const Connection& connection) const;

 private:
  void limit(Connection& connection, uint32_t& ticks, int64_t timeout_ms);
  void link(Connection& connection);
  void unlink(Connection& connection);

  std::array<Connection*, slots> first_{};
  uint32_t count_ = 0;
  uint32_t now_ = 0;
  int64_t now_ms_ = 0;
  // The slot that is looked at next.
  uint32_t cursor_ = 0;
};

}  // namespace marketplace::engine
