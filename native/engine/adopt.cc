// Descriptors that others have opened; see adopt.h.
#include "adopt.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "address.h"

namespace marketplace::engine {

namespace {

// Older headers don't have it.
constexpr int protocol_mptcp = 262;

int socket_option(int descriptor, int option, int& out) {
  socklen_t length = sizeof(out);
  return getsockopt(descriptor, SOL_SOCKET, option, &out, &length) == 0 ? 0 : -errno;
}

int check_kind(int descriptor, bool& unix_domain) {
  int domain = 0;
  int type = 0;
  int protocol = 0;
  int result = socket_option(descriptor, SO_DOMAIN, domain);
  if (result == 0) result = socket_option(descriptor, SO_TYPE, type);
  if (result == 0) result = socket_option(descriptor, SO_PROTOCOL, protocol);
  if (result < 0) return result;
  unix_domain = domain == AF_UNIX;
  if (!unix_domain && domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
  if (type != SOCK_STREAM) return -EPROTOTYPE;
  const bool known = unix_domain || protocol == IPPROTO_TCP || protocol == protocol_mptcp;
  return known ? 0 : -EPROTONOSUPPORT;
}

}  // namespace

int check_adoptable(int descriptor, Adoptable as, bool& unix_domain) {
  if (fcntl(descriptor, F_GETFD) < 0) return -errno;
  int listens = 0;
  int result = check_kind(descriptor, unix_domain);
  if (result == 0) result = socket_option(descriptor, SO_ACCEPTCONN, listens);
  if (result < 0 || as == Adoptable::bound) return result;
  if ((as == Adoptable::listener) != (listens != 0)) return -EINVAL;
  if (as == Adoptable::listener) return 0;
  Address peer;
  return getpeername(descriptor, peer.data(), &peer.length) == 0 ? 0 : -errno;
}

int close_on_exec(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFD);
  if (flags < 0) return -errno;
  return fcntl(descriptor, F_SETFD, flags | FD_CLOEXEC) == 0 ? 0 : -errno;
}

int prepare_adopted(int descriptor) {
  const int flags = fcntl(descriptor, F_GETFL);
  if (flags < 0) return -errno;
  if (fcntl(descriptor, F_SETFL, flags | O_NONBLOCK) != 0) return -errno;
  return close_on_exec(descriptor);
}

namespace {

constexpr size_t control_size = CMSG_SPACE(descriptors_per_message * sizeof(int));

struct Control {
  alignas(cmsghdr) unsigned char bytes[control_size];
};

// The lengths in headers are of another type with musl than with glibc.
using ControlLength = decltype(msghdr::msg_controllen);
using HeaderLength = decltype(cmsghdr::cmsg_len);

// Musl's macro compares a number that has a sign with one that has none.
cmsghdr* next_header(msghdr& message, cmsghdr* header) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wsign-compare"
  return CMSG_NXTHDR(&message, header);
#pragma GCC diagnostic pop
}

}  // namespace

ssize_t send_descriptors(int socket, const uint8_t* data, size_t length, const int* descriptors,
                         size_t count) {
  if (length == 0 || count > descriptors_per_message) return -EINVAL;
  Control control{};
  iovec piece{const_cast<uint8_t*>(data), length};
  msghdr message{};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = control.bytes;
    message.msg_controllen = static_cast<ControlLength>(CMSG_SPACE(count * sizeof(int)));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = static_cast<HeaderLength>(CMSG_LEN(count * sizeof(int)));
    std::memcpy(CMSG_DATA(header), descriptors, count * sizeof(int));
  }
  for (;;) {
    const ssize_t result = ::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (result >= 0) return result;
    if (errno != EINTR) return -errno;
  }
}

ssize_t receive_descriptors(int socket, uint8_t* memory, size_t size,
                            std::vector<Descriptor>& out) {
  Control control{};
  iovec piece{memory, size};
  msghdr message{};
  ssize_t result = 0;
  do {
    message.msg_iov = &piece;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof(control.bytes);
    result = ::recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  } while (result < 0 && errno == EINTR);
  if (result < 0) return -errno;
  std::vector<Descriptor> came;
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
       header = next_header(message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int descriptor = -1;
      std::memcpy(&descriptor, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
      came.emplace_back(descriptor);
    }
  }
  // There was no room for all of them, here or in the table of this process.
  if ((message.msg_flags & MSG_CTRUNC) != 0) return -EMSGSIZE;
  std::move(came.begin(), came.end(), std::back_inserter(out));
  return result;
}

int same_user(int socket) {
  ucred peer{};
  socklen_t length = sizeof(peer);
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &length) != 0) return -errno;
  return peer.uid == geteuid() ? 1 : 0;
}

}  // namespace marketplace::engine
