// The wheel of idle timeouts; see idle.h. Ticks are compared by their difference, as they wrap.
#include "idle.h"

#include <algorithm>

#include "connection.h"

namespace marketplace::engine {

namespace {

uint32_t later(uint32_t a, uint32_t b) {
  return static_cast<int32_t>(a - b) >= 0 ? a : b;
}

}  // namespace

void IdleWheel::update(int64_t now_ms) {
  now_ms_ = now_ms;
  now_ = static_cast<uint32_t>(now_ms / tick_ms);
  if (count_ == 0) cursor_ = now_;
}

void IdleWheel::watch(Connection& connection, int64_t timeout_ms) {
  limit(connection, connection.idle.limit, timeout_ms);
}

void IdleWheel::watch_input(Connection& connection, int64_t timeout_ms) {
  limit(connection, connection.idle.input_limit, timeout_ms);
}

void IdleWheel::limit(Connection& connection, uint32_t& ticks, int64_t timeout_ms) {
  IdleLink& idle = connection.idle;
  if (idle.linked) unlink(connection);
  ticks = timeout_ms <= 0 ? 0 : ticks_of(timeout_ms);
  if (idle.limit != 0 || idle.input_limit != 0 || idle.due != Due::nothing) resume(connection);
}

// One more, as the tick that it begins in has begun before it.
uint32_t IdleWheel::ticks_of(int64_t time_ms) {
  return static_cast<uint32_t>((time_ms + tick_ms - 1) / tick_ms) + 1;
}

void IdleWheel::set_due(Connection& connection, Due what, uint32_t ticks) {
  IdleLink& idle = connection.idle;
  idle.due = what;
  idle.due_ticks = ticks;
  idle.graced = false;
  give_time(connection, ticks);
}

void IdleWheel::give_time(Connection& connection, uint32_t ticks) {
  IdleLink& idle = connection.idle;
  idle.due_at = now_ + ticks;
  // Where it is in the wheel is right unless it is looked at too late there.
  if (idle.linked && static_cast<int32_t>(idle.looked - idle.due_at) <= 0) return;
  if (idle.linked) unlink(connection);
  link(connection);
}

// When its slot comes up, it stays in the wheel if there is another reason.
void IdleWheel::set_done(Connection& connection) {
  connection.idle.due = Due::nothing;
}

void IdleWheel::look_again(Connection& connection) {
  const IdleLink& idle = connection.idle;
  if (idle.linked) return;
  if (idle.limit != 0 || idle.input_limit != 0 || idle.due != Due::nothing) link(connection);
}

void IdleWheel::expect(Connection& connection, bool on) {
  // Where it is in the wheel is right for the longest that it may take.
  connection.idle.expects = on;
  connection.idle.received = now_;
}

void IdleWheel::forget(Connection& connection) {
  if (connection.idle.linked) unlink(connection);
  connection.idle.limit = 0;
  connection.idle.input_limit = 0;
  set_done(connection);
}

void IdleWheel::resume(Connection& connection) {
  connection.idle.received = now_;
  connection.idle.sent = now_;
  link(connection);
}

void IdleWheel::link(Connection& connection) {
  IdleLink& idle = connection.idle;
  // Those that expire beyond the wheel are looked at once more on the way.
  uint32_t ahead = slots - 1;
  if (idle.limit != 0) {
    ahead = std::min(ahead, later(idle.received, idle.sent) + idle.limit - cursor_);
  }
  if (idle.input_limit != 0) {
    ahead = std::min(ahead, (idle.expects ? idle.received : now_) + idle.input_limit - cursor_);
  }
  if (idle.due != Due::nothing) {
    const int32_t left = static_cast<int32_t>(idle.due_at - cursor_);
    ahead = std::min(ahead, left > 0 ? static_cast<uint32_t>(left) : 0);
  }
  idle.looked = cursor_ + ahead;
  Connection*& first = first_[idle.looked % slots];
  idle.previous = nullptr;
  idle.next = first;
  if (first != nullptr) first->idle.previous = &connection;
  first = &connection;
  idle.linked = true;
  count_++;
}

void IdleWheel::unlink(Connection& connection) {
  IdleLink& idle = connection.idle;
  if (idle.previous != nullptr) {
    idle.previous->idle.next = idle.next;
  } else {
    first_[idle.looked % slots] = idle.next;
  }
  if (idle.next != nullptr) idle.next->idle.previous = idle.previous;
  idle.linked = false;
  count_--;
}

int64_t IdleWheel::next_ms() const {
  if (count_ == 0) return 0;
  uint32_t ahead = 0;
  while (first_[(cursor_ + ahead) % slots] == nullptr) ahead++;
  const int64_t behind = static_cast<int32_t>(now_ - cursor_);
  return (now_ms_ / tick_ms - behind + ahead) * tick_ms;
}

Connection* IdleWheel::expired() {
  while (count_ > 0 && static_cast<int32_t>(now_ - cursor_) >= 0) {
    Connection* first = first_[cursor_ % slots];
    if (first == nullptr) {
      cursor_++;
      continue;
    }
    Connection& connection = *first;
    IdleLink& idle = connection.idle;
    unlink(connection);
    const uint32_t active = later(idle.received, idle.sent);
    if (idle.limit != 0 && static_cast<int32_t>(now_ - active - idle.limit) >= 0)
      return &connection;
    if (without_input(connection) || late(connection)) return &connection;
    look_again(connection);
  }
  return nullptr;
}

bool IdleWheel::late(const Connection& connection) const {
  const IdleLink& idle = connection.idle;
  return idle.due != Due::nothing && static_cast<int32_t>(now_ - idle.due_at) >= 0;
}

bool IdleWheel::without_input(const Connection& connection) const {
  const IdleLink& idle = connection.idle;
  return idle.input_limit != 0 && idle.expects &&
         static_cast<int32_t>(now_ - idle.received - idle.input_limit) >= 0;
}

}  // namespace marketplace::engine
