// Which connections have had no traffic, or no input, for too long, or are late with what they have
// to do by some time: a wheel of slots, one per tick, each with a list of the connections to look
// at then.
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

// What has to be done by some time.
enum class Due : uint8_t { nothing, first_byte, frame };

// A connection's place in the wheel. Ticks count from the start of the monotonic clock, and wrap.
struct IdleLink {
  uint32_t limit = 0;        // ticks without traffic; 0: none
  uint32_t input_limit = 0;  // ticks without input; 0: none
  uint32_t received = 0;     // when there was some input
  uint32_t sent = 0;         // and some output
  uint32_t looked = 0;       // tick of the slot it is in
  uint32_t frame_limit = 0;  // ticks for a frame that has begun; 0: any number
  uint32_t due_at = 0;       // when `due` has to be done
  uint32_t due_ticks = 0;    // how much time there was for it
  Due due = Due::nothing;
  bool graced = false;  // it was late once, and had input that had not been looked at
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
  // Something has to be done within so many ticks, in place of what else had to be; or nothing has.
  void set_due(Connection& connection, Due what, uint32_t ticks);
  static void set_done(Connection& connection);
  // One that was late is not so: the time begins anew, or goes on for so many ticks.
  void give_time(Connection& connection, uint32_t ticks);
  // Goes on with one that was late with what is done.
  void look_again(Connection& connection);
  // Ticks that are never less than this time.
  static uint32_t ticks_of(int64_t time_ms);
  // Goes on with one that was expired, as if it had traffic now.
  void resume(Connection& connection);

  // When to look at the next slot that has something, of the monotonic clock; 0 for never.
  int64_t next_ms() const;
  // The next one that has expired, which is watched no longer; nullptr when there are no more.
  Connection* expired();
  // Whether one has had no input for too long. Otherwise it was traffic that it had none of.
  bool without_input(const Connection& connection) const;
  // Whether one is late with what it has to do.
  bool late(const Connection& connection) const;

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
