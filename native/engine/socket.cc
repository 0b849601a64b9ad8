// System calls on TCP sockets; see socket.h.
#include "socket.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>

namespace marketplace::engine {

namespace {

int set_option(int socket, int level, int option, int value) {
  return setsockopt(socket, level, option, &value, sizeof(value)) == 0 ? 0 : -errno;
}

// One option that is left alone where it is 0.
struct Setting {
  int level;
  int option;
  int value;
};

}  // namespace

int apply_options(int socket, bool unix_domain, const SocketOptions& options) {
  // The others are TCP's.
  if (unix_domain) return set_buffer_sizes(socket, options);
  // The idle time and its kin are set only where they mean something: keep_alive.
  const bool alive = options.keep_alive;
  const Setting settings[] = {
      {IPPROTO_TCP, TCP_NODELAY, options.no_delay ? 1 : 0},
      {SOL_SOCKET, SO_KEEPALIVE, alive ? 1 : 0},
      {IPPROTO_TCP, TCP_KEEPIDLE, alive ? options.keep_alive_idle_s : 0},
      {IPPROTO_TCP, TCP_KEEPINTVL, alive ? options.keep_alive_interval_s : 0},
      {IPPROTO_TCP, TCP_KEEPCNT, alive ? options.keep_alive_count : 0},
      {IPPROTO_TCP, TCP_USER_TIMEOUT, options.user_timeout_ms},
      {SOL_SOCKET, SO_SNDBUF, options.send_buffer_size},
      {SOL_SOCKET, SO_RCVBUF, options.receive_buffer_size},
  };
  for (const Setting& setting : settings) {
    if (setting.value == 0) continue;
    const int result = set_option(socket, setting.level, setting.option, setting.value);
    if (result < 0) return result;
  }
  return 0;
}

int begin_to_listen(int socket, int backlog) {
  return ::listen(socket, backlog) == 0 ? 0 : -errno;
}

namespace {

int open_socket(const Address& address, const SocketOptions& options, Descriptor& out) {
  const int family = address.data()->sa_family;
  const int protocol = address.is_unix() ? 0 : IPPROTO_TCP;
  out.reset(::socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, protocol));
  return out.valid() ? apply_options(out.get(), address.is_unix(), options) : -errno;
}

int bind_socket(int socket, const Address& address) {
  return ::bind(socket, address.data(), address.length) == 0 ? 0 : -errno;
}

int bind_unix(int socket, const Address& address, int backlog) {
  const int result = bind_socket(socket, address);
  if (result < 0) return result;
  if (::listen(socket, backlog) == 0) return 0;
  const int error = errno;
  if (address.file() != nullptr) static_cast<void>(::unlink(address.file()));
  return -error;
}

// The near end of an outbound connection. A port that the kernel chooses is chosen when the other
// end is known, so that many connections can share one; a given one may have been used just now.
int bind_local(int socket, const Address& local) {
  const int result = local.port() == 0 ? set_option(socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                                       : set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  return result < 0 ? result : bind_socket(socket, local);
}

int get_option(int socket, int level, int option, int32_t& out) {
  socklen_t length = sizeof(out);
  return getsockopt(socket, level, option, &out, &length) == 0 ? 0 : -errno;
}

}  // namespace

int open_listener(const Address& address, const ListenOptions& options, Descriptor& out) {
  if (address.is_unix()) {
    const int result = open_socket(address, options.socket, out);
    return result < 0 ? result : bind_unix(out.get(), address, options.backlog);
  }
  const int result = bind_listener(address, options, out);
  return result < 0 ? result : begin_to_listen(out.get(), options.backlog);
}

int bind_listener(const Address& address, const ListenOptions& options, Descriptor& out) {
  int result = open_socket(address, options.socket, out);
  if (result < 0) return result;
  const int socket = out.get();
  // Otherwise the connections of an earlier listener, which linger, would keep the port.
  if (!options.exclusive) result = set_option(socket, SOL_SOCKET, SO_REUSEADDR, 1);
  if (result == 0 && options.reuse_port) result = set_option(socket, SOL_SOCKET, SO_REUSEPORT, 1);
  // Explicitly, because the default depends on a sysctl.
  if (result == 0 && address.is_v6()) {
    result = set_option(socket, IPPROTO_IPV6, IPV6_V6ONLY, options.v6_only ? 1 : 0);
  }
  return result < 0 ? result : bind_socket(socket, address);
}

int open_connection(const Address& address, const ConnectOptions& options, Descriptor& out,
                    bool& bind_failed) {
  bind_failed = false;
  int result = open_socket(address, options.socket, out);
  if (result < 0) return result;
  if (options.bound && !address.is_unix()) {
    result = bind_local(out.get(), options.local);
    bind_failed = result < 0;
    if (result < 0) return result;
  }
  if (::connect(out.get(), address.data(), address.length) == 0) return 0;
  // After EINTR the attempt goes on in the background, as after EINPROGRESS.
  return errno == EINPROGRESS || errno == EINTR ? 0 : -errno;
}

int set_no_delay(int socket, bool on) {
  return set_option(socket, IPPROTO_TCP, TCP_NODELAY, on ? 1 : 0);
}

int set_keep_alive(int socket, bool on, int idle_s, int interval_s, int count) {
  int result = set_option(socket, SOL_SOCKET, SO_KEEPALIVE, on ? 1 : 0);
  if (result < 0 || !on || idle_s <= 0) return result;
  result = set_option(socket, IPPROTO_TCP, TCP_KEEPIDLE, idle_s);
  if (result == 0) result = set_option(socket, IPPROTO_TCP, TCP_KEEPINTVL, interval_s);
  return result < 0 ? result : set_option(socket, IPPROTO_TCP, TCP_KEEPCNT, count);
}

int set_type_of_service(int socket, int value) {
  int32_t domain = 0;
  const int known = get_option(socket, SOL_SOCKET, SO_DOMAIN, domain);
  if (known < 0) return known;
  return domain == AF_INET6 ? set_option(socket, IPPROTO_IPV6, IPV6_TCLASS, value)
                            : set_option(socket, IPPROTO_IP, IP_TOS, value);
}

int type_of_service(int socket) {
  int32_t domain = 0;
  int32_t value = 0;
  int result = get_option(socket, SOL_SOCKET, SO_DOMAIN, domain);
  if (result < 0) return result;
  result = domain == AF_INET6 ? get_option(socket, IPPROTO_IPV6, IPV6_TCLASS, value)
                              : get_option(socket, IPPROTO_IP, IP_TOS, value);
  return result < 0 ? result : value;
}

int set_buffer_sizes(int socket, const SocketOptions& options) {
  const int size = options.send_buffer_size;
  const int result = size == 0 ? 0 : set_option(socket, SOL_SOCKET, SO_SNDBUF, size);
  if (result < 0 || options.receive_buffer_size == 0) return result;
  return set_option(socket, SOL_SOCKET, SO_RCVBUF, options.receive_buffer_size);
}

int read_options(int socket, SocketOptions& out) {
  int32_t domain = 0;
  const int known = get_option(socket, SOL_SOCKET, SO_DOMAIN, domain);
  if (known < 0) return known;
  int32_t no_delay = 0;
  int32_t keep_alive = 0;
  const struct {
    int level;
    int option;
    int32_t& value;
  } settings[] = {
      {IPPROTO_TCP, TCP_NODELAY, no_delay},
      {SOL_SOCKET, SO_KEEPALIVE, keep_alive},
      {IPPROTO_TCP, TCP_KEEPIDLE, out.keep_alive_idle_s},
      {IPPROTO_TCP, TCP_KEEPINTVL, out.keep_alive_interval_s},
      {IPPROTO_TCP, TCP_KEEPCNT, out.keep_alive_count},
      {IPPROTO_TCP, TCP_USER_TIMEOUT, out.user_timeout_ms},
      {SOL_SOCKET, SO_SNDBUF, out.send_buffer_size},
      {SOL_SOCKET, SO_RCVBUF, out.receive_buffer_size},
  };
  for (const auto& setting : settings) {
    if (domain == AF_UNIX && setting.level == IPPROTO_TCP) continue;
    const int result = get_option(socket, setting.level, setting.option, setting.value);
    if (result < 0) return result;
  }
  out.no_delay = no_delay != 0;
  out.keep_alive = keep_alive != 0;
  return 0;
}

int accept_socket(int listener, Descriptor& out, Address& peer) {
  for (;;) {
    peer.length = sizeof(peer.storage);
    out.reset(accept4(listener, peer.data(), &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (out.valid()) return 0;
    if (errno != EINTR) return -errno;
  }
}

// Neither waits, whatever the descriptor's mode: others may share it, such as a child that has
// the socket as its standard input, and make it a blocking one.
int SpareDescriptor::open() {
  descriptor_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return descriptor_.valid() ? 0 : -errno;
}

bool SpareDescriptor::shed_connection(int listener) {
  if (!descriptor_.valid() && open() < 0) return false;
  descriptor_.reset();
  int result = 0;
  {
    Address peer;
    Descriptor descriptor;
    // It fails if somebody else was faster, or nobody waits.
    result = accept_socket(listener, descriptor, peer);
  }
  // If somebody else took the number, the next shortage tries again.
  static_cast<void>(open());
  return result == 0;
}

void SpareDescriptor::shed_connections(int listener, uint8_t& shortages) {
  constexpr uint8_t shortages_max = 10;
  const int count = 1 << shortages;
  if (shortages < shortages_max) shortages++;
  for (int i = 0; i < count; i++) {
    if (!shed_connection(listener)) return;
  }
}

ssize_t receive_into(int socket, uint8_t* memory, size_t size) {
  for (;;) {
    const ssize_t result = ::recv(socket, memory, size, MSG_DONTWAIT);
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

ssize_t send_pieces(int socket, const iovec* pieces, int count) {
  constexpr int flags = MSG_NOSIGNAL | MSG_DONTWAIT;
  for (;;) {
    ssize_t result;
    if (count == 1) {
      result = ::send(socket, pieces[0].iov_base, pieces[0].iov_len, flags);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(pieces);
      message.msg_iovlen = static_cast<decltype(message.msg_iovlen)>(count);  // musl has int
      result = ::sendmsg(socket, &message, flags);
    }
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

int duplicate(int socket) {
  // Standard streams that happen to be closed are no place for it.
  const int result = ::fcntl(socket, F_DUPFD_CLOEXEC, 3);
  return result < 0 ? -errno : result;
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
  if (getpeername(socket, out.data(), &out.length) == 0) return 0;
  if (errno != ENOTCONN) return -errno;
  // Of a connection that is lost Linux still knows the peer, but this is the only way to ask, and
  // only with the exact length, which is that of our own address.
  const int result = local_address(socket, out);
  if (result < 0) return result;
  return getsockopt(socket, SOL_SOCKET, SO_PEERNAME, out.data(), &out.length) == 0 ? 0 : -errno;
}

int reset_on_close(int socket) {
  const linger option{1, 0};
  return setsockopt(socket, SOL_SOCKET, SO_LINGER, &option, sizeof(option)) == 0 ? 0 : -errno;
}

int peek_input(int socket) {
  uint8_t byte;
  const ssize_t result = ::recv(socket, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return result < 0 ? -errno : static_cast<int>(result);
}

namespace {

// Linux throws bytes away without a copy for TCP only.
ssize_t discard_by_copying(int socket, size_t most) {
  std::array<uint8_t, 16 * 1024> scratch;
  size_t total = 0;
  while (total < most) {
    const ssize_t result = ::recv(socket, scratch.data(), scratch.size(), MSG_DONTWAIT);
    if (result < 0 && total == 0) return -errno;
    if (result <= 0) break;
    total += static_cast<size_t>(result);
  }
  return static_cast<ssize_t>(total);
}

}  // namespace

ssize_t discard_input(int socket, bool unix_domain) {
  // Bounded: a peer that goes on sending gets its RST. MSG_TRUNC drops the bytes without a copy.
  constexpr size_t discard_max = 1024 * 1024;
  if (unix_domain) return discard_by_copying(socket, discard_max);
  const ssize_t result = ::recv(socket, nullptr, discard_max, MSG_TRUNC | MSG_DONTWAIT);
  return result < 0 ? -errno : result;
}

bool input_waits(int socket) {
  int count = 0;
  return ioctl(socket, FIONREAD, &count) == 0 && count > 0;
}

int64_t monotonic_ms() {
  timespec time{};
  static_cast<void>(clock_gettime(CLOCK_MONOTONIC, &time));
  return int64_t{time.tv_sec} * 1000 + time.tv_nsec / 1'000'000;
}

}  // namespace marketplace::engine
