// The io_uring backend: its beginning, which finds out what the kernel and the process's limits
// allow, and its end, which leaves nothing with the kernel; see uring.h.
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <cerrno>

#include "uring.h"
#include "uring_tag.h"

namespace marketplace::engine {

namespace {

constexpr int end_runs_max = 4096;

const char* setup_failure(int error) {
  switch (-error) {
    case ENOSYS:
      return "this kernel has no io_uring, or one from before Linux 6.1";
    case EPERM:
    case EACCES:
      return "io_uring is forbidden (kernel.io_uring_disabled, or a container's seccomp profile)";
    case EINVAL:
      return "this kernel's io_uring is from before Linux 6.1";
    case ENOMEM:
      return "there is no memory for a ring (or RLIMIT_MEMLOCK is too low)";
    case EMFILE:
    case ENFILE:
      return "there are no descriptors left";
    default:
      return "io_uring_setup failed";
  }
}

}  // namespace

int UringBackend::open() {
  if (ring_.is_open()) return 0;
  int result = open_ring();
  if (result < 0) return result;
  if (features_.multishot_receive && !receiving_works()) features_.multishot_receive = false;
  if (!features_.multishot_receive) features_.incremental_buffers = false;
  wake_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  failure_ = "there is no eventfd";
  if (!wake_.valid()) return -errno;
  const int wake = wake_.get();
  reads_wake_ = features_.batched_sends && ring_.supports(uring::op_read);
  failure_ = "an eventfd can't be registered";
  result = ring_.add(uring::register_eventfd, &wake, 1);
  if (result < 0) return result;
  failure_ = "epoll can't be opened";
  result = watch_.open();
  if (result < 0) return result;
  failure_ = "the ring doesn't take requests";
  arm_watch();
  submit(false);
  return broken_;
}

int UringBackend::open_ring() {
  const int result = ring_.open(sizes_.submissions, sizes_.completions);
  if (result < 0) {
    failure_ = setup_failure(result);
    return result;
  }
  failure_ = "io_uring is restricted: it lacks operations that the engine needs";
  for (const uring::Opcode opcode : {uring::op_poll_add, uring::op_cancel}) {
    if (!ring_.supports(opcode)) return -EOPNOTSUPP;
  }
  if (!ring_.supports(uring::op_receive)) features_.multishot_receive = false;
  if (!ring_.supports(uring::op_send) || !ring_.supports(uring::op_sendmsg)) {
    features_.batched_sends = false;
  }
  if (!features_.multishot_receive) return 0;
  if (features_.incremental_buffers && buffers_.open(ring_, true) == 0) return 0;
  features_.incremental_buffers = false;
  if (buffers_.open(ring_, false) < 0) features_.multishot_receive = false;
  return 0;
}

// Two messages through one request on a pair of sockets, as no flag says that this works.
bool UringBackend::receiving_works() {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) != 0) return false;
  Socket socket;
  socket.descriptor.reset(pair[0]);
  socket.elsewhere = want_receive;
  socket.wanted = want_receive;
  Descriptor other(pair[1]);
  bool works = arm(socket);
  size_t seen = 0;
  for (int i = 0; i < 2 && works; i++) {
    works = ::write(other.get(), "ping", 4) == 4;
    submit(true);
    reap();
    for (const Completion& completion : completions_) {
      const uint32_t flags = completion.cqe.flags;
      const bool incremental = (flags & uring::cqe_buffer_more) != 0;
      works = works && completion.bytes.length == 4 && completion.bytes.data != nullptr &&
              completion.bytes.data[0] == 'p' && (flags & uring::cqe_more) != 0 &&
              incremental == buffers_.incremental();
      buffers_.done(completion.cqe);
      seen++;
    }
    completions_.clear();
  }
  other.reset();
  // Its end of the stream ends the request.
  for (int i = 0; i < 16 && in_flight_ > 0; i++) {
    submit(true);
    reap();
  }
  completions_.clear();
  return works && seen == 2 && in_flight_ == 0 && broken_ == 0;
}

// The kernel's requests hold sockets open and may still write: they end first.
UringBackend::~UringBackend() {
  if (!ring_.is_open()) return;
  bool told = false;
  for (int run = 0; run < end_runs_max && in_flight_ > 0 && broken_ == 0; run++) {
    told = told || cancel(0, uring::cancel_all | uring::cancel_any);
    submit(true);
    reap();
    completions_.clear();
  }
  if (in_flight_ > 0) buffers_.leak();
}

}  // namespace marketplace::engine
