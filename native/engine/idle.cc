// The wheel of idle timeouts; see idle.h. Ticks are compared by their difference, as they wrap.
#include "idle.h"

#include <algorithm>

#include "connection.h"

namespace marketplace::engine {

void IdleWheel::update(int64_t now_ms) {
  now_ms_ = now_ms;
  now_ = static_cast<uint32_t>(now_ms / tick_ms);
  if (count_ == 0) cursor_ = now_;
}

void IdleWheel::watch(Connection& connection, int64_t timeout_ms) {
  forget(connection);
  if (timeout_ms <= 0) return;
  IdleLink& idle = connection.idle;
  // One more, as the tick of the last traffic has begun before it.
  idle.limit = static_cast<uint32_t>((timeout_ms + tick_ms - 1) / tick_ms) + 1;
  idle.active = now_;
  link(connection);
}

void IdleWheel::forget(Connection& connection) {
  if (connection.idle.linked) unlink(connection);
  connection.idle.limit = 0;
}

void IdleWheel::resume(Connection& connection) {
  connection.idle.active = now_;
  link(connection);
}

void IdleWheel::link(Connection& connection) {
  IdleLink& idle = connection.idle;
  // Those that expire beyond the wheel are looked at once more on the way.
  const uint32_t ahead = std::min(idle.active + idle.limit - cursor_, slots - 1);
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
    if (static_cast<int32_t>(now_ - idle.active - idle.limit) >= 0) return &connection;
    link(connection);
  }
  return nullptr;
}

}  // namespace marketplace::engine
