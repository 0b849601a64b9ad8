// The epoll backend; see epoll.h.
#include "epoll.h"

#include <sys/socket.h>
#include <sys/timerfd.h>

#include <cassert>
#include <cerrno>
#include <utility>

#include "reading.h"
#include "socket.h"

namespace marketplace::engine {

namespace {

constexpr uint32_t hangup_events = EPOLLHUP | EPOLLERR;

// What is wanted of a socket by way of this set.
uint8_t wanted_here(const Socket& socket) {
  return static_cast<uint8_t>(socket.wanted & ~socket.elsewhere);
}

uint32_t mask_of(uint8_t wanted) {
  uint32_t mask = 0;
  if ((wanted & (want_receive | want_discard)) != 0) mask |= EPOLLIN;
  if ((wanted & (want_send | want_connect)) != 0) mask |= EPOLLOUT;
  return mask;
}

}  // namespace

int EpollBackend::open() {
  if (epoll_.valid()) return 0;
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  if (!epoll_.valid()) return -errno;
  timer_.reset(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC));
  if (!timer_.valid()) return -errno;
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = timer_key;
  return epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, timer_.get(), &event) == 0 ? 0 : -errno;
}

void EpollBackend::want(Socket& socket, uint8_t wanted) {
  socket.wanted = wanted;
  if (socket.unsettled) return;
  if (socket.attached == (wanted != want_nothing) && socket.armed == mask_of(wanted)) return;
  socket.unsettled = true;
  unsettled_.push_back(socket.key);
}

// Closing the last descriptor is enough for the kernel, but others may have one of the same socket.
void EpollBackend::forget(Socket& socket) {
  if (!(socket.shared || socket.adopted) || !socket.attached) return;
  epoll_event event{};
  const int result = epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, socket.descriptor.get(), &event);
  assert(result == 0);
  static_cast<void>(result);
}

void EpollBackend::settle(BackendSink& sink) {
  // By index: reporting a failure can make other sockets change their mind.
  for (size_t i = 0; i < unsettled_.size(); i++) {
    Socket* socket = sink.find(unsettled_[i]);
    if (socket == nullptr) continue;
    socket->unsettled = false;
    const int result = arm(*socket);
    if (result < 0) sink.unwatchable(*socket, result);
  }
  unsettled_.clear();
}

int EpollBackend::arm(Socket& socket) {
  const uint8_t wanted = wanted_here(socket);
  const bool attach = wanted != want_nothing;
  const uint32_t mask = mask_of(wanted);
  if (attach == socket.attached && mask == socket.armed) return 0;
  int operation = EPOLL_CTL_MOD;
  if (!attach) operation = EPOLL_CTL_DEL;
  if (attach && !socket.attached) operation = EPOLL_CTL_ADD;
  epoll_event event{};
  event.events = mask;
  event.data.u64 = socket.key;
  if (epoll_ctl(epoll_.get(), operation, socket.descriptor.get(), &event) != 0) return -errno;
  socket.attached = attach;
  socket.armed = mask;
  return 0;
}

ssize_t EpollBackend::send(Socket& socket, const iovec* pieces, int count) {
  return send_pieces(socket.descriptor.get(), pieces, count);
}

void EpollBackend::wake_at(int64_t time_ms) {
  if (time_ms == timer_ms_) return;
  itimerspec spec{};
  spec.it_value.tv_sec = time_ms / 1000;
  spec.it_value.tv_nsec = (time_ms % 1000) * 1'000'000;
  // Fails only for a bad descriptor or time, neither of which can be; a zero time disarms.
  if (timerfd_settime(timer_.get(), TFD_TIMER_ABSTIME, &spec, nullptr) == 0) timer_ms_ = time_ms;
}

int EpollBackend::watch_host(int descriptor) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = host_key;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, descriptor, &event) != 0) return -errno;
  watches_host_ = true;
  return 0;
}

int EpollBackend::sleep(int timeout_ms) {
  if (ready_next_ < ready_count_) return 1;
  ready_next_ = 0;
  ready_count_ = 0;
  const int count = epoll_wait(epoll_.get(), ready_.data(), events_max, timeout_ms);
  if (count < 0) return errno == EINTR ? 0 : -errno;
  if (count == 1 && ready_[0].data.u64 == host_key) {
    host_ready_ = true;
    return 0;
  }
  ready_count_ = count;
  return count > 0 ? 1 : 0;
}

int EpollBackend::turn(BackendSink& sink) {
  if (ready_next_ == ready_count_) {
    ready_next_ = 0;
    ready_count_ = 0;
    if (lone_left_ > 0 && receive_lone(sink)) return 0;
    const int count = epoll_wait(epoll_.get(), ready_.data(), events_max, 0);
    if (count < 0) return errno == EINTR ? 0 : -errno;
    ready_count_ = count;
    if (count > 0) note_lone();
  }
  while (ready_next_ < ready_count_ && sink.ready_for_more()) {
    // One that found no memory is the first of the next turn; one that had some is not, or it
    // could use up all of it again.
    if (dispatch(sink, ready_[static_cast<size_t>(ready_next_)])) ready_next_++;
  }
  return 0;
}

bool EpollBackend::dispatch(BackendSink& sink, const epoll_event& event) {
  if (event.data.u64 == timer_key) {
    drain_timer(sink);
    return true;
  }
  if (event.data.u64 == host_key) {
    host_ready_ = true;
    return true;
  }
  Socket* socket = sink.find(event.data.u64);
  // It was closed, or lost its interest, after the kernel made this list.
  if (socket == nullptr || wanted_here(*socket) == want_nothing) return true;
  const bool lost = (event.events & hangup_events) != 0;
  if (socket->kind == Kind::listener) {
    accept(sink, *socket);
  } else if (socket->wanted == want_connect) {
    if (lost || (event.events & EPOLLOUT) != 0) {
      sink.connected(*socket, pending_error(socket->descriptor.get()));
    }
  } else {
    return dispatch_traffic(sink, *socket, event);
  }
  return true;
}

bool EpollBackend::dispatch_traffic(BackendSink& sink, Socket& socket, const epoll_event& event) {
  const bool lost = (event.events & hangup_events) != 0;
  const uint8_t wanted = wanted_here(socket);
  bool served = true;
  if ((wanted & want_receive) != 0) {
    // What was sent before a hang-up is read first: receiving will end in FIN or in the error.
    if (lost || (event.events & EPOLLIN) != 0) served = receive(sink, socket);
    if (sink.find(event.data.u64) == nullptr) return true;
  }
  if ((wanted_here(socket) & want_discard) != 0 && (event.events & EPOLLIN) != 0) {
    const ssize_t result = discard_input(socket.descriptor.get(), socket.unix_domain);
    if (result != -EAGAIN) sink.discarded(socket, result);
  }
  if ((socket.wanted & want_send) != 0) {
    // A lost connection is sendable in that sending shows the error.
    if (lost || (event.events & EPOLLOUT) != 0) sink.sendable(socket);
  } else if (lost && (socket.wanted & want_hangup) != 0) {
    sink.hung_up(socket);
  }
  return served;
}

void EpollBackend::accept(BackendSink& sink, Socket& listener) {
  const Key key = listener.key;
  for (int i = 0; i < accepts_max; i++) {
    Address peer;
    Descriptor descriptor;
    const int result = sink.accept(listener, descriptor, peer);
    if (result == -EAGAIN) return;
    const bool more = result < 0 ? sink.accept_failed(listener, result)
                                 : sink.accepted(listener, std::move(descriptor), peer);
    if (!more || sink.find(key) == nullptr) return;
  }
}

bool EpollBackend::receive(BackendSink& sink, Socket& socket) {
  if (socket.kind == Kind::datagrams) return sink.readable(socket) != Served::again;
  for (int i = 0; i < receives_max; i++) {
    const Memory memory = sink.memory_for(socket);
    // Without the last condition, `turn` would come back here for ever.
    if (memory.size == 0) return i > 0 || sink.ready_for_more();
    const ssize_t result = socket.carries_descriptors
                               ? sink.receive_carried(socket, memory)
                               : receive_into(socket.descriptor.get(), memory.base, memory.size);
    if (result == -EAGAIN) break;
    // How much comes at a time decides how the next bytes are received.
    if (socket.bulk && result > 0) note_receive(socket, static_cast<size_t>(result));
    // After this the socket may be gone, unless the sink says to go on.
    if (!sink.received(socket, memory, result)) break;
    // Less than was offered: there is no more, and asking would cost a system call.
    if (result < static_cast<ssize_t>(memory.size)) break;
  }
  return true;
}

// Where one socket does all the talking, the kernel is asked for what it brought, not first which
// one it is: a system call less. Anything unusual is left to the usual way, which follows.
bool EpollBackend::receive_lone(BackendSink& sink) {
  Socket* socket = sink.find(lone_);
  if (socket == nullptr || socket->kind == Kind::listener || socket->carries_descriptors) {
    return false;
  }
  if (wanted_here(*socket) != want_receive) return false;
  if (socket->kind == Kind::datagrams) {
    lone_left_--;
    return sink.readable(*socket) == Served::some;
  }
  const Memory memory = sink.memory_for(*socket);
  if (memory.size == 0) return false;
  const ssize_t result = receive_into(socket->descriptor.get(), memory.base, memory.size);
  if (result == -EAGAIN) return false;
  lone_left_--;
  if (socket->bulk && result > 0) note_receive(*socket, static_cast<size_t>(result));
  // After this the socket may be gone. If there is more, it is for the usual way to read on.
  static_cast<void>(sink.received(*socket, memory, result));
  return result < static_cast<ssize_t>(memory.size);
}

// A socket that was the only ready one twice in a row is expected to be it again.
void EpollBackend::note_lone() {
  const Key key = ready_count_ == 1 && ready_[0].events == EPOLLIN ? ready_[0].data.u64 : 0;
  const bool again = key != 0 && key == lone_;
  lone_left_ = again ? lone_max : 0;
  lone_ = key;
}

void EpollBackend::drain_timer(BackendSink& sink) {
  uint64_t expirations = 0;
  if (::read(timer_.get(), &expirations, sizeof(expirations)) != sizeof(expirations)) return;
  timer_ms_ = 0;
  sink.woken();
}

}  // namespace marketplace::engine
