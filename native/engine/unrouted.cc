// Accepted connections whose worker the host has to name; see unrouted.h.
#include "unrouted.h"

#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "inlet.h"
#include "socket.h"

namespace marketplace::engine {

void Unrouted::open(Routing routing, int epoll, int room) {
  routing_ = std::move(routing);
  epoll_ = epoll;
  room_ = room;
}

void Unrouted::add(int32_t listener, Descriptor descriptor, const Address& peer) {
  const uint64_t id = ++last_id_;
  One& one = connections_[id];
  one.connection = Connection{listener, std::move(descriptor), peer};
  expiries_.push_back(Expiry{monotonic_ms() + routing_.wait_ms, id});
  queue(id, one);
  if (expiries_.size() > 4 * most) {
    std::erase_if(expiries_,
                  [this](const Expiry& expiry) { return !connections_.contains(expiry.id); });
  }
  if (connections_.size() <= most / 2) return;
  forget_gone();
  if (expiries_.empty()) return;
  const uint64_t oldest = expiries_.front().id;
  expiries_.pop_front();
  ask_last(oldest);
}

void Unrouted::said(uint64_t id, bool ended) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  One& one = found->second;
  one.last = one.last || ended;
  if (one.asked) {
    one.said_more = true;
  } else {
    queue(id, one);
  }
}

ssize_t Unrouted::next(Question& out, uint8_t* prefix, size_t size) {
  const size_t wanted = std::min(size, routing_.prefix_max);
  while (!questions_.empty()) {
    const uint64_t id = questions_.front();
    questions_.pop_front();
    const auto found = connections_.find(id);
    if (found == connections_.end()) continue;
    One& one = found->second;
    one.queued = false;
    ssize_t length = 0;
    if (wanted > 0) {
      do {
        length = recv(one.connection.descriptor.get(), prefix, wanted, MSG_PEEK | MSG_DONTWAIT);
      } while (length < 0 && errno == EINTR);
      if (length == 0) one.last = true;
      if (length < 0 && errno != EAGAIN) {
        // It was reset: nobody is there to be given to anybody.
        remove(found);
        continue;
      }
      length = std::max<ssize_t>(length, 0);
    }
    if (static_cast<size_t>(length) == wanted) one.last = true;
    // Nothing to decide by that was not there the last time.
    if (length == one.seen && !one.last) continue;
    one.seen = length;
    one.asked = true;
    one.asked_last = one.last;
    one.said_more = false;
    out = Question{id, one.connection.listener, one.connection.peer, one.last};
    return length;
  }
  told_ = false;
  return -EAGAIN;
}

int Unrouted::wait_for_more(uint64_t id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return -ENOENT;
  One& one = found->second;
  if (one.asked_last) return -EINVAL;
  one.asked = false;
  if (!one.watched) {
    epoll_event event{};
    // By edges: what is there stays there, as it is only looked at. What has come since it was
    // looked at is told at once.
    event.events = static_cast<uint32_t>(EPOLLIN | EPOLLRDHUP) | static_cast<uint32_t>(EPOLLET);
    event.data.u64 = id | key_flag;
    const int socket = one.connection.descriptor.get();
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, socket, &event) != 0) return -errno;
    one.watched = true;
  }
  if (one.said_more) queue(id, one);
  return 0;
}

bool Unrouted::take(uint64_t id, Connection& out) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return false;
  One& one = found->second;
  if (one.watched) {
    epoll_event event{};
    const int socket = one.connection.descriptor.get();
    static_cast<void>(epoll_ctl(epoll_, EPOLL_CTL_DEL, socket, &event));
  }
  out = std::move(one.connection);
  remove(found);
  return true;
}

void Unrouted::hurry(int32_t listener) {
  for (auto& [id, one] : connections_) {
    if (one.connection.listener == listener) ask_last(id);
  }
}

void Unrouted::drop(int32_t listener) {
  const bool was_full = full();
  std::erase_if(connections_, [listener](const auto& one) {
    const Connection& connection = one.second.connection;
    if (connection.listener != listener) return false;
    static_cast<void>(reset_on_close(connection.descriptor.get()));
    return true;
  });
  removed(was_full);
}

void Unrouted::remove(std::unordered_map<uint64_t, One>::iterator one) {
  const bool was_full = full();
  connections_.erase(one);
  removed(was_full);
}

// While it was full no listener was watched: somebody has to look whether anybody waits there.
void Unrouted::removed(bool was_full) {
  if (was_full && !full()) wake(room_);
}

void Unrouted::expire(int64_t now_ms) {
  for (forget_gone(); !expiries_.empty() && expiries_.front().at_ms <= now_ms; forget_gone()) {
    const uint64_t id = expiries_.front().id;
    expiries_.pop_front();
    ask_last(id);
  }
}

int64_t Unrouted::next_expiry_ms() {
  forget_gone();
  return expiries_.empty() ? 0 : expiries_.front().at_ms;
}

void Unrouted::forget_gone() {
  while (!expiries_.empty() && !connections_.contains(expiries_.front().id)) expiries_.pop_front();
}

void Unrouted::ask_last(uint64_t id) {
  const auto found = connections_.find(id);
  if (found != connections_.end()) said(id, true);
}

void Unrouted::queue(uint64_t id, One& one) {
  if (one.queued) return;
  one.queued = true;
  questions_.push_back(id);
  if (!std::exchange(told_, true)) routing_.ask();
}

}  // namespace marketplace::engine
