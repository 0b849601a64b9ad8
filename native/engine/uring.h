// The backend on Linux's io_uring (6.1 or newer): multishot receive into provided buffers, and a
// turn's sends in one submission.
//
// What happens often goes through the ring, the rest through an epoll set of its own, which the
// ring watches: accepting and connecting, room to send, hang-ups, the alarm; and receiving of what
// comes in big pieces, as that is worth a system call but not a copy. So rare events have one
// implementation, and each of the ring's features can be done without.
//
// Nothing runs ahead of what was reported by more than a fixed amount. What the kernel receives for
// the ring is at most what its buffers hold. Accepting is not left to it: a multishot accept takes
// connections for as long as they come, descriptors included, while their ends wait their turn.
//
// Sockets for which there was no buffer wait in a queue, and are asked for again as buffers come
// back: all at once would be for nothing but the first few, each time anew.
//
// The kernel works for this ring only inside `enter`; see uring_ring.h. It receives into memory of
// the engine's (uring_buffers.h), from which bytes are copied into the host's, so that a paused
// connection, a shortage of slabs and the end of a process are no special cases of ownership.
//
// Invariants: at most one receive per socket is with the kernel, and a socket is read in one way
// only until all that came in that way was reported; sends are over when `send_queued` returns;
// completions are reported in their order; nothing refers to a socket but by its key; what the
// kernel takes no request for at present (io_uring_enter says EAGAIN, EBUSY or EINTR) waits for the
// next `settle`, and is not lost.
#pragma once

#include <sys/socket.h>

#include <array>
#include <deque>
#include <memory>
#include <unordered_map>
#include <utility>
#include <vector>

#include "epoll.h"
#include "uring_buffers.h"
#include "uring_ring.h"
#include "uring_tag.h"

namespace marketplace::engine {

// What of io_uring is to be used, and then: what is used.
struct UringFeatures {
  bool multishot_receive = true;
  bool incremental_buffers = true;
  bool batched_sends = true;
};

// How much the ring holds. Nothing depends on it but speed: what overflows, the kernel keeps.
struct UringSizes {
  uint32_t submissions = 1024;
  uint32_t completions = 8192;
};

class UringBackend final : public Backend {
 public:
  explicit UringBackend(const UringFeatures& wanted = {}, const UringSizes& sizes = {},
                        uring::EnterCall enter = uring::enter_call)
      : features_(wanted), sizes_(sizes), ring_(enter) {}
  UringBackend(const UringBackend&) = delete;
  UringBackend& operator=(const UringBackend&) = delete;
  ~UringBackend() override;

  // A second call changes nothing.
  int open() override;
  // Why `open` failed, in a few words.
  const char* failure() const { return failure_; }
  const UringFeatures& features() const { return features_; }

  int descriptor() const override { return wake_.get(); }
  void acknowledge() override;
  bool pending() const override { return pending_; }
  void busy_poll(BackendSink& sink, bool on) override;
  void want(Socket& socket, uint8_t wanted) override;
  void settle(BackendSink& sink) override;
  void forget(Socket& socket) override;
  ssize_t send(Socket& socket, const iovec* pieces, int count) override;
  bool batches(size_t sends) const override;
  void queue_send(Socket& socket, const iovec* pieces, int count) override;
  const ssize_t* send_queued() override;
  void wake_at(int64_t time_ms) override { watch_.wake_at(time_ms); }
  int turn(BackendSink& sink) override;
  int watch_host(int descriptor) override;
  int sleep(int timeout_ms) override;
  bool host_ready() override { return std::exchange(host_ready_, false); }

 private:
  // A completion that was not reported yet.
  struct Completion {
    uring::Cqe cqe;
    uring::Received bytes;
  };
  // What arrived for a socket after it was paused.
  struct Stash {
    std::vector<uint8_t> bytes;
    size_t reported = 0;
    bool ended = false;
    int result = 0;
  };
  // A gathered send's description: it has to stay until it is submitted.
  struct Message {
    msghdr header;
    std::array<iovec, 64> pieces;
  };
  // So many turns of `watch_` between two looks at how its sockets are used.
  static constexpr uint32_t bulk_review = 64;

  int open_ring();
  bool receiving_works();
  uring::Sqe* submission();
  void submit(bool run);
  bool cancel(uint64_t user_data, uint32_t flags = 0);
  void cancel_receive(Socket& socket);
  void send_unsubmitted();
  void choose_way(Socket& socket);
  bool arm(Socket& socket);
  void arm_watch();
  bool poll(int descriptor, Request request);
  bool has_work() const;
  void unsettle(Socket& socket);
  bool settle_one(BackendSink& sink, Socket& socket);
  void await_buffer(Socket& socket);
  void resume_unbuffered(BackendSink& sink);
  bool can_resume() const { return !unbuffered_.empty() && buffers_.free() > 0; }
  void reap();
  void reap_one(const uring::Cqe& cqe);

  bool report_receives(BackendSink& sink);
  bool report_receive(BackendSink& sink, Completion& completion);
  bool report_bytes(BackendSink& sink, Socket& socket, uring::Received& bytes);
  void report_end(BackendSink& sink, Socket& socket, int result);
  void note_size(Socket& socket, uint32_t length);
  void review_bulk(BackendSink& sink);
  Stash& stash(Socket& socket);
  void report_stashes(BackendSink& sink);
  bool report_stash_of(BackendSink& sink, Socket& socket);

  UringFeatures features_;
  UringSizes sizes_;
  const char* failure_ = "";
  uring::Ring ring_;
  uring::ReceiveBuffers buffers_;
  EpollBackend watch_;
  Descriptor wake_;
  uint64_t wake_count_ = 0;
  bool reads_wake_ = false;
  bool watch_armed_ = false;
  bool watch_ready_ = false;
  bool pending_ = false;
  bool busy_polled_ = false;
  // The host's descriptor, if `sleep` is used; and whether the ring watches it.
  int host_ = -1;
  bool host_armed_ = false;
  bool host_ready_ = false;
  // Receives that the kernel was not told of yet may be among what is prepared.
  bool arms_wait_ = false;
  // The ring failed: nothing can be done with it any more.
  int broken_ = 0;
  // Requests that the kernel has and that end only with what happens to their socket.
  uint32_t in_flight_ = 0;

  std::vector<Key> unsettled_;
  // Requests that are to end, which the kernel could not be told yet.
  std::vector<uint64_t> cancels_;
  // Those that wait for a buffer, in the order in which they found none.
  std::deque<Key> unbuffered_;
  std::vector<Completion> completions_;
  size_t completions_next_ = 0;
  std::unordered_map<Key, Stash> stashes_;
  std::vector<Key> resumed_;
  // Those that are read through `watch_`, and how often it was looked at.
  std::vector<Key> bulk_;
  uint32_t bulk_turns_ = 0;

  std::vector<ssize_t> results_;
  bool sends_over_ = false;
  std::deque<Message> messages_;
  size_t messages_used_ = 0;
};

}  // namespace marketplace::engine
