// The io_uring backend: what is asked of the kernel. What it answers is in uring_report.cc, opening
// and closing in uring_open.cc; see uring.h.
#include "uring.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <cerrno>

#include "socket.h"
#include "uring_tag.h"

namespace marketplace::engine {

namespace {

// Below this, a system call for each is as cheap as a submission.
constexpr size_t batch_min = 3;
// A result that is not there yet.
constexpr ssize_t no_result = INT32_MIN;
// The most that one submission's length can say, and then some.
constexpr size_t length_max = 1u << 30;
// How often the kernel works in one turn; each time it takes about twenty sockets.
constexpr int runs_max = 16;

constexpr uint8_t input_wants = want_receive | want_discard;

// Where to poll in the ring's way of writing it.
uint32_t poll_mask(uint32_t mask) {
  return std::endian::native == std::endian::big ? std::rotl(mask, 16) : mask;
}

bool wants_request(const Socket& socket) {
  return (socket.wanted & socket.elsewhere & input_wants) != 0 && !socket.bulk && !socket.held;
}

}  // namespace

// Part of the turn's submission, which costs less than a system call.
void UringBackend::acknowledge() {
  uring::Sqe* sqe = reads_wake_ ? submission() : nullptr;
  if (sqe == nullptr) {
    // Nothing to read: somebody has done it, which is as good.
    static_cast<void>(!::read(wake_.get(), &wake_count_, sizeof(wake_count_)));
    return;
  }
  sqe->opcode = uring::op_read;
  sqe->flags = uring::sqe_skip_success;
  sqe->fd = wake_.get();
  sqe->addr = reinterpret_cast<uintptr_t>(&wake_count_);
  sqe->len = sizeof(wake_count_);
  sqe->user_data = tag_of(Request::none, 0);
}

int UringBackend::turn(BackendSink& sink) {
  // What is made ready from here on is seen by `settle`.
  ring_.quiet(true);
  accepts_left_ = accepts_max;
  report_held(sink);
  for (int run = 0; run < runs_max && broken_ == 0; run++) {
    if (!sink.ready_for_more()) break;
    if (ring_.work_waits()) submit(true);
    reap();
    report_accepts(sink);
    if (!report_receives(sink) || !ring_.work_waits()) break;
  }
  if (watch_ready_ && sink.ready_for_more()) {
    watch_ready_ = false;
    const int result = watch_.turn(sink);
    if (result < 0) return result;
    review_bulk(sink);
  }
  return broken_;
}

void UringBackend::unsettle(Socket& socket) {
  if (socket.unsettled) return;
  socket.unsettled = true;
  unsettled_.push_back(token_of(socket));
}

void UringBackend::want(Socket& socket, uint8_t wanted) {
  if (socket.wanted == wanted) return;
  socket.wanted = wanted;
  if (socket.held && (wanted & input_wants) != 0) resumed_.push_back(token_of(socket));
  unsettle(socket);
}

void UringBackend::settle(BackendSink& sink) {
  // By index: reporting a failure can make other sockets change their mind.
  for (size_t i = 0; i < unsettled_.size(); i++) {
    Socket* socket = sink.find(unsettled_[i]);
    if (socket == nullptr) continue;
    socket->unsettled = false;
    choose_way(*socket);
    int result = watch_.arm(*socket);
    if (result == 0 && !arm(*socket)) result = -ENOMEM;
    if (result < 0) sink.unwatchable(*socket, result);
  }
  unsettled_.clear();
  if (!watch_armed_) arm_watch();
  if (ring_.prepared() > 0) submit(false);
  ring_.quiet(busy_polled_);
  reap();
  pending_ = !completions_.empty() || !accepts_.empty() || watch_ready_ || !resumed_.empty() ||
             ring_.work_waits() || broken_ != 0;
}

void UringBackend::busy_poll(BackendSink& sink, bool on) {
  busy_polled_ = on;
  if (!on) settle(sink);
}

// A socket is read in a new way only when nothing of the old one can come any more.
void UringBackend::choose_way(Socket& socket) {
  const bool available =
      socket.listening ? features_.multishot_accept : features_.multishot_receive;
  const bool watched = !available || (socket.bulk && socket.multishot == Multishot::idle);
  socket.elsewhere = watched && !socket.held ? want_nothing : input_wants;
  // Bytes on their way through the ring come before a hang-up.
  if (socket.held || socket.multishot != Multishot::idle) socket.elsewhere |= want_hangup;
}

// Begins or ends the socket's request, as it is wanted. False if the kernel takes nothing.
bool UringBackend::arm(Socket& socket) {
  const bool wanted = wants_request(socket);
  if (!wanted && socket.multishot == Multishot::armed) {
    socket.multishot = Multishot::cancelled;
    cancel(tag_of(socket));
  }
  if (!wanted || socket.multishot != Multishot::idle) return true;
  uring::Sqe* sqe = submission();
  if (sqe == nullptr) return false;
  sqe->fd = socket.descriptor.get();
  sqe->user_data = tag_of(socket);
  if (socket.listening) {
    sqe->opcode = uring::op_accept;
    sqe->ioprio = uring::accept_multishot;
    sqe->op_flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  } else {
    sqe->opcode = uring::op_receive;
    sqe->ioprio = uring::receive_multishot;
    sqe->flags = uring::sqe_buffer_select;
    sqe->buf_group = uring::ReceiveBuffers::group;
  }
  socket.multishot = Multishot::armed;
  in_flight_++;
  return true;
}

void UringBackend::arm_watch() {
  uring::Sqe* sqe = submission();
  // The next `settle` tries again.
  if (sqe == nullptr) return;
  sqe->opcode = uring::op_poll_add;
  sqe->fd = watch_.descriptor();
  sqe->op_flags = poll_mask(POLLIN);
  sqe->user_data = tag_of(Request::watch, 0);
  watch_armed_ = true;
  in_flight_++;
}

uring::Sqe* UringBackend::submission() {
  uring::Sqe* sqe = ring_.prepare();
  if (sqe != nullptr || broken_ != 0) return sqe;
  submit(false);
  // Makes room for what these requests say, as far as they have said it.
  reap();
  return ring_.prepare();
}

void UringBackend::submit(bool run) {
  // -EAGAIN: no memory for a request at present. What passes is worth a second try.
  for (int i = 0; i < 3; i++) {
    const int result = ring_.enter(run);
    if (result == 0) return;
    if (result != -EAGAIN && result != -EBUSY) {
      broken_ = result;
      return;
    }
    run = true;
    reap();
  }
  if (ring_.prepared() > 0) broken_ = -EAGAIN;
}

void UringBackend::cancel(uint64_t user_data) {
  uring::Sqe* sqe = submission();
  // Then the ring is broken, and everything ends anyway.
  if (sqe == nullptr) return;
  sqe->opcode = uring::op_cancel;
  sqe->fd = -1;
  sqe->addr = user_data;
  sqe->user_data = tag_of(Request::none, 0);
}

// The kernel's request keeps the socket open, whatever becomes of its descriptor.
void UringBackend::forget(Socket& socket) {
  if (socket.held) held_.erase(token_of(socket));
  if (socket.multishot == Multishot::armed) cancel(tag_of(socket));
  if (!socket.listening || socket.multishot == Multishot::idle) return;
  // The port has to be free when this returns, also if the request was cancelled just before.
  for (int run = 0; run < cancel_runs_max && broken_ == 0; run++) {
    submit(true);
    reap();
    if (!ring_.work_waits()) break;
  }
  // Nobody will know of those that it had accepted.
  const uint64_t tag = tag_of(socket);
  std::erase_if(accepts_, [tag](const uring::Cqe& cqe) {
    if (cqe.user_data != tag) return false;
    Descriptor(cqe.res >= 0 ? cqe.res : -1).reset();
    return true;
  });
}

ssize_t UringBackend::send(Socket& socket, const iovec* pieces, int count) {
  return send_pieces(socket.descriptor.get(), pieces, count);
}

bool UringBackend::batches(size_t sends) const {
  return features_.batched_sends && sends >= batch_min && broken_ == 0;
}

// With MSG_DONTWAIT the kernel never keeps a send: it is over when the submission is.
void UringBackend::queue_send(Socket& socket, const iovec* pieces, int count) {
  if (sends_over_) {
    results_.clear();
    messages_used_ = 0;
    sends_over_ = false;
  }
  uring::Sqe* sqe = submission();
  if (sqe == nullptr) {
    results_.push_back(send(socket, pieces, count));
    return;
  }
  sqe->fd = socket.descriptor.get();
  sqe->op_flags = MSG_NOSIGNAL | MSG_DONTWAIT;
  sqe->user_data = tag_of(Request::send, results_.size());
  results_.push_back(no_result);
  if (count == 1) {
    sqe->opcode = uring::op_send;
    sqe->addr = reinterpret_cast<uintptr_t>(pieces[0].iov_base);
    sqe->len = static_cast<uint32_t>(std::min(pieces[0].iov_len, length_max));
    return;
  }
  if (messages_used_ == messages_.size()) messages_.emplace_back();
  Message& message = messages_[messages_used_++];
  std::copy_n(pieces, std::min(static_cast<size_t>(count), message.pieces.size()),
              message.pieces.begin());
  message.header = msghdr{};
  message.header.msg_iov = message.pieces.data();
  const size_t used = std::min(static_cast<size_t>(count), message.pieces.size());
  message.header.msg_iovlen = static_cast<decltype(message.header.msg_iovlen)>(used);
  sqe->opcode = uring::op_sendmsg;
  sqe->addr = reinterpret_cast<uintptr_t>(&message.header);
  sqe->len = 1;
}

const ssize_t* UringBackend::send_queued() {
  sends_over_ = true;
  ring_.quiet(true);
  submit(false);
  reap();
  // More than the ring holds: the kernel gives the rest when it is entered for that.
  while (broken_ == 0 && ring_.overflowed()) {
    submit(true);
    reap();
  }
  for (ssize_t& result : results_) {
    // Not even then is anything lost without notice: the connection ends.
    if (result == no_result) result = broken_ != 0 ? broken_ : -EIO;
  }
  return results_.data();
}

}  // namespace marketplace::engine
