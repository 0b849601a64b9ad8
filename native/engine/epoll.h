// The backend on Linux's epoll: level-triggered, never waiting.
//
// Invariants: a socket is in the epoll set exactly if `attached`, with the mask `armed`; every
// socket whose `wanted` may differ from that is in `unsettled_`. Ready sockets that a turn had no
// room for are kept and come first in the next turn, so that nobody starves at the list's end.
// What is wanted `elsewhere` is none of its business.
#pragma once

#include <sys/epoll.h>

#include <array>
#include <utility>
#include <vector>

#include "backend.h"

namespace marketplace::engine {

class EpollBackend final : public Backend {
 public:
  int open() override;
  int descriptor() const override { return epoll_.get(); }
  void want(Socket& socket, uint8_t wanted) override;
  void forget(Socket& socket) override;
  void settle(BackendSink& sink) override;
  ssize_t send(Socket& socket, const iovec* pieces, int count) override;
  void wake_at(int64_t time_ms) override;
  int turn(BackendSink& sink) override;
  bool pending() const override { return watches_host_ && ready_next_ < ready_count_; }
  int watch_host(int descriptor) override;
  int sleep(int timeout_ms) override;
  bool host_ready() override { return std::exchange(host_ready_, false); }

  // Brings the set up to date for one socket, now. 0 or negative errno.
  int arm(Socket& socket);

 private:
  static constexpr int events_max = 512;
  // Limits per socket and turn, so that one that is always ready leaves time for the others.
  static constexpr int receives_max = 4;
  static constexpr int accepts_max = 64;
  // So often one socket is expected to be the only one that is ready, before the others are asked.
  static constexpr int lone_max = 7;
  static constexpr Key timer_key = ~Key{0};
  static constexpr Key host_key = timer_key - 1;

  // Both return false if there was no memory for what has arrived.
  bool dispatch(BackendSink& sink, const epoll_event& event);
  bool dispatch_traffic(BackendSink& sink, Socket& socket, const epoll_event& event);
  void accept(BackendSink& sink, Socket& listener);
  bool receive(BackendSink& sink, Socket& socket);
  bool receive_lone(BackendSink& sink);
  void note_lone();
  void drain_timer(BackendSink& sink);

  Descriptor epoll_;
  Descriptor timer_;
  int64_t timer_ms_ = 0;
  bool watches_host_ = false;
  bool host_ready_ = false;
  std::vector<Key> unsettled_;
  std::array<epoll_event, events_max> ready_{};
  int ready_next_ = 0;
  int ready_count_ = 0;
  // What alone was ready when the kernel was asked last, and how often to believe it from now on.
  Key lone_ = 0;
  int lone_left_ = 0;
};

}  // namespace marketplace::engine
