// System calls on TCP sockets; see socket.h.
#include "socket.h"

#include <netinet/tcp.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>

namespace marketplace::engine {

namespace {

int set_option(int socket, int level, int option, int value) {
  return setsockopt(socket, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

int open_socket(const Address& address, Descriptor& out) {
  const int family = address.data()->sa_family;
  out.reset(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP));
  if (!out.valid()) return -errno;
  return set_option(out.get(), IPPROTO_TCP, TCP_NODELAY, 1);
}

}  // namespace

int open_listener(const Address& address, int backlog, bool v6_only, Descriptor& out) {
  // TCP_NODELAY, set by open_socket, is inherited by what the listener accepts.
  int result = open_socket(address, out);
  if (result < 0) return result;
  result = set_option(out.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  if (result < 0) return result;
  if (address.is_v6()) {
    // Explicitly, because the default depends on a sysctl.
    result = set_option(out.get(), IPPROTO_IPV6, IPV6_V6ONLY, v6_only ? 1 : 0);
    if (result < 0) return result;
  }
  if (::bind(out.get(), address.data(), address.length) != 0) return -errno;
  return ::listen(out.get(), backlog) == 0 ? 0 : -errno;
}

int open_connection(const Address& address, Descriptor& out) {
  const int result = open_socket(address, out);
  if (result < 0) return result;
  if (::connect(out.get(), address.data(), address.length) == 0) return 0;
  // After EINTR the attempt goes on in the background, as after EINPROGRESS.
  return errno == EINPROGRESS || errno == EINTR ? 0 : -errno;
}

int accept_socket(int listener, Descriptor& out, Address& peer) {
  for (;;) {
    peer.length = sizeof(peer.storage);
    out.reset(accept4(listener, peer.data(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (out.valid()) return 0;
    if (errno != EINTR) return -errno;
  }
}

ssize_t receive_into(int socket, uint8_t* memory, size_t size) {
  for (;;) {
    const ssize_t result = ::recv(socket, memory, size, 0);
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

ssize_t send_pieces(int socket, const iovec* pieces, int count) {
  for (;;) {
    ssize_t result;
    if (count == 1) {
      result = ::send(socket, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces);
      message.msg_iovlen = static_cast<size_t>(count);
      result = ::sendmsg(socket, &message, MSG_NOSIGNAL);
    }
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

int shutdown_output(int socket) {
  return ::shutdown(socket, SHUT_WR) == 0 ? 0 : -errno;
}

int pending_error(int socket) {
  int error = 0;
  socklen_t length = sizeof(error);
  if (getsockopt(socket, SOL_SOCKET, SO_ERROR, &error, &length) != 0) return -errno;
  return -error;
}

int local_address(int socket, Address& out) {
  out.length = sizeof(out.storage);
  return getsockname(socket, out.data(), &out.length) == 0 ? 0 : -errno;
}

int peer_address(int socket, Address& out) {
  out.length = sizeof(out.storage);
  return getpeername(socket, out.data(), &out.length) == 0 ? 0 : -errno;
}

int reset_on_close(int socket) {
  const linger option{1, 0};
  return setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, sizeof(option)) == 0 ? 0 : -errno;
}

ssize_t discard_input(int socket) {
  // Bounded: a peer that goes on sending gets its RST. MSG_TRUNC drops the bytes without a copy.
  constexpr size_t discard_max = 1024 * 1024;
  const ssize_t result = ::recv(socket, nullptr, discard_max, MSG_TRUNC | MSG_DONTWAIT);
  return result < 0 ? -errno : result;
}

int64_t monotonic_ms() {
  timespec time{};
  static_cast<void>(clock_gettime(CLOCK_MONOTONIC, &time));
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace marketplace::engine
