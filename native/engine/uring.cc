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
// More than one send takes, and less than a submission's 32-bit length can say.
constexpr size_t length_max = 1u << 30;
// How often the kernel works in one turn; each time it takes about twenty sockets.
constexpr int runs_max = 16;
// How often in a row a request is made again that the kernel has no room for at present. Then the
// others have their turn.
constexpr int tries_max = 3;
// The same of answers that are there already, which must not be lost.
constexpr int answer_tries_max = 100'000;
// So many sockets are likely to share a block of memory that is filled by many receives.
constexpr uint32_t sockets_per_block = 4;

constexpr uint8_t input_wants = want_receive | want_discard;

// Where to poll in the ring's way of writing it.
uint32_t poll_mask(uint32_t mask) {
  return std::endian::native == std::endian::big ? std::rotl(mask, 16) : mask;
}

bool wants_request(const Socket& socket) {
  return (socket.wanted & socket.elsewhere & input_wants) != 0 && !socket.bulk && !socket.stashed &&
         !socket.unbuffered;
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
  report_stashes(sink);
  for (int run = 0; run < runs_max && broken_ == 0; run++) {
    if (!sink.ready_for_more()) break;
    const bool resumed = can_resume();
    if (resumed) resume_unbuffered(sink);
    if (resumed || ring_.work_waits()) submit(true);
    reap();
    if (!report_receives(sink) || !(ring_.work_waits() || can_resume())) break;
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
  unsettled_.push_back(socket.key);
}

void UringBackend::want(Socket& socket, uint8_t wanted) {
  if (socket.wanted == wanted) return;
  socket.wanted = wanted;
  if (socket.stashed && (wanted & input_wants) != 0) resumed_.push_back(socket.key);
  unsettle(socket);
}

void UringBackend::settle(BackendSink& sink) {
  while (!cancels_.empty() && cancel(cancels_.back())) cancels_.pop_back();
  // By index: reporting a failure can make other sockets change their mind.
  size_t left = 0;
  for (size_t i = 0; i < unsettled_.size(); i++) {
    const Key key = unsettled_[i];
    Socket* socket = sink.find(key);
    if (socket == nullptr) continue;
    socket->unsettled = false;
    if (settle_one(sink, *socket)) continue;
    socket->unsettled = true;
    unsettled_[left++] = key;
  }
  unsettled_.resize(left);
  if (!watch_armed_) arm_watch();
  const bool sleeps = host_ >= 0 && !busy_polled_;
  // What `sleep` submits needs no system call of its own.
  if (ring_.prepared() > 0 && !sleeps) submit(false);
  ring_.quiet(busy_polled_ || sleeps);
  reap();
  pending_ = has_work() || (ring_.prepared() > 0 && !sleeps);
}

// False if the kernel takes no request at present. After anything else it is as it should be, or
// gone.
bool UringBackend::settle_one(BackendSink& sink, Socket& socket) {
  choose_way(socket);
  const int result = watch_.arm(socket);
  if (result == 0) return arm(socket);
  sink.unwatchable(socket, result);
  return true;
}

void UringBackend::await_buffer(Socket& socket) {
  socket.unbuffered = true;
  unbuffered_.push_back(socket.key);
}

// As many as the buffers are likely to be enough for.
void UringBackend::resume_unbuffered(BackendSink& sink) {
  uint32_t most = buffers_.free() * (buffers_.incremental() ? sockets_per_block : 1);
  while (most > 0 && !unbuffered_.empty()) {
    Socket* socket = sink.find(unbuffered_.front());
    unbuffered_.pop_front();
    if (socket == nullptr) continue;
    socket->unbuffered = false;
    if (!settle_one(sink, *socket)) {
      unsettle(*socket);
      return;
    }
    most--;
  }
}

void UringBackend::busy_poll(BackendSink& sink, bool on) {
  busy_polled_ = on;
  if (!on) settle(sink);
}

// A socket is read in a new way only when nothing of the old one can come any more.
void UringBackend::choose_way(Socket& socket) {
  const bool available =
      socket.kind == Kind::connection && features_.multishot_receive && !socket.carries_descriptors;
  const bool watched = !available || (socket.bulk && socket.multishot == Multishot::idle);
  socket.elsewhere = watched && !socket.stashed ? want_nothing : input_wants;
  // Bytes on their way through the ring come before a hang-up.
  if (socket.stashed || socket.multishot != Multishot::idle) socket.elsewhere |= want_hangup;
}

// Begins or ends the socket's request, as it is wanted. False if the kernel takes none at present.
bool UringBackend::arm(Socket& socket) {
  const bool wanted = wants_request(socket);
  if (!wanted) cancel_receive(socket);
  if (!wanted || socket.multishot != Multishot::idle) return true;
  uring::Sqe* sqe = submission();
  if (sqe == nullptr) return false;
  sqe->fd = socket.descriptor.get();
  sqe->user_data = tag_of(socket);
  sqe->opcode = uring::op_receive;
  sqe->ioprio = uring::receive_multishot;
  sqe->flags = uring::sqe_buffer_select;
  sqe->buf_group = uring::ReceiveBuffers::group;
  socket.multishot = Multishot::armed;
  arms_wait_ = true;
  in_flight_++;
  return true;
}

void UringBackend::arm_watch() {
  // The next `settle` tries again.
  watch_armed_ = poll(watch_.descriptor(), Request::watch);
}

// False if the kernel takes no request at present.
bool UringBackend::poll(int descriptor, Request request) {
  uring::Sqe* sqe = submission();
  if (sqe == nullptr) return false;
  sqe->opcode = uring::op_poll_add;
  sqe->fd = descriptor;
  sqe->op_flags = poll_mask(POLLIN);
  sqe->user_data = tag_of(request, 0);
  in_flight_++;
  return true;
}

int UringBackend::watch_host(int descriptor) {
  host_ = descriptor;
  ring_.quiet(true);
  return 0;
}

// The host has emptied what its descriptor stands for since the ring said that it is readable.
int UringBackend::sleep(int timeout_ms) {
  if (!host_armed_) host_armed_ = poll(host_, Request::host);
  if (has_work() || !host_armed_) timeout_ms = 0;
  if (timeout_ms == 0 && ring_.prepared() == 0 && !ring_.work_waits()) return has_work() ? 1 : 0;
  const int result = ring_.sleep(timeout_ms);
  if (ring_.prepared() == 0) arms_wait_ = false;
  const bool passes =
      result == 0 || result == -ETIME || result == -EINTR || result == -EAGAIN || result == -EBUSY;
  if (!passes) return broken_ = result;
  reap();
  return has_work() ? 1 : 0;
}

bool UringBackend::has_work() const {
  return !completions_.empty() || watch_ready_ || !resumed_.empty() || !unbuffered_.empty() ||
         !unsettled_.empty() || !cancels_.empty() || !watch_armed_ || ring_.work_waits() ||
         broken_ != 0;
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
  const auto passes = [this](int result) {
    if (result == -EAGAIN || result == -EBUSY || result == -EINTR) return true;
    broken_ = result;
    return false;
  };
  for (int i = 0; i < tries_max; i++) {
    int result = ring_.enter(run);
    if (result == 0) arms_wait_ = false;
    if (result == 0 || !passes(result)) return;
    // Completions that nobody has taken yet may be why the kernel takes no submissions.
    result = ring_.work();
    if (result < 0 && !passes(result)) return;
    reap();
  }
}

// False if the kernel can't be told at present.
bool UringBackend::cancel(uint64_t user_data, uint32_t flags) {
  uring::Sqe* sqe = submission();
  if (sqe == nullptr) return false;
  sqe->opcode = uring::op_cancel;
  sqe->fd = -1;
  sqe->addr = user_data;
  sqe->op_flags = flags;
  sqe->user_data = tag_of(Request::none, 0);
  return true;
}

void UringBackend::cancel_receive(Socket& socket) {
  if (socket.multishot != Multishot::armed) return;
  socket.multishot = Multishot::cancelled;
  if (!cancel(tag_of(socket))) cancels_.push_back(tag_of(socket));
}

// The kernel's request keeps the socket open, whatever becomes of its descriptor.
void UringBackend::forget(Socket& socket) {
  // Its request is for the descriptor, which may be another socket's when it is submitted.
  if (arms_wait_) submit(false);
  if (socket.stashed) stashes_.erase(socket.key);
  cancel_receive(socket);
  watch_.forget(socket);
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
  if (ring_.prepared() > 0) send_unsubmitted();
  reap();
  // More than the ring holds: the kernel gives the rest when it is entered for that.
  for (int i = 0; i < answer_tries_max && broken_ == 0 && ring_.overflowed(); i++) {
    const int result = ring_.work();
    if (result < 0 && result != -EAGAIN && result != -EBUSY && result != -EINTR) broken_ = result;
    reap();
  }
  for (ssize_t& result : results_) {
    // Not even then is anything lost without notice: the connection ends.
    if (result == no_result) result = broken_ != 0 ? broken_ : -EIO;
  }
  return results_.data();
}

// The bytes are the host's again soon: what the kernel took no request for is sent without one.
void UringBackend::send_unsubmitted() {
  ring_.each_prepared([this](uring::Sqe& sqe) {
    if (request_of(sqe.user_data) != Request::send) return;
    ssize_t result = 0;
    if (sqe.opcode == uring::op_send) {
      const iovec piece{reinterpret_cast<void*>(sqe.addr), sqe.len};
      result = send_pieces(sqe.fd, &piece, 1);
    } else {
      const msghdr& header = *reinterpret_cast<const msghdr*>(sqe.addr);
      result = send_pieces(sqe.fd, header.msg_iov, static_cast<int>(header.msg_iovlen));
    }
    results_[subject_of(sqe.user_data)] = result;
    sqe = uring::Sqe{};
    sqe.opcode = uring::op_nop;
    sqe.user_data = tag_of(Request::none, 0);
  });
}

}  // namespace marketplace::engine
